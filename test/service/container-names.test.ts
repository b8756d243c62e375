// as user: proving
/**
 * A container can be named by its id, its name, or the beginning of an engine's id: in every event and every request,
 * on a stream too.
 */
import { request, type IncomingMessage } from 'node:http';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { LifecycleEvent } from '../../state/event.ts';
import { on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { agentIn } from '../harness/inside.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const names = suite('names of containers');
const LONG = `abcd${'0123456789'.repeat(6)}`;
const LIKE = `abcd${'9876543210'.repeat(6)}`;

names.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.72.0.0/24' }] });
});
names.after.each(() => clear(daemon)); // Removes what a failed test has left.
names.after(async () => {
  await daemon.stop();
});

const refused = async (event: object) => {
  const { status, body } = await daemon.event(event);
  return `${status} ${body.error?.code ?? ''}: ${body.error?.message ?? ''}`;
};

for (const [what, text] of [
  ['its name', 'web'],
  ['the beginning of its id', LONG.slice(0, 12)],
] as const) {
  names(`a container can be named by ${what} in every event and every request, also after kill -9`, async () => {
    await daemon.done({ type: 'create', id: LONG, name: 'web', networks: on('cleat') });
    const mapping = { port_mappings: [port(8080, 80)] };
    const events: LifecycleEvent[] = [
      { type: 'configure', id: text },
      { type: 'connect', id: text, network: 'back' },
      { type: 'disconnect', id: text, network: 'back' },
      { type: 'publish', id: text, ...mapping },
      { type: 'reload', id: text },
    ];
    for (const event of events) assert.is((await daemon.done(event)).id, LONG, event.type);
    await daemon.kill();
    await daemon.start();
    for (const path of ['', '?wait=up', '/stats']) {
      const { status, body } = await daemon.get(`/v1/containers/${text}${path}`);
      assert.equal([status, body.id], [200, LONG], path);
    }
    assert.is((await daemon.get(`/v1/containers/${text}/history`)).status, 200);
    // Events of others name the container too.
    await daemon.up('taker', { networks: on('cleat') });
    await daemon.done({ type: 'publish', id: 'taker', ...mapping, from: text });
    const guest = await daemon.up('guest', { netns: { mode: 'container', id: text } });
    assert.equal(guest.netns.mode === 'container' ? guest.netns.id : '', LONG);
    await daemon.down('guest', 'taker');
    await daemon.done({ type: 'teardown', id: text });
    assert.is((await daemon.get(`/v1/containers/${LONG}?wait=gone`)).status, 200);
    assert.match(
      await refused({ type: 'configure', id: text }),
      /^404 NO_SUCH_CONTAINER: no container with name or ID/,
    );
  });
}

names('a client that watches a container by its name gets its events', async () => {
  await daemon.done({ type: 'create', id: LONG, name: 'web', networks: {} });
  const told: string[] = [];
  const answer = await new Promise<IncomingMessage>((resolve) => {
    request({ socketPath: daemon.socket, path: '/v1/events?id=web', agent: false }, resolve).end();
  });
  answer.setEncoding('utf8').on('data', (text: string) => told.push(text));
  await daemon.up('other', { networks: {} });
  await daemon.done({ type: 'configure', id: LONG });
  for (let i = 0; i < 100 && !told.join('').includes('"done"'); i++) await new Promise((next) => setTimeout(next, 5));
  answer.destroy();
  assert.match(told.join(''), /"type":"done"/);
  assert.not.match(told.join(''), /other/);
  await daemon.down(LONG, 'other');
});

names('names and ids are one set: no container is created that would be taken for another', async () => {
  await daemon.done({ type: 'create', id: 'a', name: 'web', networks: {} });
  for (const event of [
    { id: 'b', name: 'web' }, // its name
    { id: 'web' }, // its name as an id
    { id: 'b', name: 'a' }, // its id as a name
  ]) {
    assert.match(
      await refused({ type: 'create', ...event, networks: {} }),
      /^409 CONTAINER_EXISTS: the container name .* by a$/,
    );
  }
  await daemon.down('a');
  await daemon.done({ type: 'create', id: 'b', name: 'web', networks: {} });
  await daemon.down('b');
});

names('a name is free as soon as the teardown of its container has answered', async () => {
  const inside = await agentIn(pathOf(await daemon.up('a', { name: 'web', networks: on('back') })));
  assert.is((await daemon.done({ type: 'teardown', id: 'web' })).state, 'draining');
  await daemon.done({ type: 'create', id: 'b', name: 'web', networks: {} });
  inside.stop();
  await daemon.down('b');
});

names('a beginning that several ids have names no container', async () => {
  for (const id of [LONG, LIKE]) await daemon.done({ type: 'create', id, networks: {} });
  const several = /^404 NO_SUCH_CONTAINER: more than one result for container name or ID "abcd"$/;
  assert.match(await refused({ type: 'teardown', id: 'abcd' }), several);
  assert.is((await daemon.get('/v1/containers/abcd?wait=gone')).body.error?.code, 'NO_SUCH_CONTAINER');
  // A beginning that is too short, and ids that a user chose: "web" is not "web-2".
  assert.match(await refused({ type: 'teardown', id: 'abc' }), /no container with name or ID/);
  await daemon.done({ type: 'create', id: 'web-2', networks: {} });
  assert.match(await refused({ type: 'teardown', id: 'web-' }), /no container with name or ID/);
  await daemon.down(LONG, LIKE, 'web-2');
});

names('on one stream a container goes by its name from the line on that creates it, in order', async () => {
  const events = [
    { type: 'create', id: LONG, name: 'web', networks: { cleat: {} } },
    { type: 'configure', id: 'web' },
    { type: 'connect', id: LONG, network: 'back' },
    { type: 'disconnect', id: 'web', network: 'back' },
    { type: 'teardown', id: LONG.slice(0, 8) },
  ];
  const body = events
    .slice(0, 4)
    .map((event) => JSON.stringify(event))
    .join('\n');
  const type = { 'content-type': 'application/x-ndjson' };
  const { text } = await daemon.request('POST', '/v1/events', body, type);
  assert.equal(text.match(/"status":\d+/g), ['"status":200', '"status":200', '"status":200', '"status":200'], text);
  const after = await daemon.request('POST', '/v1/events', JSON.stringify(events[4]), type);
  assert.match(after.text, /"status":200/);
});

names.run();

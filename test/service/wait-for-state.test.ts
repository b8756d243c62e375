/**
 * GET /v1/containers/ID?wait=STATE: a state that has been reached is answered, and one that will not come about by
 * itself is refused at once, with the container's view. And the last line of a stream, which needs no newline.
 */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, pathOf, TestDaemon } from '../harness/daemon.ts';
import { agentIn } from '../harness/inside.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { connectTo, said } from '../harness/raw-client.ts';
import { clear } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const waiting = suite('waiting');

waiting.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }] });
});
waiting.after.each(() => clear(daemon)); // Removes what a failed test has left.
waiting.after(async () => {
  await daemon.stop();
});

/** The answer to a wait with a minute's timeout, and how long it took. */
async function wait(id: string, state: string) {
  const started = performance.now();
  const { status, body } = await daemon.get(`/v1/containers/${id}?wait=${state}&timeout=60000`);
  assert.ok(performance.now() - started < 5000, `${state} was waited for`);
  return { said: `${status} ${body.error?.code ?? body.state}`, message: body.error?.message ?? '', body };
}
const later = { prefer: 'respond-async' };

waiting('a container whose configure has failed will not be up: the fault says why', async () => {
  await daemon.done({ type: 'create', id: 'a', networks: { web: { static_ips: ['10.99.0.1'] } } });
  const begun = wait('a', 'up');
  await daemon.event({ type: 'configure', id: 'a' }, later);
  for (const { said: answer, message, body } of [await begun, await wait('a', 'up'), await wait('a', 'configuring')]) {
    if (answer === '200 created' || answer === '200 configuring') continue;
    assert.is(answer, '400 ADDRESS_OUTSIDE_SUBNET');
    assert.match(message, /^container a is created, not (up|configuring): address 10\.99\.0\.1 is not in a subnet/);
    assert.match(body.error?.hint ?? '', /^Choose an address inside/);
  }
  assert.is((await wait('a', 'up')).said, '400 ADDRESS_OUTSIDE_SUBNET');
  assert.is((await wait('a', 'created')).said, '200 created');
  await daemon.down('a');
});

waiting('a wait goes on before anything has failed', async () => {
  await daemon.done({ type: 'create', id: 'a', networks: on('web') });
  const up = daemon.get('/v1/containers/a?wait=up&timeout=10000');
  await new Promise((next) => setTimeout(next, 50));
  await daemon.done({ type: 'configure', id: 'a' });
  assert.is((await up).body.state, 'up');
  await daemon.down('a');
});

waiting('a state that the container has passed counts as reached', async () => {
  await daemon.up('a', { networks: on('web') });
  for (const state of ['creating', 'created', 'configuring', 'up']) assert.is((await wait('a', state)).said, '200 up');
  const inside = await agentIn(pathOf((await daemon.get('/v1/containers/a')).body as never));
  await daemon.done({ type: 'teardown', id: 'a' });
  assert.is((await wait('a', 'tearingDown')).said, '200 draining');
  inside.stop();
  assert.is((await wait('a', 'gone')).said, '200 gone');
});

waiting('a wait for up ends when the container is on its way out, whenever it began', async () => {
  await daemon.done({ type: 'create', id: 'a', networks: on('web') });
  const early = wait('a', 'up');
  await new Promise((next) => setTimeout(next, 50));
  await daemon.done({ type: 'teardown', id: 'a' });
  const { said: answer, message, body } = await early;
  assert.is(answer, '409 STATE_UNREACHABLE');
  assert.match(message, /^container a is (tearingDown|gone).*: it will not be up$/);
  assert.match(body.error?.hint ?? '', /^It is on its way out/);
  await daemon.gone('a');
  await daemon.up('a', { networks: on('web') });
  const inside = await agentIn(pathOf((await daemon.get('/v1/containers/a')).body as never));
  await daemon.done({ type: 'teardown', id: 'a' });
  assert.is((await wait('a', 'up')).said, '409 STATE_UNREACHABLE');
  inside.stop();
  await daemon.gone('a');
});

waiting('a failed teardown ends the wait at once', async () => {
  const up = await daemon.up('a', { networks: on('web') });
  execFileSync('umount', [pathOf(up)]);
  writeFileSync(pathOf(up), 'somebody else');
  await daemon.event({ type: 'teardown', id: 'a' }, later);
  const { said: answer, message } = await wait('a', 'gone');
  assert.is(answer, '500 UNFINISHED');
  assert.match(message, /^container a is teardownFailed, not gone: .*netns-/);
  rmSync(pathOf(up));
  await daemon.gone('a'); // the teardown is tried again by itself
});

waiting('a stale fault of a running container is no answer to a wait for its end', async () => {
  await daemon.up('a', { networks: on('web') });
  await daemon.event({ type: 'disconnect', id: 'a', network: 'cleat' });
  const { body } = await daemon.get('/v1/containers/a');
  assert.equal([body.state, body.fault, body.last_operation?.fault?.code], ['up', null, 'NOT_CONNECTED']);
  const gone = wait('a', 'gone');
  await daemon.done({ type: 'teardown', id: 'a' });
  assert.is((await gone).said, '200 gone');
});

waiting('the last line of a stream needs no newline, with a body of any length and in chunks', async () => {
  const events = [
    { type: 'create', id: 'a', networks: {} },
    { type: 'configure', id: 'a' },
  ];
  const lines = (answer: string) =>
    [...answer.matchAll(/"line":(\d),"status":(\d+)/g)].map(([, n, code]) => `${n} ${code}`);
  const text = events.map((event) => JSON.stringify(event)).join('\n');
  const { text: whole } = await daemon.request('POST', '/v1/events', text, { 'content-type': 'application/x-ndjson' });
  assert.equal(lines(whole), ['1 200', '2 200']);
  await daemon.down('a');
  const socket = await connectTo(daemon.socket);
  const head = 'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n';
  const chunk = (part: string) => `${part.length.toString(16)}\r\n${part}\r\n`;
  const cut = text.length - 5;
  socket.write(
    `${head}transfer-encoding: chunked\r\n\r\n${chunk(text.slice(0, cut))}${chunk(text.slice(cut))}0\r\n\r\n`,
  );
  assert.equal(lines(await said(socket, 1000)), ['1 200', '2 200']);
  socket.destroy();
  await daemon.down('a');
});

waiting.run();

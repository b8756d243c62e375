// slow: 30 s, four megabytes have to pass a viewer that does not read, and slirp4netns takes its time
// as user: proving
/**
 * The inspector's stream as a viewer gets it: everything, then each transition with its edges, each effect, and the last view of
 * what has changed; again from where the viewer was, and after the daemon was killed.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AnyStateMachine, AnyStateNode } from 'xstate';
import { attachmentMachine } from '../../machines/container/attachment.ts';
import { containerMachine } from '../../machines/container/container.ts';
import type { MachineSnapshot, Passage } from '../../state/answers/inspector.ts';
import { on, port, TestDaemon } from '../harness/daemon.ts';
import { isRootless } from '../harness/host.ts';
import { until } from '../harness/native.ts';
import { asUser } from '../harness/peer.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { Viewer } from '../harness/viewer.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const inspector = suite('inspector');
const viewers: Viewer[] = [];

async function look(last: string | null = null): Promise<Viewer> {
  const viewer = await Viewer.open({ socketPath: daemon.socket }, last);
  viewers.push(viewer);
  return viewer;
}

inspector.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.50.0.0/24' }] });
});
inspector.after.each(async () => {
  for (const viewer of viewers.splice(0)) await viewer.close();
  await clear(daemon);
});
inspector.after(async () => void (await daemon.stop()));

/** Returns every transition that a machine can take, as the charts name it. */
function transitionsOf(machine: AnyStateMachine): Set<string> {
  const below = (node: AnyStateNode): AnyStateNode[] => [node, ...Object.values(node.states).flatMap(below)];
  return new Set(
    below(machine.root).flatMap((node) =>
      [...node.transitions, ['', node.always ?? []] as const].flatMap(([event, list]) =>
        list.map((_transition, index) => `${node.path.join('.')}|${event}|${index}`),
      ),
    ),
  );
}

const EDGES: Record<string, Set<string>> = {
  container: transitionsOf(containerMachine),
  attachment: transitionsOf(attachmentMachine),
};

inspector('a viewer gets everything, then what changes', async () => {
  await daemon.up('old', { networks: on('web'), port_mappings: [port(8080, 80)] });
  const viewer = await look();
  const [hello] = viewer.of('hello');
  const { body: version } = await daemon.get<{ instance: string }>('/v1/version');
  assert.is(hello?.pid, daemon.pid);
  assert.is(hello?.instance, version.instance);
  assert.is(hello?.resumed, false);
  assert.is(hello?.may_send, true);
  const [containers] = viewer.of('containers');
  assert.equal(containers, (await daemon.get('/v1/containers')).body);
  assert.equal(viewer.of('networks'), [(await daemon.get('/v1/networks')).body]);
  const shared = viewer.of('shared').flat();
  const { body: old } = await daemon.get('/v1/containers/old');
  // A user's ports are carried by the forwarder, and a program leads out of the networks.
  assert.equal(shared.map(({ kind, name, users }) => `${kind} ${name}: ${users.join()}`).sort(), [
    'firewall firewall: web',
    'firewalld firewalld: web',
    ...(isRootless ? ['forwarder forwarder: old'] : []),
    'network web: old',
    'ports ports: old',
    'prepared prepared: ',
    'resolver resolver: ',
    ...(isRootless ? [`rootless rootless: old:${old.generation} web`] : []),
  ]);
  const web = shared.find(({ key }) => key === 'network web');
  assert.is(web?.state, 'up');
  assert.equal(web?.detail.subnets, ['10.50.0.0/24']);

  assert.is(shared.find(({ key }) => key === 'prepared prepared')?.detail.size, 8);

  await daemon.up('new', { networks: on('web') });
  const up = await viewer.has('container', ({ id, state }) => id === 'new' && state === 'up');
  assert.equal(up, (await daemon.get<object[]>('/v1/containers')).body[1]);
  const leased = await viewer.has('machine', ({ key, users }) => key === 'network web' && users.length === 2);
  assert.equal(leased.users, ['old', 'new']);
  await daemon.down('new');
  await viewer.has('gone', ({ id }) => id === 'new');
  await viewer.has('machine', ({ key, users }) => key === 'network web' && users.join() === 'old');
});

inspector('each passage of the journal is told, with the transitions that were taken', async () => {
  const viewer = await look();
  await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  await daemon.event({ type: 'publish', id: 'a', port_mappings: [port(0, 90)] });
  const { body: history } = await daemon.get<Passage[]>('/v1/containers/a/history');
  await until('all are told', () => viewer.of('passage').length >= history.length);
  const told = viewer.of('passage').filter(({ from, to }) => from !== to);
  assert.equal(
    told.map(({ id: _id, edges: _edges, ...passage }) => passage),
    history,
  );
  for (const { machine, edges, from } of told) {
    if (from !== '') assert.ok(edges.length > 0, `${machine} left ${from} by no transition`);
    for (const edge of edges) assert.ok(EDGES[machine]?.has(edge), `${machine} has no transition ${edge}`);
  }
  const configure = told.find(({ event }) => event === 'configure');
  assert.equal(configure?.edges, ['created|configure|0']);
  const linked = told.find(
    ({ machine, event }) => machine === 'attachment' && event === 'xstate.done.actor.ensureLink',
  );
  assert.match(linked?.edges[0] ?? '', /^\w+\|xstate\.done\.actor\.ensureLink\|\d$/);
  await daemon.down('a');
  await viewer.has('gone', ({ id }) => id === 'a');
  const last = viewer.of('passage').at(-1);
  assert.is(last?.to, 'gone');
  assert.ok(EDGES.container?.has(last?.edges.at(-1) ?? ''), JSON.stringify(last));
});

inspector('an event that changes no state is a passage from it to itself', async () => {
  await daemon.up('a', { networks: on('web') });
  const viewer = await look();
  const refused = await daemon.event({ type: 'connect', id: 'a', network: 'web', options: { aliases: ['other'] } });
  assert.is(refused.body.error?.code, 'ALREADY_CONNECTED', refused.text);
  const passage = await viewer.has('passage', ({ event }) => event === 'connect');
  assert.equal([passage.from, passage.to, passage.edges], ['up', 'up', ['up|connect|2']]);
});

inspector('each effect that ends is told, and why it failed', async () => {
  const viewer = await look();
  await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  await viewer.has('effect', ({ name }) => name === 'publish');
  const names = viewer.of('effect').map(({ machine, name, ok, id }) => `${id} ${machine} ${name} ${ok}`);
  for (const one of ['container ensureNamespace', 'container lease', 'attachment ensureLink', 'container publish'])
    assert.ok(names.includes(`a ${one} true`), `${one} is not in ${names.join('; ')}`);
  assert.ok(viewer.of('effect').every(({ ms }) => ms >= 0));
  await daemon.event({ type: 'create', id: 'b', networks: on('web'), port_mappings: [port(8080, 80)] });
  await daemon.event({ type: 'configure', id: 'b' });
  const failed = await viewer.has('effect', ({ id, ok }) => id === 'b' && !ok);
  assert.is(failed.name, 'lease');
  assert.is(failed.fault?.code, 'PORT_TAKEN');
});

inspector('networks are told again when one is made, changed or removed', async () => {
  const viewer = await look();
  const names = (all: { name: string }[]) => all.map(({ name }) => name).join();
  await daemon.network({ name: 'more', subnets: [{ subnet: '10.51.0.0/24' }] });
  await viewer.has('networks', (all) => names(all) === 'cleat,more,web');
  await daemon.request('PATCH', '/v1/networks/more', { options: { mtu: '1300' } });
  await viewer.has('networks', (all) => all.some(({ options }) => options.mtu === '1300'));
  await daemon.up('a', { networks: on('more') });
  await viewer.has('machine', ({ key, state }) => key === 'network more' && state === 'up');
  await daemon.down('a');
  await daemon.request('DELETE', '/v1/networks/more');
  await viewer.has('networks', (all) => names(all) === 'cleat,web' && viewer.of('networks').length > 2);
  await viewer.has('machine', ({ key, state }) => key === 'network more' && state === 'gone');
});

inspector('what others take away is told, and its repair', async () => {
  await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  const viewer = await look();
  execFileSync('nft', ['flush', 'ruleset']);
  await viewer.has('notification', ({ type }) => type === 'drift');
  await viewer.has('notification', ({ type }) => type === 'repaired');
});

inspector('an uplink and the forwarder are shown with their users', async () => {
  const viewer = await look();
  await daemon.up('s', { uplink: { program: 'slirp4netns' } });
  await viewer.has(
    'machine',
    ({ kind, state, users }) => kind === 'uplink' && state === 'ready' && users.join() === 's',
  );
  await daemon.up('guest', { netns: { mode: 'container', id: 's' } });
  await viewer.has('machine', ({ kind, users }) => kind === 'uplink' && users.join() === 's,guest');
  await daemon.up('f', { networks: on('web'), port_mappings: [port(8090, 80)], port_handler: 'forwarder' });
  await viewer.has('machine', ({ kind, users }) => kind === 'forwarder' && users.join() === 'f');
  await daemon.down('f', 'guest');
  await viewer.has('machine', ({ kind, state }) => kind === 'forwarder' && state === 'gone');
  await viewer.has('machine', ({ kind, users }) => kind === 'uplink' && users.join() === 's');
  await daemon.down('s');
  await viewer.has('machine', ({ kind, state }) => kind === 'uplink' && state === 'gone');
});

inspector('a viewer that comes back gets what it missed, once, in order', async () => {
  const whole = await look();
  const viewer = await look();
  await daemon.up('a', { networks: on('web') });
  await viewer.has('container', ({ id, state }) => id === 'a' && state === 'up');
  const before = viewer.messages.length;
  await viewer.close();
  await daemon.up('b', { networks: on('web') });
  const again = await look(viewer.last);
  assert.is(again.of('hello')[0]?.resumed, true);
  await daemon.down('a');
  for (const one of [whole, again]) await one.has('gone', ({ id }) => id === 'a');
  const from = (all: Viewer['messages']) =>
    all.filter(({ id }) => id !== null).map(({ id, event }) => `${id} ${event}`);
  const seen = [...from(viewer.messages.slice(0, before)), ...from(again.messages)];
  const all = from(whole.messages);
  // One of them may have got messages that the other has yet to get.
  const length = Math.min(seen.length, all.length);
  assert.equal(seen.slice(1, length), all.slice(1, length)); // the first ends the beginning of each
  const numbers = seen.map((text) => Number(/-(\d+) /.exec(text)?.[1]));
  assert.equal(
    numbers,
    numbers.map((_n, i) => (numbers[0] ?? 0) + i),
  );
});

inspector('two viewers get the same', async () => {
  const both = [await look(), await look()];
  await daemon.up('a', { networks: on('web') });
  for (const viewer of both) await viewer.has('container', ({ id, state }) => id === 'a' && state === 'up');
  const [one = [], other = []] = both.map(({ messages }) => messages.filter(({ event }) => event === 'passage'));
  assert.equal(one, other);
  assert.ok(one.length > 5);
});

inspector('an id of another run, of the future or of nobody gets everything', async () => {
  const first = await look();
  const run = first.of('hello')[0]?.run ?? '';
  for (const id of ['nonsense', '0123456789abcdef-1', `${run}-999999999`, `${run}-`, `${run}-1e3`]) {
    const viewer = await look(id);
    assert.is(viewer.of('hello')[0]?.resumed, false, id);
    await viewer.has('networks', () => true);
  }
});

inspector('after a kill the stream begins anew', async () => {
  const viewer = await look();
  await daemon.up('a', { networks: on('web') });
  await viewer.has('container', ({ state }) => state === 'up');
  await daemon.kill();
  await until('the stream ends', () => viewer.over);
  await daemon.start();
  await daemon.get('/v1/containers/a?wait=up&timeout=10000'); // its last step may be done once more
  const again = await look(viewer.last);
  const [hello] = again.of('hello');
  assert.is(hello?.resumed, false);
  assert.is.not(hello?.run, viewer.of('hello')[0]?.run);
  const containers = await again.has('containers', () => true);
  assert.equal(
    containers.map(({ id, state }) => `${id} ${state}`),
    ['a up'],
  );
});

inspector('a viewer that does not read is disconnected, and may come back', async () => {
  // Its view is about 200 KB.
  const ports = Array.from({ length: 2000 }, (_, i) => port(20_000 + 2 * i, 80));
  await daemon.up('a', { networks: on('web'), port_mappings: ports });
  const slow = await look();
  await slow.has('networks', () => true);
  slow.pause();
  const quick = await look();
  await quick.has('networks', () => true);
  const before = quick.bytes;
  // More than the socket holds and the megabyte that may wait.
  for (let views = 1; quick.bytes - before < 4 << 20; views++) {
    assert.is(
      (await daemon.event({ type: 'connect', id: 'a', network: 'web', options: { aliases: ['b'] } })).status,
      409,
    );
    await until('the view is told', () => quick.of('container').length >= views);
  }
  slow.resume();
  await until('it is disconnected', () => slow.over);
  assert.ok(slow.bytes - before < 3 << 20, `${slow.bytes - before} bytes were kept for it`);
  assert.not(quick.over);
  const again = await look(slow.last);
  await again.has('containers', ([first]) => first?.id === 'a');
});

inspector('only so many may look, and whoever has gone makes room, wherever its request stood', async () => {
  await daemon.up('a', { networks: on('web') });
  const send = (...paths: string[]) => {
    const client = connect(daemon.socket);
    client.on('error', () => {});
    client.write(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: cleat\r\n\r\n`).join(''));
    return client;
  };
  const refused = async (path = '/v1/inspector'): Promise<boolean> => {
    try {
      await (await Viewer.open({ socketPath: daemon.socket, path })).close();
      return false;
    } catch (error) {
      assert.match((error as Error).message, /^429 .*"32 inspectors are open"/);
      return true;
    }
  };
  const looks = () => look().then(Boolean, () => false);
  // What stands behind a stream would never be answered, and counts as nobody.
  const twice = send('/v1/inspector', '/v1/inspector');
  await once(twice, 'data');
  for (let n = 2; n <= 32; n++) await until(`${n} look`, looks);
  assert.ok(await refused());
  assert.ok(await refused('/v1/inspector/stately'));
  twice.destroy();
  for (const viewer of viewers.splice(0)) await viewer.close();
  // Behind an answer that is still to come.
  const behind = () => send('/v1/containers/a?wait=gone&timeout=600000', '/v1/inspector');
  const clients = Array.from({ length: 32 }, behind);
  await until('they look', refused);
  for (const client of clients) client.destroy();
  await until('there is room', looks);
});

inspector('who may connect to the socket may look, and nobody else', async () => {
  const script = `
    const outgoing = require('node:http').get({ socketPath: process.argv[1], path: '/v1/inspector' }, (answer) => {
      answer.once('data', (text) => { console.log(String(text)); process.exit(); });
    });
    outgoing.on('error', ({ code }) => console.log(code));`;
  const as = (uid: number, gid: number): string => {
    const words = [...asUser(uid, gid).slice(1), process.execPath, '-e', script, daemon.socket];
    return execFileSync('setpriv', words, { encoding: 'utf8', cwd: '/' });
  };
  assert.match(as(1234, 0), /^retry: 1000\nevent: hello\ndata: \{.*"may_send":true\}\n/);
  assert.match(as(1234, 1234), /^EACCES\n$/);
});

inspector('the machine of a container is what would be on disk', async () => {
  await daemon.up('a', { networks: on('web'), name: 'called' });
  const { body } = await daemon.get<MachineSnapshot>('/v1/containers/called/machine');
  assert.is(body.id, 'a');
  assert.equal(body.value, 'up');
  assert.is(body.state, 'up');
  assert.is(body.context.attachments[0]?.network, 'web');
  assert.ok(body.legal.includes('teardown'));
  assert.is((await daemon.get('/v1/containers/none/machine')).status, 404);
});

inspector.run();

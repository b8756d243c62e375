// slow: 80 s, a daemon is killed and started again for most of the cases, and programs with it
/**
 * `exit_fd`: when the other end of a descriptor is closed, everything of the container ends, daemon or not; a daemon that was
 * killed finds the descriptor again with whoever has it; what cannot mean an end is refused.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { listForwards } from '../../effects/forwarder/forwarder.ts';
import { on, pathOf, port, type CreateOptions } from '../harness/daemon.ts';
import { endExitEnds, ExitEnds, type EndKind } from '../harness/exit-ends.ts';
import { ended, sleeper, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { HOST, SLIRP, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const exits = suite('exit descriptors');
const { daemon, lan, processOf, isUpAnew, assertAsBefore } = await wayOut(exits);
exits.after.each(async () => {
  await endExitEnds();
  if (daemon.pid === 0) await daemon.start();
});
exits.after(endExitEnds);

const KINDS: readonly EndKind[] = ['pipe', 'socket', 'pidfd'];
const WAYS: Record<string, CreateOptions> = {
  'a bridge and the forwarder': { networks: on('web'), port_handler: 'forwarder' },
  'slirp4netns and the forwarder': { uplink: SLIRP },
  'slirp4netns alone': { uplink: { ...SLIRP, options: ['port_handler=slirp4netns'] } },
  pasta: { uplink: { program: 'pasta' } },
};

const state = async (id: string) => (await daemon.get(`/v1/containers/${id}`)).body.state;
const isOpen = async () => (await lan.dial('tcp', HOST, 8080, 2000)) !== 'ECONNREFUSED';
const closed = () => until('the port is closed', async () => !(await isOpen()));
const nameOf = (pid: number, fd: string) => readlinkSync(`/proc/${pid}/fd/${fd}`);
const descriptors = () => readdirSync(`/proc/${daemon.pid}/fd`).length;

for (const kind of KINDS) {
  exits(`a container ends when the other end of its ${kind} is closed, and not when its holder leaves`, async () => {
    await daemon.up('before', { networks: on('web') });
    const before = descriptors();
    const ends = await ExitEnds.make(kind);
    const up = await daemon.up('a', { networks: on('web'), exit_fd: ends.exit_fd });
    assert.equal(up.exit_fd, ends.exit_fd);
    assert.is(up.bound_to, null);
    await ends.leave();
    await daemon.done({ type: 'reload', id: 'a' });
    assert.is(await state('a'), 'up');
    await ends.close();
    await daemon.gone('a');
    await until('nothing is held any more', () => descriptors() <= before);
    await daemon.down('before');
    await assertAsBefore();
    await daemon.clean();
  });

  // The other kinds in one way each. The forwarder cannot hold a socket (docs/decisions/0059).
  const one = kind === 'socket' ? 'slirp4netns alone' : 'slirp4netns and the forwarder';
  const ways = Object.entries(WAYS).filter(([who]) => kind === 'pipe' || who === one);
  for (const [who, way] of ways) {
    exits(`without a daemon, everything of ${who} ends with a ${kind}`, async () => {
      const ends = await ExitEnds.make(kind);
      const up = await daemon.up('a', { ...way, port_mappings: [port(8080, 80)], exit_fd: ends.exit_fd });
      const { pid } = way.uplink === undefined ? { pid: null } : await processOf('a');
      await ends.leave();
      await withAgents([pathOf(up)], async (inside) => {
        await inside.serve('a', 'tcp', 80);
        assert.ok(await isOpen());
        await daemon.kill();
        assert.ok(await isOpen());
        await ends.close();
        if (pid !== null) await ended(pid);
        await closed();
      });
      await daemon.start();
      await daemon.gone('a');
      await assertAsBefore();
      await daemon.clean();
      assert.not.match(daemon.log(), /"level":50/);
    });
  }
}

for (const [kind, who] of [
  ['pipe', 'a bridge and the forwarder'], // only the other end has it, and the forwarder
  ['socket', 'slirp4netns alone'], // the keeper
  ['pidfd', 'pasta'],
] as const) {
  exits(`a killed daemon finds its ${kind} again, with ${who}`, async () => {
    const ends = await ExitEnds.make(kind);
    const way = WAYS[who];
    await daemon.up('a', { ...way, port_mappings: [port(8080, 80)], exit_fd: ends.exit_fd });
    await ends.leave();
    for (let life = 0; life < 2; life++) {
      await daemon.kill();
      await daemon.start();
      assert.is((await daemon.get('/v1/containers/a?wait=up')).body.state, 'up');
      await daemon.done({ type: 'reload', id: 'a' });
    }
    await ends.close();
    await daemon.gone('a');
    await assertAsBefore();
  });
}

exits('a killed daemon finds a pipe again by its other end alone, and a socket with its holder', async () => {
  const [pipe, socket] = [await ExitEnds.make('pipe'), await ExitEnds.make('socket')];
  await daemon.up('a', { networks: on('web'), exit_fd: pipe.exit_fd });
  await daemon.up('b', { networks: on('web'), exit_fd: socket.exit_fd });
  await pipe.leave();
  await daemon.kill();
  await daemon.start();
  for (const id of ['a', 'b']) assert.is((await daemon.get(`/v1/containers/${id}?wait=up`)).body.state, 'up');
  await pipe.close();
  await daemon.gone('a');
  assert.is(await state('b'), 'up');
  await daemon.kill();
  await socket.leave();
  await daemon.start();
  await daemon.gone('b'); // nobody has its descriptor any more
  await assertAsBefore();
  await daemon.clean();
});

exits('a program that is started again ends with the same descriptor', async () => {
  const ends = await ExitEnds.make('pipe');
  await daemon.up('a', { uplink: SLIRP, port_mappings: [port(8080, 80)], exit_fd: ends.exit_fd });
  await ends.leave();
  const { pid } = await processOf('a');
  process.kill(pid, 'SIGKILL');
  await until('it is started again', () => isUpAnew('a', pid));
  const next = await processOf('a');
  await daemon.kill();
  await ends.close();
  await ended(next.pid);
  await daemon.start();
  await daemon.gone('a');
  await assertAsBefore();
});

exits('a container with a process and a descriptor ends with the first of them', async () => {
  for (const first of ['process', 'descriptor'] as const) {
    const [ends, bound] = [await ExitEnds.make('pipe'), await sleeper()];
    const way = { uplink: SLIRP, port_mappings: [port(8080, 80)], bound_to: bound.pid!, exit_fd: ends.exit_fd };
    await daemon.up('a', way);
    const { pid } = await processOf('a');
    await daemon.kill();
    if (first === 'process') bound.kill('SIGKILL');
    else await ends.close();
    await ended(pid);
    await closed();
    await daemon.start();
    await daemon.gone('a');
    bound.kill('SIGKILL');
    await assertAsBefore();
  }
});

exits('ports of a shared namespace end with the last of its containers', async () => {
  const [ends, guest] = [await ExitEnds.make('pipe'), await sleeper()];
  const up = await daemon.up('pod', {
    ...WAYS['a bridge and the forwarder'],
    port_mappings: [port(8080, 80)],
    exit_fd: ends.exit_fd,
  });
  await daemon.up('guest', { netns: { mode: 'container', id: 'pod' }, bound_to: guest.pid! });
  const forwarder = { directory: `${daemon.runDir}/forwarder`, executable: '' };
  await until('the forwarder knows both', async () => {
    const listed = await listForwards(forwarder)(null);
    return listed?.owners[0]?.bound_to?.length === 2;
  });
  await withAgents([pathOf(up)], async (inside) => {
    await inside.serve('pod', 'tcp', 80);
    await daemon.kill();
    await ends.close();
    assert.ok(await isOpen());
    guest.kill('SIGKILL');
    await closed();
  });
  await daemon.start();
  await daemon.gone('guest');
  await daemon.gone('pod');
  await assertAsBefore();
});

exits('an owner that is created again is tied to the new descriptor alone', async () => {
  const [ends, next] = [await ExitEnds.make('pipe'), await ExitEnds.make('pipe')];
  await daemon.up('pod', { networks: on('web'), exit_fd: ends.exit_fd });
  await daemon.up('guest', { netns: { mode: 'container', id: 'pod' } });
  await ends.close();
  await until('its owner is gone', async () => (await daemon.get('/v1/containers/pod')).body.owner_gone === true);
  await daemon.done({ type: 'create', id: 'pod', networks: on('web'), exit_fd: next.exit_fd });
  assert.equal((await daemon.get('/v1/containers/pod')).body.exit_fd, next.exit_fd);
  await daemon.down('guest');
  assert.is(await state('pod'), 'up');
  await next.close();
  await daemon.gone('pod');
  await assertAsBefore();
});

exits('the description of a descriptor, which others have too, stays as it was', async () => {
  const ends = await ExitEnds.make('pipe');
  const flags = () => /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/${ends.pid}/fdinfo/${ends.fd}`, 'utf8'))?.[1];
  const before = flags();
  await daemon.up('a', { networks: on('web'), exit_fd: ends.exit_fd });
  assert.is(flags(), before);
  await daemon.down('a');
});

exits('what is no end of anything is refused, and nothing is made or kept', async () => {
  const [pipe, socket, pidfd] = await Promise.all(KINDS.map((kind) => ExitEnds.make(kind)));
  assert.ok(pipe !== undefined && socket !== undefined && pidfd !== undefined);
  const own = (fd: number) => ({ pid: process.pid, fd });
  const numberOf = (of: number, name: RegExp) =>
    Number(readdirSync(`/proc/${of}/fd`).find((fd) => name.test(nameOf(of, fd))) ?? -1);
  const before = descriptors();
  const refused = async (exit_fd: { pid: number; fd: number }, status: number, code: string, message: RegExp) => {
    const answer = await daemon.event({ type: 'create', id: 'a', networks: on('web'), exit_fd });
    assert.is(answer.status, status, answer.text);
    assert.is(answer.body.error?.code, code);
    assert.match(answer.body.error?.message ?? '', message);
    assert.is((await daemon.get('/v1/containers/a')).status, 404);
  };
  await refused(own(-1), 400, 'BAD_REQUEST', /exit_fd\.fd/);
  await refused({ pid: 4_194_304, fd: 1 }, 409, 'NO_SUCH_PROCESS', /no process 4194304/);
  await refused({ ...pipe.exit_fd, fd: 999 }, 409, 'EXIT_FD_UNUSABLE', /descriptor 999 of process \d+ is not open/);
  const fifo = `${daemon.directory}/fifo`;
  execFileSync('mkfifo', [fifo]);
  const opened = [import.meta.filename, fifo].map((path) => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
  for (const fd of opened) await refused(own(fd), 409, 'EXIT_FD_UNUSABLE', /is no pipe, socket or pidfd/);
  for (const fd of opened) closeSync(fd);
  await refused({ pid: pipe.other, fd: numberOf(pipe.other, /^pipe:/) }, 409, 'EXIT_FD_UNUSABLE', /write end/);
  await refused(
    { pid: daemon.pid, fd: numberOf(daemon.pid, /^socket:/) },
    409,
    'EXIT_FD_UNUSABLE',
    /connected to nobody/,
  );
  for (const ends of [pipe, socket, pidfd]) {
    await ends.close();
    await refused(ends.exit_fd, 409, 'EXIT_FD_UNUSABLE', /other end|has ended/);
  }
  const plan = await daemon.request('POST', '/v1/events?dry_run=true', {
    type: 'create',
    id: 'a',
    exit_fd: pipe.exit_fd,
  });
  assert.is(plan.body.error?.code, 'EXIT_FD_UNUSABLE');
  await until('nothing is held', () => descriptors() <= before);
});
exits.run();

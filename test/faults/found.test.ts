// slow: 60 s, each defect needs a daemon and a life of its own
/**
 * Defects that faults have found, each at the call that showed it.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AuditReport } from '../../state/answers/audit.ts';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import { on, port, TestDaemon } from '../harness/daemon.ts';
import { resolversIn } from '../harness/dns.ts';
import { Faults } from '../harness/faults.ts';
import { addNetns, endSleepers, removeNetns, sleeper } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { assertComesBackTo, inspectKernel, unlessGone } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { forwardersOf, signalAll } from '../harness/programs.ts';

requirePrivateNamespace();

const test = suite('found by faults');
const daemon = new TestDaemon();
const faults = new Faults(daemon);
const networks = `${daemon.stateDir}/networks`;

test.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'front' });
  await daemon.network({ name: 'back' });
});
test.after(async () => {
  await daemon.kill();
});
test.after.each(() => void faults.revoke());

const brief = { name: 'brief', dns_enabled: false };
const update = (mtu: string) => daemon.request('PATCH', '/v1/networks/front', { options: { mtu } });

test('a refusal of the kernel outside of an effect is reported with errno and system call', async () => {
  faults.order({ kind: 'request', action: 'fail', errno: 'ENOMEM' }, 1);
  const { status, body } = await daemon.request('POST', '/v1/networks', brief);
  assert.is(status, 500);
  assert.equal([body.error?.code, body.error?.errno], ['KERNEL', 'ENOMEM']);
  assert.match(body.error?.syscall ?? '', /^RTM_GET/);
});

test('a network whose file cannot be written is refused, and not there at the next start', async () => {
  for (const action of ['fail', 'after'] as const) {
    for (let n = 1; ; n++) {
      faults.order({ kind: 'store', action, errno: 'EIO' }, n);
      const { status, body } = await daemon.request('POST', '/v1/networks', brief);
      const { struck } = faults.revoke();
      if (struck === true && status !== 201) assert.is(body.error?.code, 'STATE_UNWRITABLE');
      await until(
        'as answered',
        () => readdirSync(networks).some((name) => name.startsWith('brief')) === (status === 201),
      );
      if (status === 201) assert.is((await daemon.request('DELETE', '/v1/networks/brief')).status, 204);
      if (struck === false) break;
    }
  }
});

test('a failure to delete connections after the answer is reported, and they are deleted later', async () => {
  await daemon.up('late', { networks: on('front') });
  const entry = ['-p', 'udp', '-s', '10.89.1.1', '-d', '10.89.1.1', '--sport', '4000', '--dport', '8080'];
  execFileSync('conntrack', ['-I', ...entry, '-t', '600']);
  faults.order({ kind: 'request', action: 'fail', errno: 'ENOBUFS', about: 'type 0x101' }, 1);
  const body = { type: 'publish', id: 'late', port_mappings: [port(8080, 80, { protocol: 'udp' })] };
  assert.is((await daemon.request('POST', '/v1/events', body)).status, 200);
  await until('reported', () => daemon.log().includes('deleting outdated entries of connection tracking'));
  assert.is(faults.revoke().struck, true);
  const entries = () =>
    execFileSync('conntrack', ['-L', ...entry], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  await until('deleted', () => entries() === '');
  await daemon.event({ type: 'teardown', id: 'late' });
});

test('an update whose last write fails is done, and its remains are removed later', async () => {
  faults.order({ kind: 'store', action: 'fail', errno: 'EIO', about: `unlink ${networks}/front.previous` }, 1);
  assert.is((await update('1400')).status, 200);
  faults.revoke();
  assert.ok(readdirSync(networks).includes('front.previous'));
  assert.match((await daemon.get('/v1/doctor')).text, /file of network front/);
  await until('settled', () => !readdirSync(networks).includes('front.previous'));
  assert.not.match((await daemon.get('/v1/doctor')).text, /file of network front/);
});

test('a disconnect that cannot be written to disk is answered, and ends when there is room', async () => {
  await daemon.up('c2', { networks: on('front', 'back') });
  const disconnect = () => daemon.event({ type: 'disconnect', id: 'c2', network: 'front' });
  const connect = () => daemon.event({ type: 'connect', id: 'c2', network: 'front' });
  // A write somewhere after the removal of the link: the lease is released only when that is written.
  let unfinished = 0;
  for (let n = 5; unfinished === 0; n++) {
    faults.order({ kind: 'store', action: 'fail', errno: 'ENOSPC', lasting: true }, n);
    const { status, body } = await disconnect();
    if (status !== 200)
      assert.ok(['STATE_UNWRITABLE', 'UNFINISHED'].includes(body.error?.code ?? ''), body.error?.code);
    if (body.error?.code === 'UNFINISHED') unfinished++;
    const { struck } = faults.revoke();
    await until('up', async () => (await daemon.get('/v1/containers/c2')).body.state === 'up');
    if (status !== 200) await disconnect();
    assert.equal(Object.keys((await daemon.get('/v1/containers/c2')).body.networks ?? {}), ['back']);
    assert.ok(struck, 'one of them could not be finished');
    assert.is((await connect()).status, 200);
  }
  await daemon.down('c2');
});

test('a link that was made and could not be named is removed with the rest', async () => {
  let refused = 0;
  for (let n = 1; ; n++) {
    await daemon.done({ type: 'create', id: 'c4', networks: on('front') });
    faults.order({ kind: 'request', action: 'fail', errno: 'EPERM' }, n);
    const { status } = await daemon.event({ type: 'configure', id: 'c4' });
    const { struck, what } = faults.revoke();
    if (status !== 200) {
      refused++;
      await until(
        `rolled back after ${what}`,
        async () => (await daemon.get('/v1/containers/c4')).body.state === 'created',
      );
      await until(`clean after ${what}`, async () => (await daemon.get<AuditReport>('/v1/audit')).body.clean);
    }
    await daemon.down('c4');
    if (struck === false) break;
  }
  assert.ok(refused > 3);
});

test('a start that cannot read a file sets nothing aside', async () => {
  await daemon.up('c3', { networks: on('front') });
  await sleep(50);
  await daemon.kill();
  const kept = readFileSync(`${daemon.runDir}/containers/c3.json`, 'utf8');
  let refused = 0;
  for (let n = 5; ; n++) {
    faults.order({ kind: 'store', action: 'fail', errno: n % 2 === 0 ? 'EMFILE' : 'EIO' }, n);
    await daemon.start().catch((error: Error) => {
      assert.match(error.message, /^the daemon has ended/);
      refused++;
    });
    const { what } = faults.revoke();
    await daemon.kill();
    const files = [`${daemon.runDir}/containers`, networks].flatMap((directory) => readdirSync(directory));
    assert.equal(
      files.filter((name) => name.endsWith('.unreadable')),
      [],
      what,
    );
    if (/c3.json$/.test(what)) break;
  }
  assert.ok(refused > 0);
  assert.is(JSON.parse(kept).snapshot.context.id, 'c3');
  await daemon.start();
  assert.is((await daemon.get('/v1/containers/c3')).body.state, 'up');
  await daemon.down('c3');
});

test('a daemon that cannot start says why, and ends, whatever it had opened', async () => {
  await daemon.kill();
  faults.order({ kind: 'store', action: 'fail', errno: 'EIO', about: `${networks}/front.json` }, 1);
  const child = daemon.spawn();
  await until('ended', () => child.exitCode !== null, 15_000);
  faults.revoke();
  assert.is(child.exitCode, 1);
  assert.match(daemon.log(), /^Error: EIO: i\/o error, open '.*front\.json'$/m);
  await daemon.start();
});

test('a server that cannot be searched for does not count as missing', async () => {
  await daemon.network({ name: 'names', dns_enabled: true });
  await daemon.up('c4', { networks: on('names') });
  assert.is(resolversIn(daemon.directory).length, 1);
  faults.order({ kind: 'helper', action: 'fail', errno: 'EAGAIN' }, 1);
  await daemon.down('c4');
  assert.match(faults.revoke().what, /pidfd_open/);
  await until('gone', () => resolversIn(daemon.directory).length === 0);
});

test('a process that cannot be watched does not count as ended', async () => {
  const bound = await sleeper();
  const short = { kind: 'helper', action: 'fail', errno: 'EMFILE', about: 'pidfd_open' } as const;
  const create = { type: 'create' as const, id: 'c5', networks: on('front'), bound_to: bound.pid ?? 0 };
  faults.order(short, 1);
  const { status, body } = await daemon.event(create);
  assert.equal([status, body.error?.code, body.error?.errno], [500, 'KERNEL', 'EMFILE']);
  faults.revoke();
  await daemon.done(create);
  await daemon.done({ type: 'configure', id: 'c5' });
  await sleep(50);
  const again = async () => {
    await daemon.kill();
    await daemon.start();
  };
  faults.order(short, 1);
  await again();
  assert.is(faults.look().struck, true);
  await sleep(200);
  assert.is((await daemon.get('/v1/containers/c5')).body.state, 'up');
  faults.revoke();
  bound.kill('SIGKILL');
  await daemon.gone('c5');
});

test('a daemon without a descriptor left to signal a helper goes on, at whichever step of a teardown', async () => {
  for (let n = 1; ; n++) {
    await daemon.up('c30', { uplink: { program: 'slirp4netns' } });
    faults.order({ kind: 'helper', action: 'fail', errno: 'EMFILE', about: 'pidfd_open' }, n);
    await daemon.event({ type: 'teardown', id: 'c30' });
    await daemon.gone('c30');
    assert.is((await daemon.get('/v1/version')).status, 200, `pidfd_open number ${n}`);
    const { struck } = faults.look();
    faults.revoke();
    if (struck !== true) break;
    assert.ok(n < 100);
  }
});

test('a daemon without a descriptor left to signal the keeper of an uplink that has ended goes on, and starts another', async () => {
  await daemon.up('c31', { uplink: { program: 'slirp4netns' } });
  /** Null while it is being made. */
  const keeperOf = (): number | null => {
    const [directory] = readdirSync(`${daemon.runDir}/uplinks`);
    const file = `${daemon.runDir}/uplinks/${directory}/keeper`;
    return existsSync(file) ? Number(readFileSync(file, 'utf8').split(' ')[0]) : null;
  };
  const keeper = keeperOf();
  assert.ok(keeper !== null);
  // Without its directory nobody can say that the keeper is the one that has ended.
  execFileSync('rm', ['-r', `${daemon.runDir}/uplinks/${readdirSync(`${daemon.runDir}/uplinks`)[0]}`]);
  faults.order({ kind: 'helper', action: 'fail', errno: 'EMFILE', about: 'pidfd_open' }, 1);
  process.kill(keeper, 'SIGKILL');
  await until('the signal has failed', () => faults.look().struck === true);
  faults.revoke();
  await until('another keeper', () => ![null, keeper].includes(keeperOf()));
  assert.is((await daemon.get('/v1/version')).status, 200);
  await daemon.event({ type: 'teardown', id: 'c31' });
  await daemon.gone('c31');
});

test('a history goes with its container, also when it cannot be removed at once', async () => {
  await daemon.up('c6', { networks: on('front') });
  const history = `${daemon.runDir}/journal/c6.ndjson`;
  await until('written', () => existsSync(history));
  faults.order({ kind: 'store', action: 'fail', errno: 'EIO', about: `unlink ${history}` }, 1);
  await daemon.down('c6');
  await until('struck', () => faults.look().struck === true);
  const left = () =>
    ['journal', 'containers']
      .flatMap((home) => readdirSync(`${daemon.runDir}/${home}`))
      .filter((name) => name.startsWith('c6'));
  await until('gone', () => left().length === 0);
});

test('the record of an outside goes with its last network, also when removing it fails at first', async () => {
  const found = `${daemon.runDir}/outsides/own.json`;
  await daemon.up('c9', { networks: on('front') });
  assert.ok(existsSync(found));
  faults.order({ kind: 'store', action: 'fail', errno: 'EIO', about: `unlink ${found}` }, 1);
  await daemon.down('c9');
  await until('struck', () => faults.look().struck === true);
  await until('gone', () => !existsSync(found));
  assert.is((await daemon.get('/v1/version')).status, 200);
});

test("the loss of an uplink's link is noticed, also when watching it fails at first", async () => {
  const shown = async () => (await daemon.get<Inspection>('/v1/containers/c7')).body;
  let watched = 0;
  for (let n = 1, struck = true; struck; n++) {
    await daemon.done({ type: 'create', id: 'c7', uplink: { program: 'slirp4netns' } });
    faults.order({ kind: 'socket', action: 'fail', errno: 'EMFILE' }, n);
    const { status } = await daemon.event({ type: 'configure', id: 'c7' });
    await sleep(50); // the watch begins after the answer
    struck = faults.revoke().struck === true;
    if (status === 200) {
      if (struck) watched++;
      const { netns, uplink } = await shown();
      execFileSync('nsenter', [`--net=${netns.path}`, 'ip', 'link', 'del', 'tap0']);
      await until('another', async () => {
        const now = await shown();
        return now.state === 'up' && now.uplink?.process?.pid !== uplink?.process?.pid;
      });
    }
    await daemon.down('c7');
  }
  assert.ok(watched > 0, 'none of them was of the watch');
});

test('a program that cannot be probed, for want of descriptors, is a fault, and the daemon goes on', async () => {
  await daemon.kill(); // the probe runs once
  await daemon.start();
  const { pid } = daemon;
  let refused = 0;
  for (let left = 1; left < 12; left++) {
    await daemon.done({ type: 'create', id: 'c10', uplink: { program: 'slirp4netns' } });
    faults.order({ kind: 'descriptors', action: 'fail', errno: 'EMFILE' }, left);
    const answer = await daemon.event({ type: 'configure', id: 'c10' }).catch(() => null);
    faults.revoke();
    if (/error checking slirp4netns binary .*EMFILE/.test(answer?.body.error?.message ?? '')) refused++;
    await daemon.down('c10');
  }
  assert.ok(refused > 0);
  assert.is((await daemon.get<{ pid: number }>('/v1/version')).body.pid, pid);
});

test('a watch on an outside that cannot be opened leaves nothing open', async () => {
  const home = () => `/proc/${daemon.pid}`;
  /**
   * Sockets of the kernel: connections to the API, the forwarder and name servers come and go for reasons of their own.
   */
  const sockets = () => {
    const open = readdirSync(`${home()}/fd`).flatMap((fd) => unlessGone(() => [readlinkSync(`${home()}/fd/${fd}`)]));
    const local = readFileSync(`${home()}/net/unix`, 'utf8');
    const ofUnix = new Set(
      [...local.matchAll(/^\S+: (?:\S+ ){5} *(\d+)/gm)].map(([, inode = '']) => `socket:[${inode}]`),
    );
    return open.filter((what) => what.startsWith('socket:') && !ofUnix.has(what)).length;
  };
  const use = async (outside: string) => {
    await daemon.event({ type: 'create', id: 'c11', outside, networks: on('front') });
    await daemon.event({ type: 'configure', id: 'c11' });
    await sleep(50); // the watch begins after the answer
    faults.revoke();
    await daemon.event({ type: 'teardown', id: 'c11' });
    await daemon.gone('c11');
  };
  /** Waits until none has come or gone for a moment: connections to the API are sockets too. */
  const steady = async () => {
    let count = sockets();
    for (let looks = 0; looks < 10; looks++) {
      await sleep(50);
      if (sockets() !== count) [count, looks] = [sockets(), 0];
    }
    return count;
  };
  const before = await steady();
  let refused = 0;
  for (let n = 1; n <= 10; n++) {
    faults.order({ kind: 'socket', action: 'fail', errno: 'EMFILE' }, n);
    const outside = addNetns(`elsewhere${n}`);
    await use(outside);
    await use(outside); // everything that could not be opened is open now
    removeNetns(`elsewhere${n}`);
    if (daemon.log().includes(`watch on /run/netns/elsewhere${n}"`)) refused++;
    await until(`none of outside ${n}, which nobody uses any more`, () => sockets() === before, 10_000);
  }
  assert.ok(refused > 1, 'none was of the watch');
});

test('ports are restored when another process replaces the forwarder during an operation', async () => {
  const forwarded = { networks: on('front'), port_handler: 'forwarder' } as const;
  await daemon.up('c13', { ...forwarded, port_mappings: [port(8081, 80)] });
  await daemon.done({ type: 'create', id: 'c14', ...forwarded, port_mappings: [port(8082, 80)] });
  const lines = [
    { type: 'configure', id: 'c14' },
    { type: 'publish', id: 'c14', port_mappings: [port(8083, 80)] },
  ];
  // Each publish makes the directory first. The second one is under way, and the first one's port is with the process
  // that ends.
  faults.order({ kind: 'store', action: 'hold', about: `mkdir ${daemon.runDir}/forwarder/own` }, 2);
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  const answered = daemon.request('POST', '/v1/events', text, { 'content-type': 'application/x-ndjson' });
  await until('held', () => faults.look().struck === true);
  signalAll(forwardersOf(daemon), 'SIGKILL');
  faults.revoke();
  const { text: answers } = await answered;
  assert.is(answers.match(/"status":200/g)?.length, 2, answers);
  await until('whole', () => {
    const listening = execFileSync('ss', ['-Hltn'], { encoding: 'utf8' });
    return [8081, 8082, 8083].every((number) => listening.includes(`0.0.0.0:${number} `));
  });
  await daemon.down('c13', 'c14');
});

test('what inspect cannot read is shown as unreadable, not as missing', async () => {
  const { netns } = await daemon.up('c12', { networks: on('front') });
  const drift = async () => (await daemon.get<Inspection>('/v1/containers/c12')).body.drift;
  assert.equal(await drift(), []);
  const about = `open ${netns.path}`;
  faults.order({ kind: 'namespace', action: 'fail', errno: 'EMFILE', about, lasting: true }, 1);
  assert.equal(await drift(), [{ kind: 'link', object: netns.path, network: null, problem: 'unreadable' }]);
  faults.order({ kind: 'request', action: 'fail', errno: 'ENOMEM', about: 'RTM_GETLINK', lasting: true }, 1);
  assert.ok((await drift()).every(({ problem }) => problem === 'unreadable'));
  faults.revoke();
  assert.equal(await drift(), []);
  await daemon.down('c12');
});

test('an outside that cannot be opened does not count as gone', async () => {
  const outside = addNetns('elsewhere');
  const look = () => {
    const { mounts: _mounts, ...rest } = inspectKernel(outside);
    return rest;
  };
  const before = look();
  const isUpOnDisk = () =>
    (JSON.parse(readFileSync(`${daemon.runDir}/containers/c8.json`, 'utf8')) as { snapshot: { value: unknown } })
      .snapshot.value === 'up';
  // Killed with the answer, after its snapshot has been written: only then does a start look for our objects there.
  for (const settled of [false, true]) {
    await daemon.up('c8', { outside, networks: on('front') });
    if (settled) await until('up on disk', isUpOnDisk);
    await daemon.kill();
    faults.order({ kind: 'namespace', action: 'fail', errno: 'EMFILE', about: `open ${outside}`, lasting: true }, 1);
    await daemon.start();
    await daemon.event({ type: 'teardown', id: 'c8' });
    await sleep(500);
    faults.revoke();
    await daemon.gone('c8');
    await assertComesBackTo(before, look);
  }
  removeNetns('elsewhere');
});

test.after(endSleepers);

test.run();

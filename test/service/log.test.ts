/**
 * The daemon's log: each operation is one line, at a meaningful level, with fields to filter by. A terminal shows it as
 * text, whatever names others chose.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, pathOf, port, TestDaemon, type Body } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { capabilitiesOfTheUnit, launcherWith } from '../harness/unit.ts';

requirePrivateNamespace();

interface Line {
  level: number;
  msg: string;
  event?: string;
  container?: string | null;
  network?: string | null;
  ms?: number;
  code?: string;
  check?: string;
  action?: string;
  by?: string;
}

const [DEBUG, INFO, WARN, ERROR] = [20, 30, 40, 50];
const log = suite('log');

const daemons: TestDaemon[] = [];

/** A daemon that ends with its test, however the test ends. */
function newDaemon(): TestDaemon {
  const daemon = new TestDaemon();
  daemons.push(daemon);
  return daemon;
}
log.after.each(async () => {
  for (const daemon of daemons.splice(0)) await daemon.kill();
});

const linesOf = (daemon: TestDaemon): Line[] =>
  daemon
    .log()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);

/** The lines without those about this machine. */
const happened = (daemon: TestDaemon) => linesOf(daemon).filter(({ event, check }) => event !== undefined && !check);

const isTime = (ms: number | undefined) => ms !== undefined && ms >= 0 && ms < 10_000;

/** Right Left Override, and the escape sequence that clears a screen. */
const EVIL = 'x\u202e\x1b[2J';

/** The text that would be found if the name were written unchanged. */
const UNSAFE = /\u202e|\p{Cc}\[2J/u;

/** `nft` under a badly chosen name; the kernel announces the program that changed a table by its name. */
function flushAsSomebody(): void {
  copyFileSync('/usr/sbin/nft', `/run/${EVIL}`);
  execFileSync('chmod', ['+x', `/run/${EVIL}`]);
  execFileSync(`/run/${EVIL}`, ['flush', 'ruleset']);
}

log('each operation is one line, with container, place, duration, and reason of a failure', async () => {
  const daemon = newDaemon();
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.71.0.0/24' }] });
  await daemon.up('a', { networks: {}, port_mappings: [] });
  await daemon.done({ type: 'connect', id: 'a', network: 'web' });
  await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(8080, 80)] });
  await daemon.done({ type: 'create', id: 'b', networks: on('web'), port_mappings: [port(8080, 80)] });
  await daemon.event({ type: 'configure', id: 'b' });
  await daemon.down('a', 'b');
  await daemon.request('DELETE', '/v1/networks/web');
  await daemon.request('DELETE', '/v1/networks/nowhere');
  await daemon.stop();
  const lines = happened(daemon);
  const shown = lines.map(({ level, event, container, network, code }) => [
    level,
    event,
    container ?? network,
    code ?? '',
  ]);
  assert.equal(
    shown.filter(([, event]) => event !== 'teardown'),
    [
      [INFO, 'network.create', 'cleat', ''],
      [INFO, 'network.create', 'web', ''],
      [INFO, 'create', 'a', ''],
      [INFO, 'configure', 'a', ''],
      [INFO, 'connect', 'a', ''],
      [INFO, 'publish', 'a', ''],
      [INFO, 'create', 'b', ''],
      [ERROR, 'configure', 'b', 'PORT_TAKEN'],
      [INFO, 'network.remove', 'web', ''],
      [ERROR, 'network.remove', 'nowhere', 'NO_SUCH_NETWORK'],
    ],
  );
  const torn = shown.filter(([, event]) => event === 'teardown');
  assert.equal(
    new Set(torn.map((fields) => fields.join(' '))),
    new Set([`${INFO} teardown a `, `${INFO} teardown b `]),
  );
  for (const line of lines) assert.ok(isTime(line.ms), JSON.stringify(line));
  assert.is(lines.find(({ event }) => event === 'connect')?.network, 'web');
  assert.is(lines[7]?.msg, 'configure of b failed: port 8080/tcp is already published by a');
});

log('drift and its repair are warnings with their cause, and debug shows requests too', async () => {
  const daemon = newDaemon();
  daemon.logLevel = 'debug';
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.71.0.0/24' }] });
  const path = pathOf(await daemon.up('a', { networks: on('web') }));
  execFileSync('nft', ['flush', 'ruleset']);
  const said = (wanted: string) => () => happened(daemon).some(({ event, msg }) => event === wanted && msg !== '');
  await until('the table is repaired', said('repaired'));
  execFileSync('nsenter', [`--net=${path}`, '--', 'ip', 'route', 'del', 'default']);
  const ofRoute = () => happened(daemon).filter(({ msg }) => msg.startsWith('route default'));
  await until('the route is repaired', () => ofRoute().length === 2);
  await daemon.down('a');
  await daemon.stop();
  assert.equal(
    ofRoute().map(({ level, event, container, network }) => [level, event, container, network]),
    [
      [WARN, 'drift', 'a', 'web'],
      [WARN, 'repaired', 'a', 'web'],
    ],
  );
  const table = happened(daemon).find(({ event, container }) => event === 'drift' && container === null);
  assert.equal([table?.level, table?.action], [WARN, 'repair']);
  assert.match(table?.msg ?? '', / was changed by nft \(pid \d+\), and is put back$/);
  assert.match(table?.by ?? '', /^nft \(pid \d+\)$/);
  const asked = happened(daemon).filter(({ level, msg }) => level === DEBUG && msg.endsWith(' requested'));
  assert.equal(
    asked.map(({ event }) => event),
    ['network.create', 'network.create', 'create', 'configure', 'teardown'],
  );
});

log('drift that policy leaves is not said to be put back', async () => {
  const daemon = newDaemon();
  daemon.drift = ['route=alert'];
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.71.0.0/24' }] });
  const path = pathOf(await daemon.up('a', { networks: on('web') }));
  execFileSync('nsenter', [`--net=${path}`, '--', 'ip', 'route', 'del', 'default']);
  const drift = () => happened(daemon).find(({ event }) => event === 'drift');
  await until('it is said', () => drift() !== undefined);
  await daemon.down('a');
  await daemon.stop();
  assert.equal([drift()?.level, drift()?.action], [WARN, 'alert']);
  assert.match(drift()?.msg ?? '', /^route default .*changed, and is left so$/);
  assert.is(happened(daemon).filter(({ event }) => event === 'repaired').length, 0);
});

log('a container that is degraded is a warning with the reason', async () => {
  const daemon = newDaemon();
  const file = `${daemon.directory}/slirp4netns`;
  copyFileSync('/usr/bin/slirp4netns', file);
  execFileSync('chmod', ['755', file]);
  daemon.uplinks = { slirp4netns: file };
  await daemon.start();
  await daemon.up('a', { uplink: { program: 'slirp4netns' } });
  rmSync(file);
  const { body } = await daemon.get<Body & { uplink: { process: { pid: number } } }>('/v1/containers/a');
  process.kill(body.uplink.process.pid, 'SIGKILL');
  const degraded = () => happened(daemon).find(({ event }) => event === 'degraded');
  await until('it is said', () => degraded() !== undefined);
  await daemon.down('a');
  await daemon.stop();
  const { level, container, code } = degraded() ?? {};
  assert.equal([level, container, code], [WARN, 'a', 'UPLINK_FAILED']);
});

log('a lack of the machine or of the daemon is a warning at the start', async () => {
  const daemon = newDaemon();
  daemon.launcher = launcherWith(capabilitiesOfTheUnit().filter((name) => name !== 'NET_BROADCAST'));
  await daemon.start();
  const check = () => linesOf(daemon).find((line) => line.check === 'capabilities');
  await until('it is said', () => check() !== undefined);
  assert.is(check()?.level, WARN);
  assert.match(check()?.msg ?? '', /^the daemon lacks CAP_NET_BROADCAST: .*CapabilityBoundingSet/);
  await daemon.stop();
});

log('a level leaves out the levels below it', async () => {
  const daemon = newDaemon();
  daemon.logLevel = 'error';
  await daemon.start();
  await daemon.up('a');
  await daemon.down('a');
  await daemon.request('DELETE', '/v1/networks/nowhere');
  await daemon.stop();
  assert.equal(
    linesOf(daemon).map(({ level, event }) => [level, event]),
    [[ERROR, 'network.remove']],
  );
});

log('a second daemon on the same directories prints two plain lines, and exits with 1', async () => {
  const daemon = newDaemon();
  await daemon.start();
  const already = daemon.log().length;
  const second = daemon.spawn({ socket: `${daemon.directory}/second.sock` });
  const code = await new Promise((resolve) => second.once('exit', resolve));
  assert.is(code, 1);
  // Lines of the first daemon about this machine may come between.
  const plain = daemon
    .log()
    .slice(already)
    .replace(/^\{.*\n/gm, '');
  const [message, hint, ...more] = plain.split('\n');
  assert.is(message, `Error: another cleat daemon uses ${daemon.runDir}`);
  assert.match(hint ?? '', /^Hint: /);
  assert.equal(more, ['']);
  await daemon.stop();
});

log('names that others chose are text in JSON, and on a terminal', async () => {
  const daemon = newDaemon();
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.71.0.0/24' }] });
  await daemon.up('a', { networks: on('web') });
  flushAsSomebody();
  const by = () => happened(daemon).find(({ event }) => event === 'drift')?.by;
  await until('it is said', () => by() !== undefined);
  await daemon.stop();
  assert.ok(by()?.startsWith(EVIL), by());
  assert.not.match(daemon.log(), UNSAFE);

  // script(1) gives it a terminal.
  const typescript = `${daemon.directory}/typescript`;
  const shown = () => readFileSync(typescript, 'utf8');
  const command = `quoted=; for word; do quoted="$quoted '$word'"; done; exec script -qefc "$quoted" ${typescript}`;
  daemon.launcher = ['sh', '-c', command, 'sh'];
  await daemon.start();
  // It must not happen before the daemon watches, which is soon after it answers.
  const said = () => /warn .*table inet .* was changed by x/.test(shown());
  for (let i = 0; i < 20 && !said(); i++) {
    flushAsSomebody();
    await sleep(100);
  }
  await daemon.down('a');
  await until('and the teardown', () => /^\d\d:\d\d:\d\d\.\d{3} info {2}teardown of a done .*ms=\d+/m.test(shown()));
  await daemon.stop();
  assert.match(shown(), 'x\\u{202e}\\u{1b}[2J (pid ');
  assert.not.match(shown(), UNSAFE);
});

log.run();

// slow: 30 s, a program is started again after a pause, and each replay is a process of its own
/**
 * Real lives of containers, exported and replayed by another user without a daemon: they go the same way, also after kill -9 and
 * after a defect, and a changed file does not. What the journal says of the last moment is what the daemon and the kernel have.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { moments, type Moment } from '../../plan/journal/moments.ts';
import type { Replay } from '../../service/replay/replay.ts';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import type { ExportEnd, ExportHeader, JournalLine } from '../../state/answers/container/history.ts';
import { addressOf, on, pathOf, port } from '../harness/daemon.ts';
import { defective, plant } from '../harness/defects.ts';
import { until } from '../harness/native.ts';
import { asUser } from '../harness/peer.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { SLIRP, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const replays = suite('replay');
const { daemon, processOf, isUpAnew } = await wayOut(replays);
const defect = `${daemon.directory}/defect`;
const failpoints = mkdtempSync('/run/failpoints-');

/** The program where any user can read it, whoever owns the directory that the tests are in. */
const program = mkdtempSync('/run/program-');

replays.before(async () => {
  execFileSync('mount', ['--bind', resolve(import.meta.dirname, '../../..'), program]);
  execFileSync('chmod', ['755', '/run']);
  await daemon.network({ name: 'dual', subnets: [{ subnet: '10.61.0.0/24' }, { subnet: 'fd00:61::/64' }] });
  await daemon.stop();
  daemon.environment = { ...defective(defect), CLEAT_FAILPOINTS: failpoints };
  await daemon.start();
});
replays.after.each(async () => {
  rmSync(defect, { force: true });
  await clear(daemon);
  await daemon.clean();
});

const exported = async (id: string): Promise<string> => {
  const { status, text } = await daemon.get(`/v1/containers/${id}/export`);
  assert.is(status, 200, text);
  return text;
};

type Lines = (ExportHeader | JournalLine | ExportEnd)[];
const parsed = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Lines[number]);
const linesIn = (text: string) => parsed(text).slice(1, -1) as JournalLine[];
const written = (lines: Lines) => lines.map((line) => `${JSON.stringify(line)}\n`).join('');

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Replays a file as a user without any right. */
function replay(text: string, words: string[] = [], environment: Record<string, string> = {}): Ended {
  const [command = '', ...rest] = asUser(65_534, 65_534);
  // A defect is planted in single modules (defects.ts).
  const script = environment['NODE_OPTIONS'] === undefined ? 'dist/bundle/cleat.cjs' : 'dist/cli/main.js';
  const argv = [...rest, process.execPath, join(program, script), 'replay', '-', ...words];
  const env = { PATH: process.env.PATH, ...environment };
  const { status, stdout, stderr } = spawnSync(command, argv, { input: text, encoding: 'utf8', cwd: '/', env });
  return { code: status, stdout, stderr };
}

function same(text: string, environment: Record<string, string> = {}): Replay {
  const { code, stdout, stderr } = replay(text, ['--format', 'json'], environment);
  assert.is(code, 0, stderr + stdout.slice(-3000));
  const found = JSON.parse(stdout) as Replay;
  assert.is(found.difference, null);
  assert.ok(found.transitions > 0);
  return found;
}

/** The last moment of a container that is at rest is what the daemon has on disk and the kernel has. */
async function lastIsReal(id: string, text: string): Promise<Moment> {
  const last = moments(linesIn(text)).at(-1)!;
  const record = () =>
    JSON.parse(readFileSync(`${daemon.runDir}/containers/${id}.json`, 'utf8')) as {
      snapshot: { value: string; context: object };
    };
  const bootless = (context: object | null) => ({ ...context, bootId: '' });
  await until('its state is on disk', () => record().snapshot.value === last.state);
  assert.equal(bootless(last.context), bootless(record().snapshot.context));
  assert.equal(last.children, {});
  const { body } = await daemon.get<Inspection>(`/v1/containers/${id}`);
  assert.equal([last.state, last.fault], [body.state, body.fault]);
  assert.equal(named(last, 'namespace'), body.netns.path === null ? [] : [body.netns.path]);
  assert.equal(last.objects.filter(({ kind }) => kind === 'namespace').length, existsSync(pathOf(body)) ? 1 : 0);
  const inside = kernelLinks(pathOf(body));
  const outside = kernelLinks(null);
  const links = named(last, 'link');
  assert.equal(
    links.filter((name) => name in inside),
    Object.keys(inside)
      .filter((name) => name !== 'lo')
      .sort(),
  );
  assert.equal(
    links.filter((name) => !(name in inside)),
    Object.keys(outside).filter((name) => links.includes(name)),
  );
  assert.equal(
    named(last, 'address'),
    Object.entries(inside)
      .flatMap(([name, addresses]) => (name === 'lo' ? [] : addresses))
      .sort(),
  );
  return last;
}

const named = ({ objects }: Moment, wanted: string): string[] =>
  objects.flatMap(({ kind, name }) => (kind === wanted ? [name] : [])).sort();

/** Links with their addresses of global scope, as ip(8) shows them. */
function kernelLinks(netns: string | null): Record<string, string[]> {
  const command = ['ip', '-j', 'address'];
  const argv = netns === null ? command : ['nsenter', `--net=${netns}`, ...command];
  const text = execFileSync(argv[0] ?? '', argv.slice(1), { encoding: 'utf8' });
  const links = JSON.parse(text) as {
    ifname: string;
    addr_info: { local: string; prefixlen: number; scope: string }[];
  }[];
  return Object.fromEntries(
    links.map(({ ifname, addr_info }) => [
      ifname,
      addr_info.filter(({ scope }) => scope === 'global').map(({ local, prefixlen }) => `${local}/${prefixlen}`),
    ]),
  );
}

/** A life with changes, refusals, drift and its repair. */
async function life(id: string): Promise<void> {
  await daemon.up('other', { networks: on('dual'), port_mappings: [port(8090, 80)] });
  await daemon.done({
    type: 'create',
    id,
    files: true,
    networks: on('dual'),
    port_mappings: [port(8080, 80, { range: 3 }), port(8090, 81)],
  });
  assert.is((await daemon.event({ type: 'configure', id })).body.error?.code, 'PORT_TAKEN');
  await daemon.done({ type: 'unpublish', id, port_mappings: [port(8090, 81)] });
  await daemon.done({ type: 'configure', id });
  await daemon.done({ type: 'connect', id, network: 'back', options: { gateway_priority: 1 } });
  await daemon.done({ type: 'publish', id, port_mappings: [port(9000, 90, { protocol: 'udp' })] });
  await daemon.done({ type: 'unpublish', id, port_mappings: [port(8081, 81)] });
  assert.is(
    (await daemon.event({ type: 'connect', id, network: 'back', options: {} })).body.error?.code,
    'ALREADY_CONNECTED',
  );
  await daemon.done({ type: 'reload', id, full: true });
  await daemon.request('PATCH', '/v1/networks/back', { options: { mtu: '1400' } });
  execFileSync('nsenter', [
    `--net=${pathOf((await daemon.get<Inspection>(`/v1/containers/${id}`)).body)}`,
    'ip',
    'link',
    'del',
    'eth0',
  ]);
  await until('it is repaired', async () => {
    const { body } = await daemon.get<{ event: string }[]>(`/v1/containers/${id}/history`);
    return body.some(({ event }) => event === 'repaired');
  });
  await daemon.done({ type: 'disconnect', id, network: 'back' });
}

replays('a life with changes, refusals and drift: the same way, and the last moment is the real one', async () => {
  await life('a');
  const text = await exported('a');
  const found = same(text);
  assert.is(found.path.at(-1)?.to, 'up');
  assert.equal([found.skipped, found.restarts, found.cutOff], [0, 0, false]);
  const last = await lastIsReal('a', text);
  const { body } = await daemon.get<Inspection>('/v1/containers/a');
  const addresses = [addressOf(body, 'dual'), addressOf(body, 'dual', 6)];
  const ports = ['tcp 8080 80', 'tcp 8082 82', 'udp 9000 90'].flatMap((text) =>
    addresses.map((address) => [...text.split(' '), address]),
  );
  assert.equal(
    named(last, 'port'),
    ports.map(([protocol, host, inside, address]) => `${host}/${protocol} -> ${address} ${inside}`).sort(),
  );
  const ruleset = execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' });
  const elements = [...ruleset.matchAll(/(\w+) \. (\d+) comment "a:\d+" : (\S+) \. (\d+)/g)];
  assert.equal(
    elements.map(([, protocol, host, address, inside]) => [protocol, host, inside, address].join(' ')).sort(),
    ports.map((words) => words.join(' ')).sort(),
  );
  assert.equal(named(last, 'files'), ['etc/a']);

  const { stdout } = replay(text);
  assert.match(stdout, /^MS +MACHINE +EVENT +FROM +TO/);
  assert.match(stdout, /attachment +\S.* +linking +addressing/);
  assert.match(stdout, /PORT_TAKEN/);
  assert.match(stdout, /\nsame: \d+ transitions\n$/);
});

replays('effects are in it with their time, and the time that they waited', async () => {
  await daemon.up('a', { networks: on('dual') });
  const lines = linesIn(await exported('a'));
  const effects = lines.filter((line) => line.kind === 'effect');
  const names = effects.map(({ machine, name }) => `${machine} ${name}`);
  assert.equal(names, [
    'container ensureNamespace',
    'container lease',
    'attachment ensureLink',
    'attachment ensureAddresses',
  ]);
  for (const { ms, waited = 0, machine } of effects) assert.ok(ms >= waited && waited >= 0, machine);
  assert.ok(effects.filter(({ waited }) => waited !== undefined).length === 3, 'a request does not wait for a turn');
});

replays('an uplink that ends and comes back, and a handler of its own: the same way', async () => {
  await daemon.up('s', {
    uplink: { ...SLIRP, options: ['port_handler=slirp4netns'] },
    port_mappings: [port(8080, 80)],
  });
  const { pid } = await processOf('s');
  process.kill(pid, 'SIGKILL');
  await until('it runs again', () => isUpAnew('s', pid));
  const text = await exported('s');
  same(text);
  const last = await lastIsReal('s', text);
  assert.is(last.objects.filter(({ kind, detail }) => kind === 'uplink' && detail === 'slirp4netns').length, 1);
  assert.is(last.objects.filter(({ kind, detail }) => kind === 'port' && detail === 'slirp4netns').length, 1);
  const lost = moments(linesIn(text)).find((_moment, i) => {
    const line = linesIn(text)[i];
    return line?.kind === 'event' && line.event === 'lost';
  });
  assert.equal(lost === undefined ? [] : named(lost, 'uplink'), []);
});

replays('after kill -9 in the middle of an effect, and a start: the same way', async () => {
  for (const point of ['lease:none', 'ensureLink:durable', 'ensureAddresses:after', 'publish:durable']) {
    await daemon.done({ type: 'create', id: 'a', networks: on('dual'), port_mappings: [port(8080, 80)] });
    const [name] = point.split(':');
    writeFileSync(`${failpoints}/order`, `SIGKILL ${point}#1`);
    await daemon.event({ type: 'configure', id: 'a' }).catch(() => {});
    rmSync(`${failpoints}/order`);
    if (name !== 'lease') {
      await daemon.kill();
      await daemon.start();
      await daemon.get('/v1/containers/a?wait=up');
    }
    await daemon.done({ type: 'reload', id: 'a' });
    const text = await exported('a');
    const { restarts } = same(text);
    assert.is(restarts, name === 'lease' ? 0 : 1);
    await lastIsReal('a', text);
    await daemon.down('a');
  }
});

replays('a defect is seen again by a cleat that has it, and not by one that does not', async () => {
  await daemon.up('a', { networks: on('dual') });
  plant(defect, 'beginReload');
  assert.is((await daemon.event({ type: 'reload', id: 'a' })).status, 500);
  const text = await exported('a');
  const root = resolve(import.meta.dirname, '../../..');
  const inProgram = Object.entries(defective(defect)).map(([name, value]) => [name, value.replace(root, program)]);
  const found = same(text, Object.fromEntries(inProgram) as Record<string, string>);
  assert.is(found.path.at(-1)?.to, 'error');
  assert.match(found.path.at(-1)?.fault?.message ?? '', /planted in beginReload/);
  assert.is(moments(linesIn(text)).at(-1)?.state, 'error');
  const { code, stdout } = replay(text);
  assert.is(code, 1);
  assert.match(
    stdout,
    /different after \d+ transitions, at line \d+:\n +expected .*"to":"error".*\n +got .*"to":"reloading/,
  );
});

replays('an edited file is noticed, and where', async () => {
  await daemon.up('a', { networks: on('dual'), port_mappings: [port(8080, 80)] });
  const lines = parsed(await exported('a'));
  const at = lines.findIndex((line) => 'kind' in line && line.kind === 'passage' && line.to === 'up');
  const edits: [string, (line: Lines[number]) => Lines[number]][] = [
    ['another state', (line) => ({ ...line, to: 'degraded' }) as JournalLine],
    ['no patch', (line) => ({ ...line, patch: [] }) as JournalLine],
    ['another event', (line) => ({ ...line, event: 'connect' }) as JournalLine],
  ];
  for (const [what, edit] of edits) {
    const { code, stdout } = replay(written(lines.map((line, i) => (i === at ? edit(line) : line))));
    assert.is(code, 1, what);
    assert.match(stdout, `at line ${at + 1}:`, what);
  }
  // An effect that fails instead leads another way.
  const failed = lines.map((line): Lines[number] =>
    'kind' in line && line.kind === 'effect' && line.name === 'ensureLink'
      ? { ...line, fault: { code: 'KERNEL', message: 'no' } }
      : line,
  );
  assert.match(replay(written(failed)).stdout, /got .*"to":"unlinking"/);
});

replays('a file whose beginning has gone begins with a snapshot, and every moment after it is known', async () => {
  await daemon.up('a', { networks: on('dual'), port_mappings: [port(8080, 80)] });
  const older = `${daemon.runDir}/journal/a.ndjson.1`;
  // Many ports, none beside another, so that the files fill up soon.
  const request = { id: 'a', port_mappings: Array.from({ length: 60 }, (_, i) => port(9000 + 2 * i, 80)) };
  const fileOf = () => (existsSync(older) ? statSync(older).ino : 0);
  for (let turns = 0, was = fileOf(), n = 0; turns < 2; n++) {
    await daemon.done({ type: 'publish', ...request });
    await daemon.done({ type: 'unpublish', ...request });
    if (fileOf() !== was) turns++;
    was = fileOf();
    assert.ok(n < 500, 'the files never turn');
  }
  const text = await exported('a');
  const [header] = parsed(text) as [ExportHeader];
  assert.is(header.truncated, true);
  const found = same(text);
  assert.equal([found.skipped, found.restarts], [0, 0]);
  const [first] = linesIn(text);
  assert.is(first?.kind === 'start' ? first.how : '', 'continued');
  const last = await lastIsReal('a', text);
  assert.is(named(last, 'port').length, 2);
  const all = moments(linesIn(text));
  assert.ok(all.every(({ context, state }) => context !== null && state !== ''));
  assert.match(replay(text).stdout, /The beginning of the history was no longer known/);
});

replays('what is left out is nowhere in the file, and it goes the same way', async () => {
  const netns = `${daemon.directory}/secret-customer`;
  mkdirSync(daemon.directory, { recursive: true });
  writeFileSync(netns, '');
  execFileSync('unshare', [`--net=${netns}`, 'true']);
  await daemon.up('a', { netns: { mode: 'path', path: netns }, networks: on('dual') });
  const text = await exported('a');
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const whole = readdirSync(`${daemon.runDir}/journal`)
    .map((file) => readFileSync(`${daemon.runDir}/journal/${file}`, 'utf8'))
    .join('');
  assert.ok(whole.includes(netns) && whole.includes(boot));
  assert.not(text.includes('secret-customer'));
  assert.not(text.includes(boot));
  assert.ok(text.includes('/left-out/'));
  same(text);
  await daemon.down('a');
  execFileSync('umount', [netns]);
});

replays.run();

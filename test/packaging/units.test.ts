// slow: 40 s, boots systemd and a user's, which start and stop daemons with helpers
/**
 * packaging/systemd, as shipped, below the real systemd: the daemon serves under its unit with everything that the unit takes from it.
 * Containers, drift, both uplinks, names, ports and CNI plugins work, and a stop, a restart, a watchdog and a socket do what they say.
 *
 * `cleat` is at /usr/bin/cleat and the users of the helpers are made by systemd-sysusers, in layers of the test's own.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findUser, USER_NAMES } from '../../effects/processes/users.ts';
import type { DoctorReport } from '../../state/answers/doctor.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { dial } from '../harness/agent.ts';
import { openOutside } from '../../native/index.ts';
import { booted, cgroupOf, startUserManager, UNITS, USER_UNITS } from '../harness/booted.ts';
import { on, pathOf, port, TestDaemon, type CreateOptions } from '../harness/daemon.ts';
import { dig } from '../harness/dns.ts';
import { withAgents } from '../harness/inside.ts';
import { endWithReport, until } from '../harness/native.ts';
import { overlay } from '../harness/overlay.ts';
import { TestUser } from '../harness/rootless.ts';
import { ROOT } from '../harness/sanitized.ts';
import { capabilitiesOfTheUnit, maskOf, rightsOf } from '../harness/unit.ts';

await booted(import.meta.filename);

const PACKAGING = join(ROOT, 'packaging/systemd');
const PAGE = join(ROOT, 'docs/systemd.md');
const SOCKET = '/run/cleat/cleat.sock';

const units = suite('units of systemd');
const daemon = new TestDaemon(undefined, SOCKET);

const systemctl = (...args: string[]): string => execFileSync('systemctl', args, { encoding: 'utf8' }).trim();
const property = (name: string, unit = 'cleat.service'): string => systemctl('show', '--value', '-p', name, unit);
const mainPid = (): number => Number(property('MainPID'));
const isServing = async () => (await daemon.get<{ pid: number }>('/v1/version')).body.pid === mainPid();
const outside = openOutside();
let ann: TestUser;

/** A network of CNI plugins. */
const PODS = {
  cniVersion: '0.4.0',
  name: 'pods',
  plugins: [{ type: 'bridge', bridge: 'pods0', isGateway: true, ipam: { type: 'host-local', subnet: '10.83.0.0/24' } }],
};

/** Every published port leads to its container. */
async function assertServed(): Promise<void> {
  const ids = ['one', 'two', 'slirp', 'pasta'];
  const views = await Promise.all(ids.map((id) => daemon.get<ContainerView>(`/v1/containers/${id}`)));
  await withAgents(
    views.map(({ body }) => pathOf(body)),
    async (...agents) => {
      for (const [n, agent] of agents.entries()) {
        const id = ids[n] ?? '';
        await agent.serve(id, 'tcp', 80);
        const answers = async () => (await dial('tcp', '127.0.0.1', 18_100 + n, 500)).startsWith(`${id} `);
        await until(`port ${18_100 + n} leads to ${id}`, answers, 20_000);
      }
    },
  );
}

/** The processes with these words on their command lines. */
function pidsOf(words: string): number[] {
  const { stdout } = spawnSync('pgrep', ['-f', '--', words], { encoding: 'utf8' });
  return stdout.split('\n').filter(Boolean).map(Number);
}

const HELPERS = ['cleat-keeper', 'cleat-forwarder', 'aardvark-dns', 'slirp4netns --', 'pasta --'];
/** The pids of the helpers that run. */
const helpers = (): Record<string, number[]> =>
  Object.fromEntries(HELPERS.map((words) => [words, pidsOf(words)] as const).filter(([, pids]) => pids.length > 0));

/** The unit files of docs/systemd.md, by their paths below /etc/systemd/system. */
function unitsOfThePage(): [string, string][] {
  const page = readFileSync(PAGE, 'utf8');
  const found = page.matchAll(/`\/etc\/systemd\/system\/([^`]+)`[^]*?```ini\n([^`]+)```/g);
  return [...found].map(([, path = '', text = '']) => [path, text]);
}

/** A machine with a LAN, a device for uplinks as udev makes it, and cleat where the package puts it. */
function install(): void {
  overlay('/usr/bin', '/var/lib', '/etc');
  execFileSync('ip', ['-batch', '-'], {
    input: [
      'link add world type bridge',
      'addr add 10.99.1.2/24 dev world',
      'link set world up',
      'route add default via 10.99.1.1',
    ].join('\n'),
  });
  writeFileSync('/usr/bin/cleat', `#!/bin/sh\nexec ${process.execPath} ${ROOT}/dist/bundle/cleat.cjs "$@"\n`, {
    mode: 0o755,
  });
  for (const kind of ['sysusers', 'tmpfiles']) {
    const command = kind === 'sysusers' ? [`systemd-${kind}`] : [`systemd-${kind}`, '--create'];
    execFileSync(command[0] ?? '', [...command.slice(1), join(PACKAGING, `${kind}.d/cleat.conf`)]);
  }
  cpSync(join(PACKAGING, 'system'), UNITS, { recursive: true });
  cpSync(join(PACKAGING, 'user'), USER_UNITS, { recursive: true });
  systemctl('daemon-reload');
  ann = new TestUser('ann', 1701);
}

units.before(install);

units('systemd finds nothing to complain about in them, nor in those of the page', () => {
  for (const [path, text] of unitsOfThePage()) {
    const file = join(UNITS, path);
    mkdirSync(dirname(file), { recursive: true });
    if (existsSync(file)) assert.is(text, readFileSync(file, 'utf8'), `${path} is not as it is shipped`);
    else writeFileSync(file, text);
  }
  systemctl('daemon-reload');
  const check = (kind: string, directory: string, ...names: string[]) => {
    const command = ['verify', kind, '--man=no', ...names.map((name) => join(directory, name))];
    const env = { ...process.env, SYSTEMD_UNIT_PATH: `${directory}:`, XDG_RUNTIME_DIR: '/run' };
    const { status, stderr } = spawnSync('systemd-analyze', command, { encoding: 'utf8', env });
    assert.is(stderr, '');
    assert.is(status, 0);
  };
  check('--system', UNITS, 'cleat.service', 'cleat.socket', 'shop.service');
  check('--user', USER_UNITS, 'cleat.service', 'cleat.socket');
});

units('the page says how exposed systemd finds the service', () => {
  const command = ['security', '--offline=true', '--no-pager', join(PACKAGING, 'system/cleat.service')];
  const said = execFileSync('systemd-analyze', command, { encoding: 'utf8' });
  const [, figure = ''] = /Overall exposure level for cleat.service: ([\d.]+)/.exec(said) ?? [];
  const [, written] = /`systemd-analyze security`[^]*?\*\*([\d.]+)\*\*/.exec(readFileSync(PAGE, 'utf8')) ?? [];
  assert.is(written, figure);
});

units('users and directories are made', () => {
  const passwd = readFileSync('/etc/passwd', 'utf8');
  for (const name of USER_NAMES) {
    assert.match(passwd, new RegExp(`^${name}:`, 'm'));
    assert.ok(findUser(name).uid < 1000, name);
  }
  assert.is(statSync('/run/cleat').mode & 0o777, 0o751);
  assert.is(statSync('/var/lib/cleat').mode & 0o777, 0o700);
});

units('who connects first starts it, and it is active when it serves', async () => {
  systemctl('start', 'cleat.socket');
  const { mode, gid } = statSync(SOCKET);
  assert.is(mode & 0o777, 0o660);
  assert.is(gid, Number(/^cleat:[^:]*:(\d+)/m.exec(readFileSync('/etc/group', 'utf8'))?.[1]));
  assert.is(property('ActiveState'), 'inactive');
  assert.ok(await isServing());
  assert.is(property('ActiveState'), 'active');
  systemctl('restart', 'cleat.service'); // returns when it has said that it serves
  assert.ok(await isServing());
});

units('it has the rights of the unit, which are enough for everything that it could miss', async () => {
  const rights = rightsOf(mainPid());
  assert.is(rights.bounding, maskOf(capabilitiesOfTheUnit()));
  assert.is(rights.effective, maskOf(capabilitiesOfTheUnit()));
  assert.ok(rights.noNewPrivileges);
  assert.ok(rights.filtered);
  const ours = Number(/^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/1/limits', 'utf8'))?.[1]);
  assert.is(rights.descriptors, Math.min(1_048_576, ours), 'or what the manager itself has');
  assert.is(cgroupOf(mainPid()).endsWith('/cleat.service'), true);
  const { body } = await daemon.get<DoctorReport>('/v1/doctor');
  assert.equal(
    // Whether bridged packets pass the firewall is the kernel's setting, and one for all namespaces.
    body.checks
      .filter(({ name, ok }) => !ok && name !== 'published-on-loopback6')
      .map(({ name, text }) => `${name}: ${text}`),
    [],
  );
});

units('containers come up: firewall, forwarder, names, both uplinks, programs of others', async () => {
  await daemon.network({ name: 'web', dns_enabled: true, subnets: [{ subnet: '10.77.0.0/24' }] });
  await daemon.network({ name: 'old', driver: 'netavark', subnets: [{ subnet: '10.85.0.0/24' }] });
  writeFileSync('/etc/pods.conflist', JSON.stringify(PODS));
  await daemon.network({ name: 'pods', driver: 'cni', options: { conflist: '/etc/pods.conflist' } });
  const one = await daemon.up('one', { networks: on('web'), port_mappings: [port(18_100, 80)] });
  const forwarded = { port_handler: 'forwarder', port_mappings: [port(18_101, 80)] } satisfies CreateOptions;
  await daemon.up('two', { networks: on('web', 'old', 'pods'), ...forwarded });
  await daemon.up('slirp', { uplink: { program: 'slirp4netns' }, port_mappings: [port(18_102, 80)] });
  await daemon.up('pasta', { uplink: { program: 'pasta' }, port_mappings: [port(18_103, 80)] });
  await assertServed();
  assert.match(await dig(outside, pathOf(one), '10.77.0.1', 'two.dns.podman'), /^NOERROR 10\.77\.0\./);
  await daemon.clean();
});

units('what others remove or kill is restored', async () => {
  execFileSync('nft', ['flush', 'ruleset']);
  const [server = 0] = pidsOf('aardvark-dns');
  const [slirp = 0] = pidsOf('slirp4netns --');
  for (const pid of [server, slirp]) process.kill(pid, 'SIGKILL');
  await until('helpers are there again', () =>
    [pidsOf('aardvark-dns')[0], pidsOf('slirp4netns --')[0]].every(
      (pid) => (pid ?? 0) > 1 && pid !== server && pid !== slirp,
    ),
  );
  await assertServed();
});

units('a daemon that hangs is ended by the watchdog, and the next one knows everything', async () => {
  const before = helpers();
  const hung = mainPid();
  mkdirSync(`${UNITS}/cleat.service.d`);
  writeFileSync(`${UNITS}/cleat.service.d/soon.conf`, '[Service]\nWatchdogSec=2\n');
  systemctl('daemon-reload');
  systemctl('restart', 'cleat.service');
  await sleep(5000);
  const living = mainPid();
  assert.is.not(living, hung);
  assert.is(property('NRestarts'), '0', 'one that works is left alone');
  process.kill(living, 'SIGSTOP');
  await until(
    'the watchdog has started another',
    () => ![0, living].includes(mainPid()) && property('NRestarts') === '1',
    30_000,
  );
  await assertServed();
  assert.equal(helpers(), before, 'helpers have gone on');
});

units('containers and helpers go on while the unit is stopped, and its socket starts it again', async () => {
  const before = helpers();
  systemctl('stop', 'cleat.service');
  assert.is(property('Result'), 'success');
  assert.is(property('ActiveState'), 'inactive');
  assert.equal(helpers(), before);
  assert.ok(await isServing());
  await assertServed();
});

units('a service of systemd joins a network of the template', async () => {
  execFileSync('ip', ['netns', 'add', 'shop']); // a power cut has left it behind
  systemctl('start', 'shop.service');
  await until('it serves', async () => {
    const [file, ...args] = ['curl', '--silent', '--fail', '--output', '/dev/null', 'http://10.99.1.2:8080/'];
    return spawnSync(file, args).status === 0;
  });
  const files = readFileSync(`/proc/${property('MainPID', 'shop.service')}/root/etc/hosts`, 'utf8');
  assert.match(files, /10\.77\.0\.\d+\s+.*shop/);
  systemctl('restart', 'cleat.service');
  systemctl('stop', 'cleat-network@shop.service');
  assert.is(property('ActiveState', 'shop.service'), 'inactive');
  assert.is((await daemon.get('/v1/containers/shop')).status, 404);
  assert.not(existsSync('/run/netns/shop'));
});

units('nothing is left when all is torn down', async () => {
  await daemon.down('one', 'two', 'slirp', 'pasta');
  await daemon.clean();
  systemctl('stop', 'cleat.socket', 'cleat.service');
  assert.is(property('Result'), 'success');
  await until('no helper is left', () => Object.keys(helpers()).length === 0);
  assert.not(existsSync(SOCKET));
});

units("an ordinary user's units do the same", async () => {
  startUserManager(ann);
  const user = new TestDaemon(undefined, `${ann.runtime}/cleat/cleat.sock`);
  const control = (...args: string[]): string => {
    const { status, stdout, stderr } = ann.run(['systemctl', '--user', ...args]);
    if (status !== 0) throw new Error(`systemctl --user ${args.join(' ')}: ${stderr}`);
    return stdout.trim();
  };
  const pid = (): number => Number(control('show', '--value', '-p', 'MainPID', 'cleat.service'));
  control('start', 'cleat.socket');
  assert.is((await user.get<{ pid: number }>('/v1/version')).body.pid, pid());
  assert.is(control('show', '--value', '-p', 'ActiveState', 'cleat.service'), 'active');
  await user.network({ name: 'web', subnets: [{ subnet: '10.78.0.0/24' }] });
  const made = await user.up('one', { networks: on('web'), port_mappings: [port(18_110, 80)] });
  const first = pid();
  control('restart', 'cleat.service');
  assert.is.not(pid(), first);
  await withAgents([ann.outsidePath(pathOf(made))], async (agent) => {
    await agent.serve('one', 'tcp', 80);
    assert.match(await dial('tcp', '10.99.1.2', 18_110, 5000), /^one /);
  });
  await user.down('one');
  control('stop', 'cleat.socket', 'cleat.service');
  await until('nothing is left', () => ann.processes().every((line) => !line.includes('cleat')));
});

endWithReport();
units.run();

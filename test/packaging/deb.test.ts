// slow: 60 s, builds the package, boots systemd, and has dpkg install, upgrade, remove and purge it
/**
 * The package for Debian, by the real dpkg below the real systemd: what is in it, and its life. Containers go on while it is upgraded and
 * removed, a new installation takes them over, and a purge leaves nothing.
 *
 * Limits: /usr, /etc and /var are the machine's, with layers of the test's own on top, so dependencies are there, and a Node: that the
 * package needs no other is seen in /proc. scripts/matrix-debian.mjs has a Debian with nothing else.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { booted, UNITS } from '../harness/booted.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { addNetns, removeNetns } from '../harness/inside.ts';
import { endWithReport, until } from '../harness/native.ts';
import { layerOf, overlay } from '../harness/overlay.ts';
import { prepareUplinks } from '../harness/unit.ts';
import { ROOT } from '../harness/sanitized.ts';

await booted(import.meta.filename, ['/etc/systemd/system']);

const LAYERED = ['/usr', '/etc', '/var'];
const PACKAGES = '/run/packages';
/** What dpkg and the tools for users write for themselves. */
const NOT_OURS = [
  /^\/var\/lib\/(dpkg|systemd)\//,
  /^\/var\/log\//,
  /^\/var\/cache\//,
  /^\/etc\/[a-z]+-?$/,
  /^\/etc\/\.pwd\.lock$/,
  /^\/etc\/ld\.so\.cache$/,
];

const deb = suite('package for Debian');
const daemon = new TestDaemon(undefined, '/run/cleat/cleat.sock');
const output = (file: string, ...args: string[]): string => execFileSync(file, args, { encoding: 'utf8' }).trim();
const cleat = (...args: string[]): string => output('/usr/bin/cleat', ...args);
const property = (name: string): string => output('systemctl', 'show', '--value', '-p', name, 'cleat.service');
const pidsOf = (words: string): string[] =>
  spawnSync('pgrep', ['-f', '--', words], { encoding: 'utf8' }).stdout.split('\n').filter(Boolean);
const helpers = () => ['cleat-forwarder', 'aardvark-dns', 'cleat-keeper'].map(pidsOf);
let file = '';

let before: ReturnType<typeof picture>;

/** Returns what dpkg and the scripts of the package say. */
function dpkg(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('dpkg', ['--force-unsafe-io', '--no-triggers', ...args], {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  assert.is(status, 0, `dpkg ${args.join(' ')}: ${stdout}${stderr}`);
  return `${stdout}${stderr}`;
}

/** What has changed in the directories since the test began. */
const changed = (): string[] =>
  LAYERED.flatMap((directory) =>
    readdirSync(layerOf(directory), { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(directory, entry.parentPath.slice(layerOf(directory).length), entry.name)),
  ).filter((path) => !NOT_OURS.some((pattern) => pattern.test(path)));

/** What the machine has, of the network and in the directories. */
const picture = () => ({
  files: changed(),
  links: output('ip', '-brief', 'link'),
  addresses: output('ip', '-brief', 'address'),
  rules: output('nft', 'list', 'ruleset'),
  namespaces: readdirSync('/run/netns'),
  forwarding: readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8'),
});

async function assertServed(): Promise<void> {
  for (const n of [18_200, 18_201]) {
    const args = ['--silent', '--fail', '--output', '/dev/null', `http://127.0.0.1:${n}/`];
    await until(`port ${n} answers`, () => spawnSync('curl', args).status === 0);
  }
}

deb.before(() => {
  overlay(...LAYERED);
  rmSync('/usr/sbin/policy-rc.d', { force: true }); // where it is, packages start nothing
  const env = { ...process.env, npm_config_cache: '/run/npm' };
  const made = execFileSync(process.execPath, [join(ROOT, 'dist/scripts/package.js'), PACKAGES], {
    encoding: 'utf8',
    env,
  });
  file = /^.*\.deb$/m.exec(made)?.[0] ?? '';
  prepareUplinks();
  before = picture();
  // The manager of the test does not look into /usr/lib.
  for (const name of ['cleat.service', 'cleat.socket', 'cleat-network@.service'])
    symlinkSync(`/usr/lib/systemd/system/${name}`, join(UNITS, name));
});

deb('it says what it is and needs, and has what runs and nothing else', () => {
  const field = (name: string): string => output('dpkg-deb', '--field', file, name);
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  assert.is(field('Package'), 'cleat');
  assert.is(field('Version'), version);
  assert.is(field('Architecture'), output('dpkg', '--print-architecture'));
  assert.match(field('Depends'), /libc6 \(>= [\d.]+\).*libmnl0 .*libnftnl11 /);
  const lines = output('dpkg-deb', '--contents', file).split('\n');
  for (const line of lines)
    assert.match(line, /^[-dl][-rwx]{9} root\/root /, "all of it is root's, and none writable for others");
  assert.equal(
    lines.filter((line) => /^.{5}w|^.{8}w/.test(line) && !line.startsWith('l')),
    [],
  );
  const paths = lines.map((line) => / \.(\/.*?)(?: -> .*)?$/.exec(line)?.[1] ?? '');
  for (const path of [
    '/usr/bin/cleat',
    '/usr/lib/cleat/bin/node',
    '/usr/lib/cleat/build/Release/cleat.node',
    '/usr/lib/systemd/system/cleat.service',
    '/usr/lib/systemd/user/cleat.socket',
    '/usr/lib/sysusers.d/cleat.conf',
    '/usr/lib/tmpfiles.d/cleat.conf',
    '/usr/share/man/man1/cleat-run.1.gz',
    '/usr/share/bash-completion/completions/cleat',
    '/usr/share/doc/cleat/copyright',
  ])
    assert.ok(paths.includes(path), path);
  assert.equal(
    paths.filter((path) => /\.(ts|map|cc|h|o|tsbuildinfo)$|node_modules|\/test/.test(path)),
    [],
  );
  const licences = output('sh', '-c', `dpkg-deb --fsys-tarfile ${file} | tar -xO ./usr/share/doc/cleat/copyright`);
  for (const name of ['xstate 5', 'fastify 5', 'zod 4', 'preact 11', 'Node.js v'])
    assert.match(licences, new RegExp(`^${name}`, 'm'));
});

deb('an installation starts it, with the Node of the package and its code caches', async () => {
  dpkg('--install', file);
  assert.is(property('ActiveState'), 'active');
  const { client, daemon: served } = JSON.parse(cleat('version', '--format', 'json')) as Record<
    string,
    { version: string }
  >;
  assert.is(client?.version, served?.version);
  assert.is(readlinkSync(`/proc/${property('MainPID')}/exe`), '/usr/lib/cleat/bin/node');
  for (const name of ['cleat.service', 'cleat.socket'])
    assert.ok(spawnSync('systemctl', ['is-enabled', name]).status === 0, `${name} is enabled`);
  const places = ['run', 'state', 'netns'].flatMap((name) => [`--${name}-dir`, `/run/other/${name}`]);
  mkdirSync('/run/other');
  const { status, stderr } = spawnSync('/usr/bin/cleat', ['daemon', '--exit-when-idle', '0.2', ...places], {
    encoding: 'utf8',
  });
  assert.is(status, 0, stderr);
  assert.match(stderr, '"msg":"ready"');
  assert.not.match(stderr, 'compiled anew');
  assert.match(output('man', '-l', '/usr/share/man/man1/cleat-run.1.gz'), /CLEAT-RUN\(1\)/);
});

deb('containers come up, and a front starts a daemon with the same Node', async () => {
  await daemon.network({ name: 'web', dns_enabled: true, subnets: [{ subnet: '10.77.0.0/24' }] });
  cleat('run', '-d', '--name', 'one', '--network', 'web', '-p', '18200:80', '--', 'python3', '-m', 'http.server', '80');
  cleat(
    'run',
    '-d',
    '--name',
    'two',
    '--network',
    'slirp4netns',
    '-p',
    '18201:80',
    '--',
    'python3',
    '-m',
    'http.server',
    '80',
  );
  await assertServed();
  const other = addNetns('other');
  const inner = addNetns('inner');
  const config = { cniVersion: '1.0.0', name: 'pods', type: 'cleat', subnets: [{ subnet: '10.79.0.0/24' }] };
  const call = (command: string): void => {
    execFileSync('nsenter', [`--net=${other}`, '/usr/libexec/cleat/cleat-cni'], {
      input: JSON.stringify(config),
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: 'pod',
        CNI_NETNS: inner,
        CNI_IFNAME: 'eth0',
        CNI_PATH: '/opt/cni/bin',
      },
    });
  };
  call('ADD');
  const started = pidsOf('cleat.cjs daemon --exit-when-idle');
  assert.is(started.length, 1);
  assert.is(readlinkSync(`/proc/${started[0]}/exe`), '/usr/lib/cleat/bin/node');
  call('DEL');
  process.kill(Number(started[0]), 'SIGTERM');
  await until('it has ended', () => pidsOf('cleat.cjs daemon --exit-when-idle').length === 0);
  for (const name of ['inner', 'other']) removeNetns(name);
});

deb('an upgrade replaces the daemon, and nothing that carries traffic', async () => {
  const old = { pid: property('MainPID'), helpers: helpers() };
  dpkg('--install', file);
  assert.is.not(property('MainPID'), old.pid);
  assert.is(property('ActiveState'), 'active');
  assert.equal(helpers(), old.helpers);
  await assertServed();
});

deb('a removal says which containers keep their networks, and a new installation takes them over', async () => {
  const old = helpers();
  const said = dpkg('--remove', 'cleat');
  assert.match(said, 'cleat: these containers keep their networks, and nobody repairs them any more: one two');
  assert.match(said, 'cleat: /var/lib/cleat keeps the definitions of networks');
  assert.equal(pidsOf('cleat.cjs daemon'), []);
  assert.not(existsSync('/usr/lib/cleat'));
  assert.equal(helpers(), old);
  await assertServed();
  dpkg('--install', file);
  assert.is(cleat('ps', '--format', '{{.id}} {{.state}}'), 'one up\ntwo up');
  await assertServed();
});

deb('a purge leaves what containers need, and says so', async () => {
  assert.match(
    dpkg('--purge', 'cleat'),
    'cleat: containers still have their networks, so /run/cleat, /var/lib/cleat and the users cleat-* stay',
  );
  await assertServed();
  dpkg('--install', file);
  assert.is(cleat('ps', '--format', '{{.id}} {{.state}}'), 'one up\ntwo up');
  await daemon.clean();
});

deb('after the containers, a purge leaves nothing', async () => {
  mkdirSync('/etc/cleat');
  writeFileSync('/etc/cleat/cleat.toml', 'log_level = "debug"\n');
  cleat('stop', 'one', 'two');
  await daemon.clean();
  dpkg('--purge', 'cleat');
  for (const path of ['/run/cleat', '/etc/cleat', '/var/lib/cleat']) assert.not(existsSync(path), path);
  for (const path of ['/etc/passwd', '/etc/group']) assert.not.match(readFileSync(path, 'utf8'), /^cleat/m);
  assert.equal(
    readdirSync('/var/lib/systemd', { recursive: true, encoding: 'utf8' }).filter((path) => path.includes('cleat')),
    [],
  );
  assert.equal(picture(), before);
  assert.equal(pidsOf('cleat'), []);
});

endWithReport();
deb.run();

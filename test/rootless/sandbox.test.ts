// slow: 30 s, a container for each layout of the host
/**
 * What a program of others really finds when an ordinary user's daemon runs it: a resolv.conf with servers that it can reach, on
 * hosts of every layout and after changes of the host's; a /run and a /var/lib/cni that it may write; and nothing of that outside.
 */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cniGround } from '../harness/conflist.ts';
import { on } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { RootlessDaemon, TestUser } from '../harness/rootless.ts';

// An /etc and a /var/lib of the test's own, and what systemd and others have in /run.
for (const directory of ['/etc', '/var/lib']) {
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/mnt']);
  if (directory === '/etc') execFileSync('cp', ['-a', '/etc/.', '/mnt']);
  execFileSync('mount', ['--move', '/mnt', directory]);
}
const RESOLV_CONF = '/etc/resolv.conf';
const RESOLVED = '/run/systemd/resolve';
for (const directory of [RESOLVED, '/run/systemd/journal', '/run/NetworkManager', '/run/dbus', '/var/lib/other'])
  mkdirSync(directory, { recursive: true });
writeFileSync('/run/xtables.lock', '', { mode: 0o600 });
writeFileSync('/var/lib/other/file', 'of the host\n');
execFileSync('ip', ['-batch', '-'], {
  input:
    'link add world type bridge\naddr add 10.99.1.2/24 dev world\nlink set world up\nroute add default via 10.99.1.1\n',
});

const sandbox = suite('rootless sandbox');
const user = new TestUser('ann', 1901);
const daemon = new RootlessDaemon(user);
daemon.uplinks = { rootlessUplink: 'slirp4netns' };
const ground = cniGround(daemon.directory);
// The plugin makes no link, and is not to be run again for that.
daemon.drift = ['link=ignore'];
daemon.externals = { cniPlugins: [ground.directory] };

/** The user's part of the sandbox, from outside. */
const own = (path: string) => user.outsidePath(`/run/cleat-plugins/${path}`);
/** Runs a command in the user's namespaces. */
const within = (...command: string[]) => {
  const { status, stderr } = user.launch(...command);
  assert.is(status, 0, stderr);
};
const PROBE = `
say() { echo "# $1"; shift; "$@" 2>&1; }
{
  say resolv cat ${RESOLV_CONF}
  say run ls -A /run
  say lib ls -A /var/lib
  say other cat /var/lib/other/file
  say lock sh -c 'echo held > /run/xtables.lock && cat /run/xtables.lock'
  say state sh -c 'echo kept >> /var/lib/cni/$CNI_COMMAND && cat /var/lib/cni/$CNI_COMMAND'
  say netns sh -c 'stat -f -c %T "$CNI_NETNS"'
} > /run/said.$CNI_COMMAND
cat > /dev/null
echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"x"}],"ips":[]}'
`;

interface Said {
  resolv: string[];
  run: string[];
  lib: string[];
  other: string[];
  lock: string[];
  state: string[];
  netns: string[];
}
/** What the plugin has found on ADD. */
async function found(): Promise<Said> {
  await daemon.up('c', { networks: on('x') });
  const lines = readFileSync(own('run/said.ADD'), 'utf8').trimEnd().split('\n');
  await daemon.down('c');
  const said: Record<string, string[]> = {};
  let name = '';
  for (const line of lines) {
    if (line.startsWith('# ')) said[(name = line.slice(2))] = [];
    else said[name]?.push(line);
  }
  return said as unknown as Said;
}

/** slirp4netns forwards the first; the host's loopback cannot be reached. */
const OURS = ['search example.org', 'nameserver 10.0.2.3', 'nameserver 192.0.2.7', 'options ndots:2'];
const HOSTS = 'search example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.7\noptions ndots:2\n';

sandbox('a plugin finds what it needs, and may write where plugins write', async () => {
  ground.standIn('probe', PROBE);
  writeFileSync(RESOLV_CONF, HOSTS);
  await daemon.start();
  const conflist = ground.conflist('x', [{ type: 'probe' }], { disableCheck: true });
  user.cleat('network', 'create', 'x', '--driver', 'cni', '--opt', `conflist=${conflist}`);
  const said = await found();
  assert.equal(said.resolv, OURS);
  const first = daemon.directory.split('/')[2] ?? '';
  const shown = said.run.filter((name) => !/^cleat-1901-\d+$|^said\./.test(name));
  assert.equal(shown.sort(), [first, 'netns', 'systemd', 'user'].sort());
  assert.equal(said.lock, ['held']);
  assert.equal(said.state, ['kept']);
  assert.equal(said.netns, ['nsfs']);
  // /var/lib/cni is not there: the plugin has one, beside what the host has.
  assert.equal(said.lib.sort(), ['.host', 'cni', 'other']);
  assert.equal(said.other, ['of the host']);
  // It is kept from one program to the next.
  assert.equal((await found()).state, ['kept', 'kept']);
  assert.is(readFileSync('/run/xtables.lock', 'utf8'), '');
  assert.equal(readdirSync('/var/lib'), ['other']);
  assert.is(readFileSync(RESOLV_CONF, 'utf8'), HOSTS);
  assert.is(statSync(own('')).mode & 0o777, 0o700);
});

sandbox('/var/lib/cni of the host is left alone', async () => {
  mkdirSync('/var/lib/cni');
  writeFileSync('/var/lib/cni/theirs', '');
  const said = await found();
  assert.equal(said.lib.sort(), ['cni', 'other']);
  assert.equal(said.state, ['kept', 'kept', 'kept']);
  assert.equal(readdirSync('/var/lib/cni'), ['theirs']);
});

sandbox('resolv.conf, wherever it is', async () => {
  const link = (target: string) => () => symlinkSync(target, RESOLV_CONF);
  const STUB = `${RESOLVED}/stub-resolv.conf`;
  writeFileSync(STUB, HOSTS);
  const rows: [what: string, make: () => void, servers: boolean | null][] = [
    ['systemd-resolved', link(`..${STUB}`), true],
    ['NetworkManager', link('/run/NetworkManager/resolv.conf'), true],
    ['in the state of plugins', link('/var/lib/cni/resolv.conf'), true],
    ['beside it', link('/var/lib/other/resolv.conf'), true],
    ['a chain', link('../var/lib/chain'), true],
    ['dangling, below /run', link('/run/none/resolv.conf'), false],
    ['dangling', link('/none/resolv.conf'), null],
    ['missing', () => {}, null],
    ['a circle', link('resolv.conf'), null],
  ];
  symlinkSync('other/resolv.conf', '/var/lib/chain');
  for (const path of ['/run/NetworkManager', '/var/lib/cni', '/var/lib/other'])
    writeFileSync(`${path}/resolv.conf`, HOSTS);
  for (const [what, make, servers] of rows) {
    rmSync(RESOLV_CONF, { force: true });
    make();
    const { resolv } = await found();
    if (servers === null) assert.match(resolv.join(), /No such file|Too many levels/, what);
    // A host without servers has none to forward to.
    else assert.equal(resolv, servers ? OURS : [], what);
    assert.not.ok(existsSync('/run/none'), what);
  }
});

sandbox('a program that goes on running sees the changes of the host, however its file is replaced', async () => {
  rmSync(RESOLV_CONF, { force: true });
  symlinkSync(`${RESOLVED}/stub-resolv.conf`, RESOLV_CONF);
  // Like dnsmasq of a plugin: it outlives it.
  ground.standIn(
    'probe',
    `[ "$CNI_COMMAND" = ADD ] && mkdir /run/once && sh -c 'while [ ! -e /run/end ]; do cp ${RESOLV_CONF} /run/now; mv /run/now /run/seen; sleep 0.05; done' > /dev/null 2>&1 < /dev/null &\n${PROBE}`,
  );
  await daemon.up('c', { networks: on('x') });
  const seen = () => (existsSync(own('run/seen')) ? readFileSync(own('run/seen'), 'utf8').trimEnd().split('\n') : []);
  await until('it sees ours', () => seen().join() === OURS.join());
  for (const server of ['192.0.2.8', '192.0.2.9']) {
    // As systemd-resolved does it: another file in its place, which unmounts what is mounted on the first.
    const text = HOSTS.replace('192.0.2.7', server);
    writeFileSync(`${RESOLVED}/new`, text);
    renameSync(`${RESOLVED}/new`, `${RESOLVED}/stub-resolv.conf`);
    await until(`it sees ${server}`, () => seen().join() === OURS.join().replace('192.0.2.7', server));
  }
  within('touch', '/run/cleat-plugins/run/end');
  await daemon.down('c');
});

sandbox('a sandbox that cannot be made is the fault of the attachment', async () => {
  const state = '/run/cleat-plugins/var/lib/cni';
  within('sh', '-c', `rm -r ${state} && touch ${state}`);
  await daemon.done({ type: 'create', id: 'c', networks: on('x') });
  const { body } = await daemon.event({ type: 'configure', id: 'c' });
  assert.match(body.error?.message ?? '', /\/run\/cleat-plugins\/var\/lib\/cni/);
  within('rm', state);
  await daemon.down('c');
  await daemon.up('c', { networks: on('x') });
  await daemon.down('c');
  await daemon.clean();
});

sandbox('nothing is left', async () => {
  assert.is(await daemon.stop(), 0);
  await until('no process is left', () => user.processes().length === 0);
});

sandbox.after(async () => {
  await daemon.kill();
});

sandbox.run();

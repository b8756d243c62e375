/**
 * The life of the package in a clean Debian, without systemd: dpkg installs it, a daemon gives containers their networks, is replaced by an
 * upgrade and killed, the package is removed and purged, and nothing is left.
 *
 *   node scripts/matrix-debian.mjs TREE PACKAGE      inside of the namespaces
 *
 * Guarantees: it has network, mount, pid and IPC namespaces of its own, and a layer over the tree, which stays as it was. The first thing
 * that is not as it should be ends it.
 * Limits: what systemd does is tried in test/packaging/, on the Debian of the machine.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Serves until it is ended, with the Node of the package: there is no other program here that does. */
const SERVER = "require('http').createServer((q, r) => r.end('served')).listen(80)";

const OLD = '/mnt';

export function liveInDebian(tree, file) {
  const scratch = mkdtempSync(join(tmpdir(), 'cleat-debian-'));
  const namespaces = [
    '--net',
    '--mount',
    '--pid',
    '--ipc',
    '--fork',
    '--kill-child',
    '--mount-proc',
    '--propagation',
    'private',
  ];
  // The shell stays pid 1, and collects orphans.
  const inside = ['sh', '-c', '"$@"; exit $?', 'sh', process.execPath, import.meta.filename, tree, file, scratch];
  const { status } = spawnSync('unshare', [...namespaces, ...inside], { stdio: 'inherit' });
  rmSync(scratch, { recursive: true });
  if (status !== 0) throw new Error('the package does not live here');
}

/**
 * Makes the tree our root, with what every machine has and a layer for what is written. The machine's root is at OLD then. A chroot would
 * not do: the kernel gives no user namespaces in one, which slirp4netns needs.
 */
function enter(tree, scratch) {
  mount('-t', 'tmpfs', 'tmpfs', scratch);
  const at = (name) => join(scratch, name);
  for (const name of ['upper', 'work', 'root']) mkdirSync(at(name));
  mount('-t', 'overlay', 'overlay', '-o', `lowerdir=${tree},upperdir=${at('upper')},workdir=${at('work')}`, at('root'));
  mount('-t', 'proc', 'proc', at('root/proc'));
  mount('-t', 'sysfs', 'sysfs', at('root/sys'));
  for (const name of ['dev', 'run', 'tmp']) mount('-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', at(`root/${name}`));
  mkdirSync(at('root/dev/net'));
  const devices = {
    null: [1, 3],
    zero: [1, 5],
    full: [1, 7],
    random: [1, 8],
    urandom: [1, 9],
    tty: [5, 0],
    'net/tun': [10, 200],
  };
  for (const [name, numbers] of Object.entries(devices))
    execFileSync('mknod', ['-m', '666', at(`root/dev/${name}`), 'c', ...numbers.map(String)]);
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  execFileSync('pivot_root', [at('root'), at(`root${OLD}`)]);
  process.chdir('/');
}

const mount = (...args) => execFileSync('mount', args);

function live(upper, file) {
  /** Runs a program of the tree; its exit code has to be 0. */
  const run = (...command) => {
    console.log(`+ ${command.join(' ')}`);
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };
    const { status, stdout, stderr } = spawnSync(command[0], command.slice(1), { encoding: 'utf8', env });
    if (status !== 0) throw new Error(`${command.join(' ')}: ${status}\n${stdout}${stderr}`);
    return `${stdout}${stderr}`.trim();
  };
  const changed = () =>
    readdirSync(upper, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath.slice(upper.length), entry.name))
      .filter(
        (path) =>
          !/^\/(var\/(lib\/dpkg|log|cache)\/|etc\/(passwd|group|shadow|gshadow|subuid|subgid)-?$|etc\/\.pwd\.lock)/.test(
            path,
          ),
      );
  const network = () => [
    run('ip', '-brief', 'link'),
    execFileSync('/usr/sbin/chroot', [OLD, 'nft', 'list', 'ruleset'], { encoding: 'utf8' }),
  ];
  const served = (port) => {
    const program = `fetch('http://127.0.0.1:${port}/').then((a) => a.text()).then(console.log)`;
    for (let tries = 0; tries < 50; tries++) {
      const { stdout } = spawnSync('/usr/lib/cleat/bin/node', ['-e', program], { encoding: 'utf8' });
      if (stdout.trim() === 'served') return;
      execFileSync('sleep', ['0.1']);
    }
    throw new Error(`port ${port} is not served`);
  };
  const cleat = (...args) => run('cleat', ...args);
  const pid = () => Number(cleat('version', '--format', '{{.daemon.pid}}'));

  const before = network();
  copyFileSync(file, '/tmp/cleat.deb');
  const install = () => run('dpkg', '--install', '/tmp/cleat.deb');
  assert.ok(!existsSync('/usr/bin/node'), 'this Debian has a Node of its own');
  install();
  console.log(cleat('--version'));
  cleat('daemon', '--detach');
  cleat('network', 'create', 'web', '--ipv6');
  const serve = ['--', '/usr/lib/cleat/bin/node', '-e', SERVER];
  cleat('run', '-d', '--name', 'one', '--network', 'web', '-p', '8080:80', ...serve);
  cleat('run', '-d', '--name', 'two', '--network', 'slirp4netns', '-p', '8081:80', ...serve);
  served(8080);
  served(8081);
  assert.match(cleat('run', '--network', 'web', '--', 'getent', 'hosts', 'one'), /one/);
  const first = pid();
  process.kill(first, 'SIGKILL');
  cleat('daemon', '--detach');
  install();
  served(8080);
  served(8081);
  assert.match(run('dpkg', '--remove', 'cleat'), /keep their networks.*: one two/);
  install();
  cleat('daemon', '--detach');
  assert.equal(cleat('ps', '--format', '{{.id}} {{.state}}'), 'one up\ntwo up');
  served(8080);
  cleat('stop', 'one', 'two');
  console.log(cleat('audit'));
  run('dpkg', '--purge', 'cleat');
  assert.deepEqual(changed(), []);
  for (const path of ['/run/cleat', '/etc/cleat', '/var/lib/cleat']) assert.ok(!existsSync(path), path);
  assert.doesNotMatch(readFileSync('/etc/passwd', 'utf8'), /^cleat/m);
  assert.deepEqual(network(), before);
}

const [, script, tree, file, scratch] = process.argv;
if (script === import.meta.filename) {
  enter(tree, scratch);
  live(`${OLD}${scratch}/upper`, `${OLD}${file}`);
}

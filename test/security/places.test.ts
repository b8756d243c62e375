/**
 * The surroundings of the daemon: its socket, its directories, its users, and the few rights of root with which it
 * works.
 *
 * Limits: those of test/harness/unit.ts. processes.test.ts has the rights of the helpers.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addressOf, on, port, TestDaemon } from '../harness/daemon.ts';
import { addNetns, endSleepers, sleeper, withAgents } from '../harness/inside.ts';
import { assertComesBackTo, inspectKernel } from '../harness/picture.ts';
import { asUser, sayAs } from '../harness/peer.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { capabilitiesOfTheUnit, launcherOfTheUnit, maskOf, rightsOf } from '../harness/unit.ts';

requirePrivateNamespace();

const ROOT = resolve(import.meta.dirname, '../../..');
const NOBODY = 65_534;

const daemon = new TestDaemon();
const places = suite('places');

places.before(async () => {
  await daemon.start();
});
places.after(async () => {
  endSleepers();
  await daemon.stop();
});

places('no socket of the daemon is abstract: the one it listens on has a path, the rest no name', async () => {
  const inodes = new Set(
    readdirSync(`/proc/${daemon.pid}/fd`).flatMap((fd) => {
      try {
        return [/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${daemon.pid}/fd/${fd}`))?.[1] ?? ''];
      } catch {
        return []; // closed in the meantime
      }
    }),
  );
  // proc_net_unix(5): the inode, and the path if there is one; an abstract one begins with "@".
  const paths = readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((words) => inodes.has(words[6] ?? '-'))
    .map((words) => words[7] ?? '');
  assert.ok(paths.includes(daemon.socket), paths.join(' '));
  assert.equal(
    [...new Set(paths)].filter((path) => path !== daemon.socket && path !== ''),
    [],
  );
});

places('root of a user namespace has no special rights: it may not name paths, pids or outsides', async () => {
  const path = addNetns('theirs');
  const { pid } = await sleeper();
  const asRoot = [...asUser(NOBODY, 0), 'unshare', '--user', '--map-root-user', '--'];
  const create = { type: 'create', id: 'a', networks: {} };
  assert.is(sayAs(daemon, asRoot, create), '200 created');
  await daemon.down('a');
  for (const asked of [{ netns: { mode: 'path', path } }, { netns: { mode: 'pid', pid } }, { outside: path }]) {
    assert.is(sayAs(daemon, asRoot, { ...create, ...asked }), '403 NOT_ALLOWED');
  }
  const outside = [...asUser(NOBODY, NOBODY), 'unshare', '--user', '--map-root-user', '--'];
  assert.is(sayAs(daemon, outside, create), 'EACCES');
});

places('a directory that others own or may write to is refused, before anything is made in it', async () => {
  mkdirSync('/run/traps');
  const trap = (name: string, make: (path: string) => void): string => {
    const path = `/run/traps/${name}`;
    make(path);
    return path;
  };
  const theirs = trap('theirs', (path) => {
    mkdirSync(path);
    symlinkSync('/etc', join(path, 'containers')); // the file that the directory's owner would like to have written
    chownSync(path, NOBODY, NOBODY);
  });
  const shared = trap('shared', (path) => {
    mkdirSync(path);
    chmodSync(path, 0o1777);
  });
  const group = trap('group', (path) => {
    mkdirSync(path);
    chmodSync(path, 0o770);
  });
  const link = trap('link', (path) => {
    mkdirSync(`${path}-to`);
    symlinkSync(`${path}-to`, path);
    execFileSync('chown', ['--no-dereference', String(NOBODY), path]);
  });
  for (const directory of [theirs, shared, group, link]) {
    for (const which of directory === theirs ? ['runDir', 'stateDir', 'netnsDir'] : ['runDir']) {
      const before = readdirSync(directory);
      const already = daemon.log().length;
      const other = { runDir: '/run/o/run', stateDir: '/run/o/state', netnsDir: '/run/o/netns', socket: '/run/o/s' };
      const [code] = (await once(daemon.spawn({ ...other, [which]: directory }), 'exit')) as [number | null];
      assert.is(code, 1);
      assert.match(
        daemon.log().slice(already),
        /is no place for the daemon: (it belongs to uid 65534|others may write)/,
      );
      assert.equal(readdirSync(directory), before, directory);
    }
  }
  rmSync('/run/traps', { recursive: true });
  rmSync('/run/o', { recursive: true, force: true });
});

places("ids that are names of the daemon's files, or of its neighbours, are ids like any other", async () => {
  const before = inspectKernel();
  const precious = '/run/precious';
  writeFileSync(precious, 'mine');
  const ids = [
    'lock',
    'cleat.sock',
    'a.json',
    'a.json.tmp',
    'a.ndjson.1',
    'a.json.unreadable',
    'a..b',
    'A',
    'a',
    'x'.repeat(100),
  ];
  for (const id of ids) await daemon.up(id, { networks: on('cleat'), files: true });
  const { body } = await daemon.get<{ id: string }[]>('/v1/containers');
  assert.equal(body.map(({ id }) => id).sort(), [...ids].sort());
  await daemon.kill();
  await daemon.start();
  for (const id of ids) await daemon.get(`/v1/containers/${id}?wait=up&timeout=10000`); // the last one may still be arriving
  const { body: again } = await daemon.get<{ id: string; state: string }[]>('/v1/containers');
  assert.equal(again.map(({ id, state }) => `${id} ${state}`).sort(), ids.map((id) => `${id} up`).sort());
  await daemon.down(...ids);
  assert.is(readFileSync(precious, 'utf8'), 'mine');
  assert.equal(existsSync(join(daemon.runDir, 'etc')) ? readdirSync(join(daemon.runDir, 'etc')) : [], []);
  await assertComesBackTo(before, () => inspectKernel());
});

places(
  'only commands of the user, `cleat run`, `cleat daemon --detach`, `cleat inspector` and `cleat-rootless`, start a program by way of $PATH',
  () => {
    const sources = ['effects', 'machines', 'plan', 'native', 'service', 'state', 'client', 'cli'].flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
        .filter((file) => /\.(ts|cc|h)$/.test(file))
        .map((file) => join(folder, file)),
    );
    assert.ok(sources.length > 100, String(sources.length));
    // exec*p and posix_spawnp look in $PATH; system(3) and popen(3) are shells.
    const starts = /node:child_process|\b(system|popen|posix_spawnp|execvp|execlp|execvpe)\s*\(/;
    assert.equal(
      sources.filter((file) => starts.test(readFileSync(join(ROOT, file), 'utf8'))).sort(),
      // firewalld.ts and program-output.ts ask a program that is named by full path, in an empty environment; only Node has pipes to read its
      // answer.
      [
        'cli/page/browser.ts',
        'cli/process/detach.ts',
        'cli/process/entrance.ts',
        'effects/firewall/firewalld.ts',
        'effects/processes/program-output.ts',
        'native/rootless/rootless.cc',
        'native/run/run.cc',
      ],
    );
    // A browser, never as root, and without a shell.
    const browser = readFileSync(join(ROOT, 'cli/page/browser.ts'), 'utf8');
    assert.equal(browser.match(/\b(?:spawn|exec\w*)\(.*/g), [
      "spawn('xdg-open', [file], { stdio: 'ignore', detached: true });",
    ]);
    assert.match(browser, 'return uid !== 0 && ');
    const zones = readFileSync(join(ROOT, 'effects/firewall/firewalld.ts'), 'utf8');
    assert.equal(zones.match(/\bexecFile\(.*/g), ['execFile(BUSCTL, words, bounds, (error, said, complaint) => {']);
    assert.match(zones, "const BUSCTL = '/usr/bin/busctl';");
    assert.match(zones, 'const bounds = { env: {}');
    const asking = readFileSync(join(ROOT, 'effects/processes/program-output.ts'), 'utf8');
    assert.equal(asking.match(/\bspawn\(.*/g), [
      "spawn(file, [word], { env: {}, stdio: ['ignore', 'pipe', 'pipe'] });",
    ]);
  },
);

// --- With how little it works -------------------------------------------------------------------------------------

places('everything works with the capabilities of the unit alone', async () => {
  const few = new TestDaemon();
  few.launcher = launcherOfTheUnit();
  const before = inspectKernel();
  await few.start();
  const { permitted, effective, bounding, noNewPrivileges } = rightsOf(few.pid);
  const mask = maskOf(capabilitiesOfTheUnit());
  assert.equal([permitted, effective, bounding, noNewPrivileges], [mask, mask, mask, true]);

  // A process of another user, a namespace in a directory of another user, and everything that cleat does by itself.
  await few.network({
    name: 'web',
    subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }],
    dns_enabled: true,
  });
  const foreign = await sleeper(NOBODY);
  mkdirSync('/run/user-1', { mode: 0o700 });
  addNetns('linked');
  // As udev makes it: if only root may open it, one more capability is needed to make another one (MKNOD).
  execFileSync('mount', ['-t', 'tmpfs', 'tun', '/dev/net']);
  execFileSync('mknod', ['-m', '666', '/dev/net/tun', 'c', '10', '200']);
  symlinkSync('/run/netns/linked', '/run/user-1/netns');
  chownSync('/run/user-1', NOBODY, NOBODY);
  const web = await few.up('web', { networks: on('web'), port_mappings: [port(80, 80)], files: true });
  await few.up('pid', { netns: { mode: 'pid', pid: foreign.pid ?? 0 }, networks: on('web') });
  await few.up('slirp4netns', { uplink: { program: 'slirp4netns', options: ['port_handler=slirp4netns'] } });
  await few.done({ type: 'publish', id: 'slirp4netns', port_mappings: [port(8089, 80)] });
  await few.up('path', { netns: { mode: 'path', path: '/run/user-1/netns' }, networks: on('web') });
  await withAgents([web.netns.path, null], async (inWeb, host) => {
    await inWeb.serve('web', 'tcp', 80);
    assert.is(await host.dial('tcp', '127.0.0.1', 80), 'web 10.70.0.1');
    await host.serve('theirs', 'tcp', 8080);
    const taken = await few.event({ type: 'publish', id: 'web', port_mappings: [port(8080, 80)] });
    assert.is(taken.body.error?.owner, `pid ${host.pid} (node)`);
  });
  assert.is(addressOf(web, 'web'), '10.70.0.2');
  await few.done({ type: 'reload', id: 'web', full: true });
  assert.is((await few.get<{ clean: boolean }>('/v1/audit')).body.clean, true);
  await few.kill();
  await few.start();
  await few.down('web', 'pid', 'path', 'slirp4netns');
  execFileSync('umount', ['/dev/net']);
  await few.request('DELETE', '/v1/networks/web');
  await few.stop();
  foreign.kill('SIGKILL');
  execFileSync('ip', ['netns', 'del', 'linked']);
  await assertComesBackTo(before, () => inspectKernel());
});

places.run();

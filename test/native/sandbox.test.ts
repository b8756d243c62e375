/**
 * cleat-sandbox alone: mounts in their order, of which nothing is seen outside; a program that keeps what the caller has given it;
 * and a message, and no program, when something is refused.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { built, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const sandbox = suite('cleat-sandbox');
const program = built('cleat-sandbox');
// Shared, as systemd has every mount: what is mounted below would be seen by all.
const ground = '/mnt';
execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', ground]);
execFileSync('mount', ['--make-shared', ground]);
const at = (path: string) => join(ground, path);
for (const directory of ['own', 'run', 'host']) mkdirSync(at(directory));
writeFileSync(at('host/file'), 'of the host\n');
writeFileSync(at('own/file'), 'of ours\n');

const bind = (from: string, to: string) => ['--bind', from, to];
const cover = (to: string) => ['--tmpfs', to];
const mountsOf = (pid: number | 'self') => readFileSync(`/proc/${pid}/mountinfo`, 'utf8');
const run = (...words: string[]) => spawnSync(program, words, { encoding: 'utf8' });
const sh = (mounts: string[], script: string) => run(...mounts, '--', '/bin/sh', '-c', script);

sandbox('mounts are made in their order, and nothing of them is seen outside', () => {
  const before = mountsOf('self');
  const { status, stdout, stderr } = sh(
    [...bind(at('host'), at('own/host')), ...bind(at('own/file'), at('own/host/file')), ...bind(at('own'), at('run'))],
    `cat ${at('run/host/file')} ${at('host/file')}; grep -c ' ${ground}/run' /proc/self/mountinfo`,
  );
  assert.is(stdout, 'of ours\nof the host\n3\n', stderr);
  assert.is(status, 0);
  assert.is(mountsOf('self'), before);
  assert.is(readFileSync(at('host/file'), 'utf8'), 'of the host\n');
  assert.not.ok(existsSync(at('run/host')));
});

sandbox('what the host mounts is seen inside, and a later mount covers an earlier one', async () => {
  const child = spawn(
    program,
    [...cover(at('run')), ...bind(at('own'), at('run')), '--', '/bin/sh', '-c', 'echo up; read word'],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  await once(child.stdout, 'data');
  assert.ok(existsSync(`/proc/${child.pid}/root${at('run/file')}`));
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', at('host')]);
  await until('the mount is there too', () => mountsOf(child.pid ?? 0).includes(` ${at('host')} `));
  execFileSync('umount', [at('host')]);
  const ended = once(child, 'exit');
  child.stdin.end('word\n');
  await ended;
});

sandbox('a mount point that is not there is made, for a directory and for a file', () => {
  const { stdout, stderr } = sh(
    [...cover(at('own/a/b')), ...bind(at('own/file'), at('own/a/b/c/d')), ...bind(at('host'), at('own/e/f'))],
    `cat ${at('own/a/b/c/d')}; ls ${at('own/e/f')}; stat -c %a ${at('own/a/b/c')} ${at('own/a')}; echo > ${at('own/a/b/x')}; ls ${at('own/a/b')}`,
  );
  assert.is(stdout, 'of ours\nfile\n755\n755\nc\nx\n', stderr);
  // In a tmpfs of the sandbox they end with it.
  assert.not.ok(existsSync(at('own/a/b/c')));
  assert.ok(existsSync(at('own/e/f')));
});

sandbox('the program is our process, with our environment, descriptors and status, at the root', () => {
  const script = 'cat; echo $$ $WORD $PWD; umask; exit 7';
  const words = [...cover(at('run')), '--', '/bin/sh', '-c', script];
  const { stdout, status, pid } = spawnSync('/bin/sh', ['-c', 'umask 027; exec "$@"', 'sh', program, ...words], {
    encoding: 'utf8',
    input: 'in\n',
    env: { WORD: 'word' },
    cwd: at('own'),
  });
  assert.is(stdout, `in\n${pid} word /\n0027\n`);
  assert.is(status, 7);
});

sandbox('what is refused is said, and no program runs', () => {
  const rows: [words: string[], status: number, message: RegExp][] = [
    [['--bind', at('none'), at('run')], 125, /^cleat-sandbox: mounting \/mnt\/run: No such file or directory\n$/],
    [['--bind', at('own'), '/proc/none/x'], 125, /^cleat-sandbox: mounting \/proc\/none\/x: No such file/],
    [['--bind', at('own'), at('host/file')], 125, /^cleat-sandbox: mounting \/mnt\/host\/file: Not a directory/],
    [['--tmpfs', at('host/file/x')], 125, /^cleat-sandbox: mounting \/mnt\/host\/file\/x: Not a directory/],
    [['--bind', at('own')], 2, /^usage: /],
    [['--tmpfs'], 2, /^usage: /],
    [['--move', at('own'), at('run')], 2, /^usage: /],
  ];
  for (const [words, status, message] of rows) {
    const said = run(...words, '--', '/bin/echo', 'it runs');
    assert.equal([said.status, said.stdout], [status, ''], words.join(' '));
    assert.match(said.stderr, message);
  }
  assert.is(run('--').status, 2);
  assert.is(run().status, 2);
  assert.equal([run('--', '/none').status, run('--', at('own')).status], [127, 126]);
});

sandbox('without the right to mount it says so', () => {
  const { status, stderr } = spawnSync('setpriv', ['--bounding-set=-sys_admin', '--', program, '--', '/bin/true'], {
    encoding: 'utf8',
  });
  assert.is(status, 125);
  assert.match(stderr, /^cleat-sandbox: unshare\(CLONE_NEWNS\): Operation not permitted\n$/);
});

sandbox.run();

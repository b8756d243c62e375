// slow: 30 s, each write fails once, each time in a life of its own
// proving only: 3600
/**
 * The n-th call on a file of the daemon fails, in every verb of a container's life; the run directory is a small tmpfs,
 * which is also filled for real.
 * Limits: a read-only file system is simulated: a real one cannot become so while the daemon holds its lock open.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, rmSync } from 'node:fs';
import { suite } from 'uvu';
import { FaultLife } from '../harness/fault-life.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort } from '../harness/proof.ts';

requirePrivateNamespace();

const test = suite('a life on a bad disk');
const life = new FaultLife();

const { runDir } = life.daemon;
const ballast = `${runDir}/ballast`;

test.before(async () => {
  mkdirSync(runDir, { mode: 0o750 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=750', 'tmpfs', runDir]);
  await life.start();
});
test.after(() => life.stop());

test('one file operation may fail', async () => {
  await life.go(
    'file operations failed',
    [
      { kind: 'store', action: 'fail', errno: 'EIO' },
      { kind: 'store', action: 'fail', errno: 'ENOSPC' },
      { kind: 'store', action: 'fail', errno: 'EMFILE' },
    ],
    effort('files', 540, 1),
  );
});

test('one file operation may succeed and be reported as failed', async () => {
  await life.go(
    'file operations reported as failed',
    [{ kind: 'store', action: 'after', errno: 'EIO' }],
    effort('reported', 260, 1),
  );
});

test('the disk may be full or read-only from one call on', async () => {
  await life.go(
    'disks full or not to be written',
    [
      { kind: 'store', action: 'full' },
      { kind: 'store', action: 'fail', errno: 'EROFS', lasting: true },
    ],
    effort('full', 340, 1),
  );
});

test('the daemon may be killed on such a disk', async () => {
  await life.go(
    'daemons killed on a full disk',
    [{ kind: 'store', action: 'full', kill: true }],
    effort('killed', 180, 1),
  );
});

test('a real disk may be full until there is room again', async () => {
  const fill = () => {
    for (const size of [65536, 4096, 1]) {
      try {
        for (;;) appendFileSync(ballast, Buffer.alloc(size));
      } catch {
        // no larger files
      }
    }
  };
  await life.go(
    'disks filled',
    [{ kind: 'store', action: 'hold', meanwhile: fill, mend: () => rmSync(ballast, { force: true }) }],
    effort('filled', 180, 1),
  );
});

test.run();

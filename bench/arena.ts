/**
 * The place benchmarks run in: network, mount and process namespaces of their own, and one temporary folder.
 *
 * Guarantees: nothing outside is touched, and every process started inside ends with the run, however it ends (the
 * process namespace's first process takes the rest with it); after that, the outer process has what was found, and removes the
 * folder.
 * Limits: Linux, root, unshare(1) and mount(8) (Debian package util-linux).
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The environment variable that names the temporary folder; set only inside. */
const MARK = 'CLEAT_BENCH_FOLDER';

/** The file in it that says what was found. */
const FOUND = 'found.json';
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The tmpfs for the files that are in /run on a host (namespaces, sockets, leases); only inside. */
export const RUN = '/run/cleat-bench';

/** Returns the folder if this process is inside, null if it still has to go there. */
export function insideFolder(): string | null {
  return process.env[MARK] ?? null;
}

/** Says inside what has been found, as JSON. */
export function tellOutside(folder: string, found: object): void {
  writeFileSync(join(folder, FOUND), JSON.stringify(found));
}

/** Runs this program again, inside, with these arguments. Resolves to what was found once everything inside is gone. */
export async function runInside<Found>(args: string[]): Promise<Found> {
  if (process.getuid?.() !== 0) throw new Error('benchmarks need root: they make network namespaces and nft tables');
  const folder = mkdtempSync(join(tmpdir(), 'cleat-bench-'));
  const namespaces = ['--net', '--mount', '--propagation=private', '--pid', '--fork', '--kill-child', '--mount-proc'];
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      const child = spawn('unshare', [...namespaces, process.execPath, process.argv[1] ?? '', ...args], {
        stdio: 'inherit',
        env: { ...process.env, [MARK]: folder },
      });
      child.once('error', reject);
      child.once('exit', resolve);
      // The first process of a process namespace ignores a signal that it has no handler for, so this passes on KILL.
      const kill = (): void => void child.kill('SIGKILL');
      for (const signal of SIGNALS) process.once(signal, kill);
      child.once('exit', () => SIGNALS.forEach((signal) => process.off(signal, kill)));
    });
    if (code !== 0) throw new Error(`the run has ended with ${code ?? 'a signal'}`);
    return JSON.parse(readFileSync(join(folder, FOUND), 'utf8')) as Found;
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

/** Gives the new namespaces what programs expect: /sys of this network namespace, and a /run of their own. */
export function furnish(): void {
  execFileSync('mount', ['-t', 'sysfs', 'sysfs', '/sys']);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', '/run']);
}

/**
 * Runs an executable to read the output of its --help or --version.
 *
 * Guarantees: it runs by full path, without a shell, in an empty environment. The call ends in time and reads a bounded answer,
 * whatever the executable does. `identityOf` lets callers skip an executable that has not changed.
 * Limits: the exit code is ignored, because pasta fails after its help. The executable runs with the daemon's rights, as root
 * would start it, so callers pass only files at known places.
 */
import { spawn } from 'node:child_process';
import { statSync } from 'node:fs';

/** An executable takes 3 ms. */
const PATIENCE_MS = 3000;
/** The wait for the rest of the output after the process has ended. */
const REST_MS = 500;
const MOST_BYTES = 64 * 1024;

/** Returns device, inode, size and times of change; if they differ, so does the executable. Throws the errors of stat(2). */
export function identityOf(file: string): string {
  const { dev, ino, size, mtimeMs, ctimeMs } = statSync(file);
  return [dev, ino, size, mtimeMs, ctimeMs].join(' ');
}

/** Returns both outputs. Rejects with an Error whose message is the reason. */
export function outputOf(file: string, word: '--help' | '--version'): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, [word], { env: {}, stdio: ['ignore', 'pipe', 'pipe'] });
    const refused = (error: NodeJS.ErrnoException) => reject(new Error(error.code ?? error.message));
    // Without a process there may be no pipes either (no descriptor is left).
    if (child.pid === undefined) return void child.on('error', refused);
    let said = '';
    const timers: NodeJS.Timeout[] = [];
    const settle = (problem?: string) => {
      for (const timer of timers) clearTimeout(timer);
      child.stdout.destroy();
      child.stderr.destroy();
      child.kill('SIGKILL');
      if (problem === undefined) resolve(said);
      else reject(new Error(problem));
    };
    timers.push(setTimeout(() => settle(`no answer to ${word} after ${PATIENCE_MS} ms`), PATIENCE_MS));
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.length > MOST_BYTES) settle();
      });
    }
    child.on('error', (error: NodeJS.ErrnoException) => settle(error.code ?? error.message)); // of kill()
    child.on('close', () => settle());
    // A process that it started may hold the pipes for ever.
    child.on('exit', () => timers.push(setTimeout(settle, REST_MS)));
  });
}

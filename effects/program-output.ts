/**
 * Runs an executable to read what it says of itself: its --help or its --version.
 *
 * Guarantees: it is run by full path, without a shell and in an empty environment. Ends in time, and reads a bounded answer,
 * whatever the executable does. What is known of one that has not changed need not be asked again (`identityOf`).
 * Limits: how it ends says nothing: pasta fails after its help. It runs with the daemon's rights, as root starts it: callers
 * name files at known places only.
 */
import { spawn } from 'node:child_process';
import { statSync } from 'node:fs';

/** It takes 3 ms. */
const PATIENCE_MS = 3000;
/** For what is still in the pipes when it has ended. */
const REST_MS = 500;
const MOST_BYTES = 64 * 1024;

/** Device, inode, size and times of change: another one is another executable. Throws what stat(2) does. */
export function identityOf(file: string): string {
  const { dev, ino, size, mtimeMs, ctimeMs } = statSync(file);
  return [dev, ino, size, mtimeMs, ctimeMs].join(' ');
}

/** Both of its outputs. Rejects with an Error whose message is the reason. */
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
    child.on('error', (error: NodeJS.ErrnoException) => settle(error.code ?? error.message)); // of the signal
    child.on('close', () => settle());
    // Something that it started may hold the pipes for ever.
    child.on('exit', () => timers.push(setTimeout(settle, REST_MS)));
  });
}

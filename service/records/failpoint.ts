/**
 * Named places where a test ends the daemon as abruptly as a power failure (it sends SIGKILL to itself), or halts it (SIGSTOP).
 *
 * CLEAT_FAILPOINTS names a directory. Every point that the daemon passes is appended to `log` there, one name per line. While a
 * file `order` with `SIGNAL name#n` exists in the directory, the daemon sends itself the signal when it passes that point the
 * n-th time since the file was written, e.g. `SIGKILL ensureLink:durable#2`.
 *
 * Guarantees: without the variable a failpoint is an empty function.
 */
import { appendFileSync, readFileSync } from 'node:fs';

const directory = process.env['CLEAT_FAILPOINTS'];

export const failpoint: (name: string) => void = directory === undefined ? () => {} : watching(directory);

function watching(where: string): (name: string) => void {
  let order = '';
  let left = 0;
  return (name) => {
    appendFileSync(`${where}/log`, `${name}\n`);
    const now = readOrder(`${where}/order`);
    const [, signal = '', target, count] = /^(SIG\w+) (.*)#(\d+)$/.exec(now) ?? [];
    if (now !== order) {
      order = now;
      left = Number(count);
    }
    if (name !== target || --left !== 0) return;
    process.kill(process.pid, signal);
    if (signal === 'SIGKILL') throw new Error('outlived SIGKILL'); // the signal is delivered before kill(2) returns
  };
}

function readOrder(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

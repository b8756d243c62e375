/**
 * `cleat daemon --detach`: starts the daemon in the background, and returns when it serves.
 *
 * Guarantees: it has a session of its own, and no terminal. If it does not come up, its own words are the error, and nothing is
 * left running.
 * Limits: nothing starts it again if it ends; a supervisor does (docs/cli.md, Under systemd). What it says goes to daemon.log beside
 * the socket, as that of a daemon on demand: warnings, unless --log-level says more.
 */
import { spawn } from 'node:child_process';
import { closeSync, constants, fstatSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CleatError } from '../../client/error.ts';
import { Client } from '../client.ts';
import { Failure } from '../failure.ts';
import { withProgress } from '../progress.ts';

/** A machine under load takes seconds. */
const LIMIT_MS = 60_000;
const AGAIN_MS = 20;
/** Owner and mode are those that the daemon gives its run directory. */
const MODE = 0o755;

/** Starts `cleat` with these arguments and this environment besides ours; resolves with the daemon's pid when it answers at this socket. */
export async function startDetached(
  args: string[],
  socket: string,
  environment: Record<string, string>,
): Promise<number> {
  const path = join(dirname(socket), 'daemon.log');
  const { log, before } = openLog(path);
  const { execPath, execArgv, argv } = process;
  const child = spawn(execPath, [...execArgv, argv[1] ?? '', ...args], {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...process.env, ...environment },
  });
  closeSync(log);
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const serves = async (): Promise<number> => {
    const client = new Client(socket, 0);
    const limit = performance.now() + LIMIT_MS;
    while (performance.now() < limit) {
      const ended = await Promise.race([exit.then(() => true), sleep(AGAIN_MS, false)]);
      if (ended) throw notStarted(path, before);
      try {
        if ((await client.call('GET /v1/version')).pid === child.pid) return child.pid;
      } catch (error) {
        if (!(error instanceof CleatError)) throw error;
      }
    }
    child.kill('SIGKILL');
    throw notStarted(path, before);
  };
  const pid = await withProgress('starting the daemon', serves());
  child.unref();
  return pid;
}

function openLog(path: string): { log: number; before: number } {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: MODE });
    const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW } = constants;
    const log = openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
    return { log, before: fstatSync(log).size };
  } catch (error) {
    const { message, code = '' } = error as NodeJS.ErrnoException;
    const hint = 'Run this as root, or say with --run-dir where the daemon may write.';
    throw new Failure({ code: 'UNWRITABLE', message: `cannot write ${path}: ${message}`, errno: code, hint });
  }
}

/** Returns the reason that the daemon has given, which is the line that begins with "Error:" and one with a hint. */
function notStarted(path: string, before: number): Failure {
  const said = readFileSync(path).subarray(before).toString();
  const after = (word: string): string | undefined => new RegExp(`^${word}: (.*)$`, 'm').exec(said)?.[1];
  const message = after('Error') ?? 'the daemon did not come up';
  return new Failure({ code: 'NOT_STARTED', message, hint: after('Hint') ?? `It has written ${path}.` });
}

/**
 * A shell for the tests of the command: it starts a daemon with `cleat daemon`, and runs `cleat` against it as a user
 * does.
 *
 * Guarantees: everything lies below one directory on /run, a tmpfs of the test's own; the environment names that
 * directory, so no test can reach another daemon. A command that does not end within its limit is killed and fails the
 * test.
 * Limits: for tests started by the test runner, in network and mount namespaces of their own.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';

const PROGRAM = join(import.meta.dirname, '../../bundle/cleat.cjs');
const LIMIT_MS = 60_000;

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A command that may still be running. */
export interface Running {
  child: ChildProcess;
  /** Its output so far. */
  so(): Ended;
  ended: Promise<Ended>;
}

export class Shell {
  readonly directory = mkdtempSync('/run/cli-'); // the DNS server runs as another user, and passes through it: TestDaemon opens it
  readonly socket = `${this.directory}/run/cleat.sock`;
  /** Starts the same daemon without the command in between, which takes a tenth of a second to start. */
  readonly api = new TestDaemon(this.directory, this.socket);
  readonly environment: NodeJS.ProcessEnv;
  #daemon: ChildProcess | null = null;

  constructor() {
    this.environment = {
      PATH: process.env.PATH,
      CLEAT_RUN_DIR: `${this.directory}/run`,
      CLEAT_STATE_DIR: `${this.directory}/state`,
      CLEAT_NETNS_DIR: `${this.directory}/netns`,
      CLEAT_CONNECT_TIMEOUT: '0',
    };
  }

  async startDaemon(...args: string[]): Promise<void> {
    const log = openSync(`${this.directory}/log`, 'a');
    const child = spawn(process.execPath, [...process.execArgv, PROGRAM, 'daemon', ...args], {
      stdio: ['ignore', log, log],
      env: this.environment,
    });
    closeSync(log);
    this.#daemon = child;
    await until(`the daemon answers:\n${this.log()}`, async () => (await this.cleat('version')).code === 0, LIMIT_MS);
  }

  log(): string {
    return readFileSync(`${this.directory}/log`, 'utf8');
  }

  /** Resolves with its exit code, null after a signal. */
  async endDaemon(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#daemon;
    this.#daemon = null;
    if (child === null) return null;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
    return child.exitCode;
  }

  start(...args: string[]): Running {
    const child = spawn(process.execPath, [...process.execArgv, PROGRAM, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: this.environment,
    });
    const out = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => (out[name] += text));
    }
    const so = (): Ended => ({ code: child.exitCode, ...out });
    const ended = new Promise<Ended>((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new Error(`cleat ${args.join(' ')} did not end: ${JSON.stringify(out)}`));
      }, LIMIT_MS);
      // A background process of CMD keeps the pipes open: the command ends with its exit, not with its output.
      child.once('exit', () => {
        clearTimeout(timer);
        setTimeout(() => resolve(so()), 20);
      });
    });
    return { child, so, ended };
  }

  cleat(...args: string[]): Promise<Ended> {
    return this.start(...args).ended;
  }

  /** Runs a command that must succeed, and returns its output without the last newline. */
  async ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.cleat(...args);
    if (code !== 0) throw new Error(`cleat ${args.join(' ')} ended with ${code}:\n${stderr}${stdout}`);
    return stdout.trimEnd();
  }

  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.ok(...args, '--format', 'json')) as T;
  }
}

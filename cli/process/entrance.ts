/**
 * Starts a program that enters a container's network: `cleat-run` (native/run/), which waits until it is told where that is, and
 * then executes the program in its own process.
 *
 * Guarantees: nothing is executed if this client ends before it has told. The process id is the program's from the start, so a
 * container can be tied to it before it has a network. Signals that arrive here are passed on to the program.
 * Limits: an ordinary user's namespaces are mounted where only cleat-rootless gets (native/rootless/), which then leads there.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants as os } from 'node:os';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { EXIT, Failure } from '../failure.ts';
import { built } from '../places.ts';

/** The namespace of the networks of an ordinary user's daemon. */
const ROOTLESS_NETNS = '/run/netns/rootless';

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
type Forwarded = (typeof FORWARDED)[number];

/** The namespace to enter, null for the host's, and the files that the program sees. */
export type Place = Pick<ContainerView, 'files'> & { netns: { path: string | null } };

export class Entrance {
  readonly #child: ChildProcess;
  /** What cleat-run says: a zero byte when it goes, and then what it could not do; nothing if it has ended before. */
  readonly #said: Promise<string>;
  readonly #exit: Promise<number>;

  /** `output`: 'inherit', or where it prints to when it goes on without this client, in a session of its own, without a terminal. */
  constructor(argv: string[], output: 'inherit' | 'ignore' | Socket) {
    const detached = output !== 'inherit';
    const rootless = process.getuid?.() === 0 ? [] : [built('cleat-rootless'), '--net', ROOTLESS_NETNS, '--'];
    const [file = '', ...args] = [...rootless, built('cleat-run'), ...argv];
    const input = detached ? 'ignore' : 'inherit';
    this.#child = spawn(file, args, { detached, stdio: [input, output, output, 'pipe'] });
    this.#exit = new Promise((resolve, reject) => {
      this.#child.once('error', ({ message }) => {
        const hint = 'Build it: npm run build.';
        reject(new Failure({ code: 'USAGE', message: `cannot start ${file}: ${message}`, hint }, EXIT.runFailed));
      });
      this.#child.once('exit', (status, signal) => resolve(signal === null ? (status ?? 0) : 128 + os.signals[signal]));
    });
    this.#exit.catch(() => {}); // it is awaited later
    this.#said = new Promise((resolve) => {
      let text = '';
      this.#orders.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      this.#orders.once('error', () => {}); // it has ended; its exit code says more
      this.#orders.once('close', () => resolve(text));
    });
    if (detached) return;
    for (const signal of FORWARDED) {
      process.on(signal, () => {
        if (!(fromKeyboard(signal) && inForeground())) this.#child.kill(signal);
      });
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get #orders(): Socket {
    return this.#child.stdio[3] as Socket;
  }

  /** Lets the program begin, there. Rejects if it cannot be started; the failure has the exit code that shells have. */
  async begin({ netns, files }: Place): Promise<void> {
    const words = netns.path === null ? ['', '', ''] : [netns.path, files?.resolv_conf ?? '', files?.hosts ?? ''];
    this.#orders.write(words.map((word) => `${word}\0`).join(''));
    const said = await this.#said;
    if (said === '\0') return;
    const message = said === '' ? 'it ended before CMD began' : `cannot start ${said.slice(1)}`;
    throw new Failure({ code: 'USAGE', message }, (await this.#exit) || EXIT.runFailed);
  }

  /** Lets the program go on without us. */
  leave(): void {
    this.#child.unref();
  }

  /** Ends what has not begun. */
  cancel(): void {
    this.#orders.destroy();
  }

  /** Resolves with the exit code of the program, 128+n after signal n. */
  ended(): Promise<number> {
    return this.#exit;
  }
}

/**
 * True for signals that a terminal sends to the whole foreground process group. The program has such a signal already and must not
 * get it twice.
 */
function fromKeyboard(signal: Forwarded): boolean {
  return signal === 'SIGINT' || signal === 'SIGQUIT';
}

/** Returns true if our process group is the terminal's (fields 5 and 8 of proc_pid_stat(5)). */
function inForeground(): boolean {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 1).split(' ');
  return group === foreground;
}

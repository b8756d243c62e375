/**
 * `cleat run`: runs a process with a network of its own, for as long as the process lives.
 *
 * Guarantees: the container is bound to this client's pid, so the daemon tears it down even if this client is killed, or if the
 * daemon was not running when CMD ended. The exit code is CMD's, or 128+n for a signal; 125 if cleat failed, 126 and 127 if CMD
 * could not be started.
 * Limits: the network only. CMD sees the same files, processes and mounts as before; /sys shows the interfaces of the namespace
 * it was mounted in, not CMD's. Background processes of CMD lose their network when CMD ends.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { accessSync, constants, readFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { ContainerView } from '../state/answers/container/container.ts';
import type { PortHandler } from '../state/uplink.ts';
import type { Client } from './client.ts';
import { EXIT, explain, Failure } from './failure.ts';
import { parseWiring, type WiringOptions } from './options.ts';
import { withProgress } from './progress.ts';
import { complain, warn } from './terminal.ts';
import { addressesOf, portText } from './text.ts';

const ROOTLESS = fileURLToPath(new URL('../../build/Release/cleat-rootless', import.meta.url));

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
type Forwarded = (typeof FORWARDED)[number];

export interface RunOptions extends WiringOptions {
  name?: string;
  portHandler?: PortHandler;
}

/** Runs CMD; resolves with the exit code. */
export async function run(client: Client, options: RunOptions, argv: string[]): Promise<number> {
  const enter = enteringCommand();
  const id = options.name ?? `run-${randomBytes(4).toString('hex')}`;
  const wiring = parseWiring(options);

  // From here on a signal goes to CMD. A signal before CMD starts ends the run, and the container is torn down.
  const early = new AbortController();
  let target: ((signal: Forwarded) => void) | null = null;
  for (const signal of FORWARDED) {
    process.on(signal, () => (target === null ? early.abort(signal) : target(signal)));
  }

  const handler = options.portHandler === undefined ? {} : { port_handler: options.portHandler };
  warn(await client.event({ type: 'create', id, ...wiring, ...handler, bound_to: process.pid }));
  let code: number;
  try {
    const container = (await client.event({ type: 'configure', id })) as ContainerView;
    if (process.stderr.isTTY) {
      complain([[id, ...addressesOf(container), ...container.ports.map(portText)].join('  ')]);
    }
    if (early.signal.aborted) {
      code = 128 + os.signals[early.signal.reason as Forwarded];
    } else {
      const path = container.netns.path;
      code = await follow([...(path === null ? [] : enter(path)), ...argv], (forward) => (target = forward));
    }
  } catch (error) {
    await takeDown(client, id);
    throw error;
  }
  await takeDown(client, id);
  return code;
}

/** Starts the command and waits for it. Calls `onStart` with a function that forwards a signal to the command. */
function follow(argv: string[], onStart: (forward: (signal: Forwarded) => void) => void): Promise<number> {
  const [file = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    // nsenter executes CMD in its own process, so its pid is CMD's. For a CMD that cannot be started it exits with 126 and 127
    // too.
    const child = spawn(file, args, { stdio: 'inherit' });
    child.once('error', (error: NodeJS.ErrnoException) => {
      const exitCode = error.code === 'ENOENT' ? EXIT.notFound : EXIT.notInvocable;
      reject(new Failure({ code: 'USAGE', message: `cannot start ${file}: ${error.message}` }, exitCode));
    });
    child.once('exit', (status, signal) => resolve(signal === null ? (status ?? 0) : 128 + os.signals[signal]));
    onStart((signal) => {
      if (!(fromKeyboard(signal) && inForeground())) child.kill(signal);
    });
  });
}

/**
 * True for signals that a terminal sends to the whole foreground process group. CMD has such a signal already and must not get
 * it twice.
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

/** Tears the container down. A failed teardown is reported and does not change CMD's exit code; the daemon finishes it. */
async function takeDown(client: Client, id: string): Promise<void> {
  try {
    const answer = await client.event({ type: 'teardown', id });
    if ('owner_gone' in answer && answer.owner_gone) return; // others use its network: it is removed after the last of them
    await withProgress(`tearing down ${id}`, client.gone(id));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (error.error.code === 'NO_SUCH_CONTAINER') return;
    complain([...explain(error.error), `The daemon takes ${id} down by itself, as soon as it can.`]);
  }
}

/**
 * Returns the beginning of a command that enters a namespace. An ordinary user's are mounted where only cleat-rootless gets
 * (native/rootless/).
 */
function enteringCommand(): (path: string) => string[] {
  if (process.getuid?.() !== 0) return (path) => [ROOTLESS, '--net', path, '--'];
  const nsenter = findNsenter();
  return (path) => [nsenter, `--net=${path}`, '--'];
}

function findNsenter(): string {
  for (const directory of ['/usr/bin', '/usr/sbin', '/bin']) {
    try {
      accessSync(`${directory}/nsenter`, constants.X_OK);
      return `${directory}/nsenter`;
    } catch {
      // the next one
    }
  }
  const hint = 'It is part of util-linux: install that.';
  throw new Failure(
    { code: 'USAGE', message: 'nsenter is neither in /usr/bin nor /usr/sbin nor /bin', hint },
    EXIT.runFailed,
  );
}

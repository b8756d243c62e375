/**
 * A descriptor whose other end another process holds, as a container engine and conmon have one: for tests of `exit_fd`.
 *
 * Guarantees: each end is held by one process alone. Neither reads nor writes, unless it is told to.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { ended } from './inside.ts';

export type EndKind = 'pipe' | 'socket' | 'pidfd';

/** The child keeps the other end and nothing else; the parent keeps the descriptor, and writes when it reads a line. */
const SCRIPT = `
import json, os, signal, socket, sys
kind = sys.argv[1]
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the child
if kind == 'socket':
    pair = socket.socketpair()
    here, there = [end.detach() for end in pair]
else:
    here, there = os.pipe()
child = os.fork()
if child == 0:
    os.write(there, b'nobody reads this') if kind != 'pidfd' else None
    for fd in (0, 1, 2, here):
        os.close(fd)
    while True:
        signal.pause()
os.close(there)
if kind == 'pidfd':
    os.close(here)
    here = os.pidfd_open(child)
print(json.dumps({'pid': os.getpid(), 'fd': here, 'other': child}), flush=True)
sys.stdin.read()
os._exit(0)
`;

export class ExitEnds {
  /** The process that has the descriptor, and its number there. */
  readonly pid: number;
  readonly fd: number;
  /** The process at the other end. */
  readonly other: number;
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess, { pid, fd, other }: { pid: number; fd: number; other: number }) {
    this.#holder = holder;
    this.pid = pid;
    this.fd = fd;
    this.other = other;
  }

  static async make(kind: EndKind): Promise<ExitEnds> {
    const holder = spawn('python3', ['-c', SCRIPT, kind], { stdio: ['pipe', 'pipe', 'inherit'] });
    const [line] = (await once(createInterface(holder.stdout), 'line')) as [string];
    const ends = new ExitEnds(holder, JSON.parse(line) as { pid: number; fd: number; other: number });
    all.add(ends);
    return ends;
  }

  get exit_fd(): { pid: number; fd: number } {
    return { pid: this.pid, fd: this.fd };
  }

  /** Ends the process that has the descriptor, as an engine ends after it has started a container. */
  async leave(): Promise<void> {
    if (this.#holder.exitCode !== null) return;
    this.#holder.stdin?.end();
    await once(this.#holder, 'exit');
  }

  /** Closes the other end. */
  async close(): Promise<void> {
    try {
      process.kill(this.other, 'SIGKILL');
    } catch {
      return; // it has ended
    }
    await ended(this.other);
  }
}

const all = new Set<ExitEnds>();

/** Ends all processes of these, whatever a failed test has left. */
export async function endExitEnds(): Promise<void> {
  for (const ends of all) {
    await ends.close();
    await ends.leave();
  }
  all.clear();
}

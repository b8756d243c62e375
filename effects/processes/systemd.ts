/**
 * Asks a service manager (systemd) for a scope: a cgroup of its own for processes that run already.
 *
 * Guarantees: one call, of the manager's method StartTransientUnit, over the socket on which it listens itself: no bus has to run, and
 * no program is started. The processes are in the scope when the answer is `done`. There is an answer in time, whatever the manager
 * does. A manager of another pid namespace is not asked: our pids are those of other processes there.
 * Limits: managers of version 246 or later. The call takes pids, so a process that ends meanwhile, and whose pid another one gets, is
 * not noticed.
 * Sources: org.freedesktop.systemd1(5), systemd.scope(5); docs/decisions/0063.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { peerCredentials } from '../../native/index.ts';
import { callOf, ERROR, messageIn, SIGNAL, Writer, type Message } from './dbus-message.ts';

export interface ScopeRequest {
  /** The manager's own socket. */
  socket: string;
  /** NAME.scope */
  name: string;
  description: string;
  pids: readonly number[];
  /** The deadline for the whole exchange. */
  ms: number;
}

export type ScopeAnswer =
  | { outcome: 'done' }
  /** Nobody listens there. */
  | { outcome: 'absent' }
  /** There is a scope of this name. */
  | { outcome: 'exists' }
  | { outcome: 'refused'; why: string }
  | { outcome: 'silent'; why: string };

/** Far more than the manager says, with the notifications that it sends to everybody. */
const MOST_BYTES = 1024 * 1024;

export function startScope(request: ScopeRequest): Promise<ScopeAnswer> {
  return new Promise((resolve) => {
    const socket = connect({ path: request.socket });
    const settle = (answer: ScopeAnswer) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const late = () => settle({ outcome: 'silent', why: `systemd has not answered within ${request.ms} ms` });
    const timer = setTimeout(late, request.ms);
    socket.on('connect', () => {
      const why = strangeness(socket);
      if (why !== null) return settle({ outcome: 'refused', why });
      // Without a number of ours: the manager knows our user from the kernel, by its number there.
      socket.write('\0AUTH EXTERNAL\r\nDATA\r\n');
    });
    const judge = judgeOf(request, (bytes) => socket.write(bytes));
    socket.on('data', (part) => {
      try {
        const answer = judge(part);
        if (answer !== null) settle(answer);
      } catch {
        settle({ outcome: 'refused', why: 'systemd answers with something else than a message' });
      }
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const absent = ['ENOENT', 'ENOTDIR', 'ECONNREFUSED'].includes(error.code ?? '');
      settle(absent ? { outcome: 'absent' } : { outcome: 'refused', why: error.message });
    });
    socket.on('close', () => settle({ outcome: 'refused', why: 'systemd has closed the connection' }));
  });
}

/** Returns why the pids that we know are not those that the other side knows; null if they are. */
function strangeness(socket: Socket): string | null {
  // Node has no public way to the descriptor.
  const { pid } = peerCredentials((socket as unknown as { _handle: { fd: number } })._handle.fd);
  // A process of a pid namespace below ours has a pid in each (proc_pid_status(5)); one that ours does not show has 0.
  const pids = (of: number | 'self') =>
    /^NSpid:\s+(.*)$/m.exec(readFileSync(`/proc/${of}/status`, 'utf8'))?.[1]?.split(/\s+/).length;
  try {
    if (pid > 0 && pids(pid) === 1 && pids('self') === 1) return null;
  } catch {
    // it has ended, or /proc does not show it
  }
  return 'systemd is in another pid namespace';
}

/** Returns what takes the manager's bytes as they come, and returns the answer once they have it. */
function judgeOf(request: ScopeRequest, send: (bytes: Buffer) => void): (part: Buffer) => ScopeAnswer | null {
  let heard = Buffer.alloc(0);
  let accepted = false;
  return (part) => {
    heard = Buffer.concat([heard, part]);
    if (heard.length > MOST_BYTES) return { outcome: 'silent', why: 'systemd answers without end' };
    for (let line = accepted ? null : lineIn(heard); line !== null; line = accepted ? null : lineIn(heard)) {
      heard = heard.subarray(line.length + 2);
      if (line.startsWith('REJECTED')) return { outcome: 'refused', why: 'systemd does not accept this user' };
      accepted = line.startsWith('OK');
      if (accepted) send(Buffer.concat([Buffer.from('BEGIN\r\n'), callFor(request)]));
    }
    for (let message = accepted ? messageIn(heard) : null; message !== null; message = messageIn(heard)) {
      heard = heard.subarray(message.size);
      const answer = answerIn(message, request.name);
      if (answer !== null) return answer;
    }
    return null;
  };
}

function lineIn(bytes: Buffer): string | null {
  const end = bytes.indexOf('\r\n');
  return end < 0 ? null : bytes.toString('latin1', 0, end);
}

/** Returns what a message says about our scope: an error, or the end of its job, which comes after the reply to the call. */
function answerIn({ type, member, error, strings }: Message, name: string): ScopeAnswer | null {
  if (type === ERROR) {
    const exists = error === 'org.freedesktop.systemd1.UnitExists';
    return exists ? { outcome: 'exists' } : { outcome: 'refused', why: strings[0] ?? error };
  }
  const [, unit, result] = strings; // after the path of the job
  if (type !== SIGNAL || member !== 'JobRemoved' || unit !== name) return null;
  return result === 'done' ? { outcome: 'done' } : { outcome: 'refused', why: `the job of the scope: ${result}` };
}

/** The scope ends with its last process. The manager forgets it then, even if it has failed. */
function callFor({ name, description, pids }: ScopeRequest): Buffer {
  const body = new Writer();
  const property = (key: string, signature: string) => body.align(8).text(key).signature(signature);
  body.text(name).text('fail');
  body.array(8, () => {
    property('Description', 's').text(description);
    property('CollectMode', 's').text('inactive-or-failed');
    property('PIDs', 'au').array(4, () => pids.forEach((pid) => body.number(pid)));
  });
  body.array(8, () => {}); // no other units
  return callOf({
    path: '/org/freedesktop/systemd1',
    interface: 'org.freedesktop.systemd1.Manager',
    member: 'StartTransientUnit',
    signature: 'ssa(sv)a(sa(sv))',
    body,
  });
}

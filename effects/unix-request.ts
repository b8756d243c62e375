/**
 * Sends one request to a program that listens on a Unix socket in a directory, and returns its answer.
 *
 * Guarantees: an answer is complete, in time, and of limited size. Otherwise the result says what failed, and how far the
 * request had come. Every connection is closed. The socket is reached through its open directory, which is no link, however
 * long the path is (unix(7): sun_path holds 107 bytes).
 * Limits: the listener is trusted as far as the directory is.
 *
 * For programs that do not speak HTTP. Node's own http.request, which takes a `socketPath`, is used for those that do.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { connect } from 'node:net';

export interface UnixRequest {
  directory: string;
  /** The name of the socket in the directory. */
  socket: string;
  text: string;
  /** The end of the request and of the answer: a newline, or the end of the stream of that side. */
  ends: 'line' | 'stream';
  /** The deadline for the whole exchange. */
  ms: number;
  /** The size of the largest answer, in bytes. */
  most: number;
}

/** The step that failed. */
export type Act = 'connect' | 'write' | 'shutdown' | 'read';

/**
 * `code` is the errno's name: ETIMEDOUT after the deadline, EMSGSIZE if the answer is too large, ECONNRESET if it is
 * incomplete.
 */
export type Answered = { text: string } | { failed: Act; code: string; message: string };

export async function requestOnce(request: UnixRequest): Promise<Answered> {
  let fd: number;
  try {
    fd = openSync(request.directory, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    return failedBy('connect', error as NodeJS.ErrnoException);
  }
  try {
    return await exchange(`/proc/self/fd/${fd}/${request.socket}`, request);
  } finally {
    closeSync(fd);
  }
}

function exchange(path: string, { text, ends, ms, most }: UnixRequest): Promise<Answered> {
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    let size = 0;
    let connected = false;
    const socket = connect({ path });
    const settle = (answer: Answered) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const fail = (code: string, message: string) => settle({ failed: connected ? 'read' : 'connect', code, message });
    const whole = () => settle({ text: Buffer.concat(parts).toString() });
    const timer = setTimeout(() => fail('ETIMEDOUT', `no answer after ${ms} ms`), ms);
    socket.on('connect', () => {
      connected = true;
      if (ends === 'line') socket.write(text);
      else socket.end(text);
    });
    socket.on('data', (part) => {
      parts.push(part);
      size += part.length;
      if (ends === 'line' && part.at(-1) === 10) whole();
      else if (size > most) fail('EMSGSIZE', 'too much');
    });
    socket.on('end', () => {
      if (ends === 'stream') whole();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const { syscall } = error;
      const act = !connected ? 'connect' : syscall === 'write' || syscall === 'shutdown' ? syscall : 'read';
      // The server closed its socket while the connection waited to be accepted: nobody has read anything.
      const refused = act === 'connect' && error.code === 'ECONNRESET';
      settle(failedBy(act, refused ? { ...error, code: 'ECONNREFUSED', message: error.message } : error));
    });
    socket.on('close', () => fail('ECONNRESET', 'the connection was closed before the end of the answer'));
  });
}

const failedBy = (failed: Act, { code = 'EIO', message }: NodeJS.ErrnoException): Answered => ({
  failed,
  code,
  message,
});

/**
 * Talking to the forwarder of one outside (native/forwarder), which is known by its directory: a request, an answer.
 *
 * Guarantees: an answer is the whole of one, or it is a fault; there is one deadline for all of it. Requests to one
 * forwarder go one after another. The socket is reached through the open directory, however long its path
 * (unix(7): 107 bytes).
 * Limits: who listens there is trusted as far as the directory is: it is 0700 and ours.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { connect } from 'node:net';
import { EffectError } from './effect.ts';

export const SOCKET = 'socket';
/** Above the largest list: 130,000 ports of 400 bytes. */
const MAX_ANSWER = 64 << 20;

/** What the forwarder says when it refuses (native/forwarder/request.h). */
export interface Refusal {
  message: string;
  errno?: string;
  syscall?: string;
  owner?: string;
  protocol?: string;
  host_ip?: string;
  host_port?: number;
}

export type Answer = { ok: true; [member: string]: unknown } | { ok: false; error: Refusal };

/** `absent`: nobody listens. `gone`: it ended before it answered; what was asked may have been done or not. */
export type Asked = Answer | 'absent' | 'gone';

export const failed = (message: string) => new EffectError({ code: 'FORWARDER_FAILED', message });

const tails = new Map<string, Promise<unknown>>();

/** Works for one directory are done one after another, in the order in which they come. */
export async function inTurn<T>(directory: string, work: () => Promise<T>): Promise<T> {
  const before = tails.get(directory) ?? Promise.resolve();
  const mine = before.then(work, work);
  const tail = mine.catch(() => {});
  tails.set(directory, tail);
  try {
    return await mine;
  } finally {
    if (tails.get(directory) === tail) tails.delete(directory);
  }
}

export async function ask(directory: string, request: object, ms: number): Promise<Asked> {
  let fd: number;
  try {
    fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 'absent';
    throw error;
  }
  try {
    const line = await exchange(`/proc/self/fd/${fd}/${SOCKET}`, `${JSON.stringify(request)}\n`, ms);
    return typeof line === 'string' ? line : parse(line.text);
  } finally {
    closeSync(fd);
  }
}

function exchange(path: string, text: string, ms: number): Promise<'absent' | 'gone' | { text: string }> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let connected = false;
    const socket = connect({ path });
    const timer = setTimeout(() => end(() => reject(failed(`the forwarder has not answered within ${ms} ms`))), ms);
    const end = (settle: () => void) => {
      clearTimeout(timer);
      socket.destroy();
      settle();
    };
    socket.on('connect', () => {
      connected = true;
      socket.write(text);
    });
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      size += chunk.length;
      if (chunk.at(-1) === 10) end(() => resolve({ text: Buffer.concat(chunks).toString() }));
      else if (size > MAX_ANSWER) end(() => reject(failed('the answer of the forwarder has no end')));
    });
    socket.on('close', () => end(() => resolve('gone')));
    socket.on('error', (error) => {
      const code = codeOf(error);
      if (!connected && (code === 'ENOENT' || code === 'ECONNREFUSED')) return end(() => resolve('absent'));
      if (!connected && code === 'EAGAIN') return end(() => resolve('gone')); // its backlog is full (unix(7))
      if (code === 'EPIPE' || code === 'ECONNRESET') return; // an answer may be there already; 'close' follows
      end(() => reject(failed(`the forwarder cannot be reached: ${error.message}`)));
    });
  });
}

function parse(text: string): Answer {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw garbage(text);
  }
  if (typeof value !== 'object' || value === null || !('ok' in value)) throw garbage(text);
  if (value.ok === true) return value as Answer;
  const { error } = value as { error?: unknown };
  if (value.ok !== false || !isRefusal(error)) throw garbage(text);
  return { ok: false, error };
}

function isRefusal(error: unknown): error is Refusal {
  if (typeof error !== 'object' || error === null || !('message' in error)) return false;
  return Object.entries(error).every(([name, one]) => typeof one === (name === 'host_port' ? 'number' : 'string'));
}

export const garbage = (text: string) => failed(`the forwarder has answered ${JSON.stringify(text.slice(0, 100))}`);

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

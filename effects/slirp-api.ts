/**
 * The API socket of slirp4netns: one request, one answer.
 *
 * Guarantees: an answer is whole (read to its end, D12), in time, and bounded; every connection is closed (D11). The path
 * of the directory may be of any length (sun_path holds 107 bytes; the kernel is given one by /proc/self/fd).
 * Limits: slirp4netns 1.2 serves one connection at a time and nothing else meanwhile: a connection that sends nothing
 * holds the whole network up, so requests go out at once and one after the other.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { createConnection } from 'node:net';
import { EffectError } from './effect.ts';
import { PROGRAM } from './uplink-keeper.ts';

/** Of the program; a list of all ports takes 60 ms. */
const PATIENCE_MS = 3000;
/** slirp4netns refuses 4096 bytes and more (api.c). */
const MOST_REQUEST = 4095;
/** 65,535 ports of two protocols, 110 bytes each. */
const MOST_REPLY = 16 * 1024 * 1024;
const SOCKET = 'api';

/** A port as list_hostfwd shows it. */
export interface HostForward {
  id: number;
  proto: string;
  host_addr: string;
  host_port: number;
  guest_addr: string;
  guest_port: number;
}

/** Nobody listens: there is no such program, and so nothing that it forwards. */
export class SlirpGone extends EffectError {}

export async function listForwards(directory: string): Promise<HostForward[]> {
  const reply = await ask(directory, { execute: 'list_hostfwd' });
  const { entries } = reply as { entries?: unknown };
  if (!Array.isArray(entries) || !entries.every(isForward)) throw garbled(directory, JSON.stringify(reply));
  return entries;
}

/** Whoever answers speaks with the container all the time: what it says is not taken for what it should be. */
function isForward(entry: unknown): entry is HostForward {
  if (typeof entry !== 'object' || entry === null) return false;
  const { id, proto, host_addr, host_port, guest_addr, guest_port } = entry as Record<keyof HostForward, unknown>;
  return (
    [id, host_port, guest_port].every((one) => Number.isSafeInteger(one)) &&
    [proto, host_addr, guest_addr].every((one) => typeof one === 'string')
  );
}

export async function addForward(directory: string, forward: Omit<HostForward, 'id'>): Promise<void> {
  await ask(directory, { execute: 'add_hostfwd', arguments: forward });
}

/** False when there was none of this id. */
export async function removeForward(directory: string, id: number): Promise<boolean> {
  try {
    await ask(directory, { execute: 'remove_hostfwd', arguments: { id } });
    return true;
  } catch (error) {
    if (error instanceof EffectError && error.message.endsWith('remove_hostfwd: bad arguments.id')) return false;
    throw error;
  }
}

/** The answer, without an `error` in it. */
async function ask(directory: string, request: object): Promise<object> {
  const text = `${JSON.stringify(request)}\n`;
  if (Buffer.byteLength(text) > MOST_REQUEST) throw fault(`cannot marshal JSON for slirp4netns: too large`, directory);
  const reply = await exchange(directory, text);
  let parsed: unknown;
  try {
    parsed = JSON.parse(reply);
  } catch {
    throw garbled(directory, reply);
  }
  if (typeof parsed !== 'object' || parsed === null) throw garbled(directory, reply);
  if ('error' in parsed) {
    const { error } = parsed as { error: { desc?: unknown } | null };
    const desc = typeof error?.desc === 'string' ? error.desc : JSON.stringify(error);
    throw fault(`error from slirp4netns while setting up port redirection: ${desc}`, directory);
  }
  return parsed;
}

async function exchange(directory: string, text: string): Promise<string> {
  const path = `${directory}/${PROGRAM}/${SOCKET}`;
  const fd = open(`${directory}/${PROGRAM}`);
  try {
    return await new Promise((resolve, reject) => {
      const socket = createConnection(`/proc/self/fd/${fd}/${SOCKET}`);
      const parts: Buffer[] = [];
      let size = 0;
      let connected = false;
      const settle = (work: () => void) => {
        clearTimeout(timer);
        socket.destroy();
        work();
      };
      const fail = (error: EffectError) => settle(() => reject(error));
      const timer = setTimeout(() => {
        const what = connected ? 'cannot read from control socket' : 'cannot open connection to';
        fail(fault(`${what} ${path}: no answer after ${PATIENCE_MS} ms`, path, 'ETIMEDOUT'));
      }, PATIENCE_MS);
      socket.on('connect', () => {
        connected = true;
        socket.end(text);
      });
      socket.on('data', (part: Buffer) => {
        parts.push(part);
        size += part.length;
        if (size > MOST_REPLY) fail(fault(`cannot read from control socket ${path}: too much`, path));
      });
      socket.on('end', () => settle(() => resolve(Buffer.concat(parts).toString('utf8'))));
      socket.on('error', (error: NodeJS.ErrnoException) => {
        const { code = 'EIO', syscall } = error;
        if (!connected && ['ENOENT', 'ECONNREFUSED'].includes(code)) return fail(gone(path, code));
        const what = !connected
          ? 'cannot open connection to'
          : syscall === 'write'
            ? 'cannot write to control socket'
            : syscall === 'shutdown'
              ? 'cannot shutdown the socket'
              : 'cannot read from control socket';
        fail(fault(`${what} ${path}: ${code}`, path, code));
      });
    });
  } finally {
    closeSync(fd);
  }
}

function open(directory: string): number {
  try {
    return openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    const { code = 'EIO' } = error as NodeJS.ErrnoException;
    const path = `${directory}/${SOCKET}`;
    throw code === 'ENOENT' ? gone(path, code) : fault(`cannot open connection to ${path}: ${code}`, path, code);
  }
}

function fault(message: string, object: string, errno?: string): EffectError {
  return new EffectError({ code: 'UPLINK_FAILED', message, object, ...(errno === undefined ? {} : { errno }) });
}

function gone(path: string, errno: string): SlirpGone {
  const message = `cannot open connection to ${path}: ${errno}`;
  return new SlirpGone({ code: 'UPLINK_FAILED', message, object: path, errno });
}

function garbled(directory: string, reply: string): EffectError {
  const shown = JSON.stringify(reply.slice(0, 200));
  return fault(`error parsing error status from slirp4netns: ${shown}`, `${directory}/${SOCKET}`);
}

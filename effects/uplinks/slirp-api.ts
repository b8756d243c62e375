/**
 * The API socket of slirp4netns: one request, one answer.
 *
 * Guarantees: an answer is complete (read to its end, D12), in time, and bounded; every connection is closed (D11). The path of
 * the directory may be of any length (sun_path holds 107 bytes, so the socket is reached through /proc/self/fd).
 * Limits: slirp4netns 1.2 serves one connection at a time and nothing else meanwhile: a connection that sends nothing blocks
 * the whole network, so requests are sent at once and one after the other.
 */
import { FaultError } from '../../state/faults.ts';
import { requestOnce, type Act } from '../unix-request.ts';
import { PROGRAM } from './uplink-keeper.ts';

/** The time that the program has to answer; a list of all ports takes 60 ms. */
const PATIENCE_MS = 3000;
/** slirp4netns refuses 4096 bytes and more (api.c). */
const MOST_REQUEST = 4095;
/** Enough for 65,535 ports of two protocols, 110 bytes each. */
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

/** No process listens: the program is gone, and its forwards with it. */
export class SlirpGone extends FaultError {}

export async function listForwards(directory: string): Promise<HostForward[]> {
  const reply = await ask(directory, { execute: 'list_hostfwd' });
  const { entries } = reply as { entries?: unknown };
  if (!Array.isArray(entries) || !entries.every(isForward)) throw garbled(directory, JSON.stringify(reply));
  return entries;
}

/** Checks the shape of an entry: the program parses the container's packets, so its answers are not trusted. */
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

/** Returns false if there is no forward with this id. */
export async function removeForward(directory: string, id: number): Promise<boolean> {
  try {
    await ask(directory, { execute: 'remove_hostfwd', arguments: { id } });
    return true;
  } catch (error) {
    if (error instanceof FaultError && error.message.endsWith('remove_hostfwd: bad arguments.id')) return false;
    throw error;
  }
}

/** Returns the answer. Throws if it has an `error`. */
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

const WHAT: Record<Act, string> = {
  connect: 'cannot open connection to',
  write: 'cannot write to control socket',
  shutdown: 'cannot shutdown the socket',
  read: 'cannot read from control socket',
};

async function exchange(directory: string, text: string): Promise<string> {
  const home = `${directory}/${PROGRAM}`;
  const answered = await requestOnce({
    directory: home,
    socket: SOCKET,
    text,
    ends: 'stream',
    ms: PATIENCE_MS,
    most: MOST_REPLY,
  });
  if ('text' in answered) return answered.text;
  const { failed, code, message } = answered;
  const path = `${home}/${SOCKET}`;
  if (failed === 'connect' && ['ENOENT', 'ECONNREFUSED'].includes(code)) throw gone(path, code);
  if (code === 'EMSGSIZE') throw fault(`${WHAT[failed]} ${path}: ${message}`, path);
  throw fault(`${WHAT[failed]} ${path}: ${code === 'ETIMEDOUT' ? message : code}`, path, code);
}

function fault(message: string, object: string, errno?: string): FaultError {
  return new FaultError('UPLINK_FAILED', message, { object, ...(errno === undefined ? {} : { errno }) });
}

function gone(path: string, errno: string): SlirpGone {
  const message = `cannot open connection to ${path}: ${errno}`;
  return new SlirpGone('UPLINK_FAILED', message, { object: path, errno });
}

function garbled(directory: string, reply: string): FaultError {
  const shown = JSON.stringify(reply.slice(0, 200));
  return fault(`error parsing error status from slirp4netns: ${shown}`, `${directory}/${SOCKET}`);
}

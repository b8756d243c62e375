/**
 * Sends requests to the forwarder of one outside (native/forwarder). Its directory identifies the forwarder.
 *
 * Guarantees: the answer is complete, or the call throws a fault; one deadline covers all of it. Requests to one forwarder run
 * one after another. The socket is reached through the open directory, so the length of its path does not matter (unix(7): 107
 * bytes).
 * Limits: whoever listens there is trusted because of the directory, which is ours with mode 0700.
 */
import { FaultError } from '../../state/faults.ts';
import { inTurn as takeTurn } from '../turns.ts';
import { requestOnce } from '../unix-request.ts';

export const SOCKET = 'socket';
/** Above the largest list: 130,000 ports of 400 bytes. */
const MAX_ANSWER = 64 << 20;

/** The forwarder's answer when it refuses a request (native/forwarder/control/request.h). */
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

/** `absent`: no process listens. `gone`: the forwarder ended before it answered; the request may be done or not. */
export type Asked = Answer | 'absent' | 'gone';

export const failed = (message: string) => new FaultError('FORWARDER_FAILED', message);

const turns = new Map<string, Promise<unknown>>();

/** Runs `work` after all earlier work for the same directory. */
export const inTurn = <T>(directory: string, work: () => Promise<T>): Promise<T> => takeTurn(turns, directory, work);

export async function ask(directory: string, request: object, ms: number): Promise<Asked> {
  const text = `${JSON.stringify(request)}\n`;
  const answered = await requestOnce({ directory, socket: SOCKET, text, ends: 'line', ms, most: MAX_ANSWER });
  if ('text' in answered) return parse(answered.text);
  const { failed: act, code, message } = answered;
  if (code === 'ETIMEDOUT') throw failed(`the forwarder has not answered within ${ms} ms`);
  if (code === 'EMSGSIZE') throw failed('the answer of the forwarder has no end');
  if (act !== 'connect' && (code === 'EPIPE' || code === 'ECONNRESET')) return 'gone';
  if (act === 'connect' && (code === 'ENOENT' || code === 'ECONNREFUSED')) return 'absent';
  if (act === 'connect' && code === 'EAGAIN') return 'gone'; // its backlog is full (unix(7))
  throw failed(`the forwarder cannot be reached: ${message}`);
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

/**
 * Says what a client is told when its request is refused: {"error": Fault and hint}, with the status of state/faults.ts, unless the
 * protocol of the socket has another form.
 *
 * Guarantees: any error becomes a fault with a code: those of Fastify and of JSON.parse are the client's, unknown ones ours.
 */
import type { FastifyReply } from 'fastify';
import { toFault } from '../../effects/effect.ts';
import type { ErrorAnswer } from '../../state/answers/error.ts';
import { FAULTS, FaultError, type Fault } from '../../state/faults.ts';
import { MAX_LINE } from './ndjson.ts';

/** Says a fault in the words of a protocol: the status and the body of the answer. */
export type Refusal<Body = object> = (fault: Fault) => { status: number; body: Body };

/** The form of cleat's own API. */
export const asFault: Refusal<ErrorAnswer> = (fault) => {
  const [status, hint] = FAULTS[fault.code];
  return { status, body: { error: { ...fault, hint } } };
};

export const refusal = (error: unknown): ReturnType<typeof asFault> => asFault(faultOfRequest(error));

export function faultOfRequest(error: unknown): Fault {
  const { code = '', message } = error as { code?: string; message: string };
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return { code: 'BODY_TOO_LARGE', message: `the body is larger than ${MAX_LINE} bytes` };
  }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return { code: 'UNSUPPORTED_MEDIA_TYPE', message };
  if (code === 'ECONNRESET') return { code: 'BAD_REQUEST', message: 'the request breaks off' };
  if (code.startsWith('FST_ERR_') || error instanceof SyntaxError) return { code: 'BAD_REQUEST', message };
  return error instanceof FaultError ? error.fault : toFault(error, 'request');
}

export function sendFault(reply: FastifyReply, fault: Fault, refusal: Refusal = asFault): FastifyReply {
  const { status, body } = refusal(fault);
  return sendRefusal(reply, status, body);
}

/** Sends bytes: Fastify adds a charset to the type of JSON, and Docker's client reads an error only if its type has none. */
export function sendRefusal(reply: FastifyReply, status: number, body: object): FastifyReply {
  return reply
    .code(status)
    .type('application/json')
    .send(Buffer.from(JSON.stringify(body)));
}

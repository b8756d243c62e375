/**
 * Says what a client is told when its request is refused: {"error": Fault and hint}, with the status of state/faults.ts.
 *
 * Guarantees: any error becomes a fault with a code: those of Fastify and of JSON.parse are the client's, unknown ones ours.
 */
import type { FastifyReply } from 'fastify';
import { toFault } from '../../effects/effect.ts';
import type { ErrorAnswer } from '../../state/answers/error.ts';
import { FAULTS, FaultError, type Fault } from '../../state/faults.ts';
import { MAX_LINE } from './ndjson.ts';

export function refusal(error: unknown): { status: number; body: ErrorAnswer } {
  const fault = faultOfRequest(error);
  return { status: FAULTS[fault.code][0], body: withHint(fault) };
}

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

function withHint(fault: Fault): ErrorAnswer {
  return { error: { ...fault, hint: FAULTS[fault.code][1] } };
}

export function sendFault(reply: FastifyReply, fault: Fault): FastifyReply {
  return reply.code(FAULTS[fault.code][0]).send(withHint(fault));
}

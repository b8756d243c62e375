/**
 * Sends the answer to a lifecycle event or to its plan, with the headers that say where the result is, and what was done of what the
 * client preferred.
 *
 * Guarantees: Location leads to something: the container, or the plan of an event that was not done. 202 comes with
 * Preference-Applied (RFC 7240).
 */
import type { FastifyReply } from 'fastify';
import type { ErrorAnswer } from '../../state/answers/error.ts';
import type { EventAnswer } from '../../state/answers/event.ts';
import type { Plan } from '../../state/answers/container/plan.ts';

export interface Answer {
  status: number;
  body: EventAnswer | Plan | ErrorAnswer;
}

export const APPLIED = { 'preference-applied': 'respond-async' };

export function sendAnswer(reply: FastifyReply, { status, body }: Answer): FastifyReply {
  const location = locationOf(body);
  if (location !== null) reply.header('location', location);
  if (status === 202) reply.headers(APPLIED);
  return reply.code(status).send(body);
}

function locationOf(body: Answer['body']): string | null {
  if ('error' in body) return null;
  if ('hash' in body) return `/v1/plans/${body.hash}`;
  return body.state === 'gone' ? null : `/v1/containers/${body.id}`;
}

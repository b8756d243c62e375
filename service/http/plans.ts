/**
 * Adds the routes of plans: a client asks for one, looks at it again, and has it carried out.
 *
 * Guarantees: a plan belongs to the user who made it, as the kernel names the peer; another one gets NO_SUCH_PLAN. What is carried
 * out is authorised again.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { EventAnswer } from '../../state/answers/event.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import type { AppliedPlan } from '../containers/admission.ts';
import type { Planner, Plans } from '../plans/plans.ts';
import { isTrusted, type Peer, peerOf } from '../requests/authorise.ts';
import type { Call } from '../requests/requests.ts';
import { sendAnswer } from './event-answer.ts';

interface PlanRouteParts {
  plans: Plans;
  /** Does an event for this peer. */
  carryOut: (event: LifecycleEvent, call: Call, applied: AppliedPlan) => Promise<{ status: number; body: EventAnswer }>;
}

export const plannerOf = (peer: Peer): Planner => ({ uid: peer.uid, limited: !isTrusted(peer) });

/** Returns false if the client wants an answer as soon as the event is certain to be done (RFC 7240). */
export const waits = ({ headers }: Pick<FastifyRequest, 'headers'>): boolean =>
  !/\brespond-async\b/.test(String(headers.prefer ?? ''));

/** Reads the parameter of an event. */
export const isDryRun = (query: unknown): boolean => (query as { dry_run?: string }).dry_run === 'true';

export function addPlanRoutes(api: FastifyInstance, { plans, carryOut }: PlanRouteParts): void {
  api.get<{ Params: { hash: string } }>('/v1/plans/:hash', (request, reply) =>
    reply
      .type('application/json; charset=utf-8')
      .send(plans.read(request.params.hash, plannerOf(peerOf(request.raw.socket)))),
  );
  api.post<{ Params: { hash: string } }>('/v1/plans/:hash/apply', async (request, reply) => {
    const peer = peerOf(request.raw.socket);
    const { event, applied } = await plans.take(request.params.hash, plannerOf(peer));
    const call = { peer, wait: waits(request), headers: request.headers };
    return sendAnswer(reply, await carryOut(event, call, applied));
  });
}

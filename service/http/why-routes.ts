/**
 * Answers GET /v1/containers/:id/why: why a container is as it is, in sentences.
 *
 * Guarantees: changes nothing. NO_SUCH_CONTAINER if there is none, or if it is gone meanwhile.
 */
import type { FastifyInstance } from 'fastify';
import type { Why } from '../../state/answers/container/why.ts';
import { ContainerId } from '../../state/names.ts';
import type { Containers } from '../containers/containers.ts';
import { noSuchContainer } from '../events/events.ts';
import { parse } from '../requests/parse.ts';

export interface WhyRoutes {
  containers: Pick<Containers, 'idOf'>;
  /** Returns null if there is no such container. */
  why(id: string): Promise<Why | null>;
}

export function addWhyRoutes(api: FastifyInstance, parts: WhyRoutes): void {
  api.get<{ Params: { id: string } }>('/v1/containers/:id/why', async (request) => {
    const id = parts.containers.idOf(parse(ContainerId, request.params.id));
    const answer = await parts.why(id);
    if (answer === null) throw noSuchContainer(id);
    return answer;
  });
}

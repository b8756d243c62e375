/**
 * Adds Docker's route of events: those since a moment, and those that happen, until another moment.
 *
 * Guarantees: nothing is missed and nothing comes twice between what was kept and what happens. With `until` the answer ends then.
 * Limits: the past is that of service/fronts/docker/network-events.ts.
 */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { DockerEvent } from '../../../state/answers/docker.ts';
import { choosesEvents, EVENT_FILTERS, filtersOf, momentOf } from '../../fronts/docker/docker-filters.ts';
import type { NetworkEvents } from '../../fronts/docker/network-events.ts';
import { beginEndless } from '../../requests/connections.ts';
import { parse } from '../../requests/parse.ts';

const Query = z.strictObject({
  since: z.string().optional(),
  until: z.string().optional(),
  filters: z.string().optional(),
});

/** setTimeout(3) of a longer time would end at once. */
const LONGEST_MS = 2 ** 31 - 1;

export function addDockerEventRoutes(api: FastifyInstance, events: NetworkEvents): void {
  api.get('/events', (request, reply) => {
    const { since = '', until = '', filters } = parse(Query, request.query);
    const now = Date.now();
    const [from, to] = [since, until].map((text) => (text === '' ? null : momentOf(text, now)));
    const chosen = choosesEvents(filtersOf(filters, EVENT_FILTERS));
    const { write, closed } = beginEndless(request, reply, 'application/json');
    const send = (event: DockerEvent, beginning = false) => {
      const isLate = typeof to === 'number' && event.timeNano / 1e6 > to;
      if (!isLate && chosen(event)) write(`${JSON.stringify(event)}\n`, beginning);
    };
    if (typeof from === 'number') for (const event of events.since(from)) send(event, true);
    const stop = events.follow((event) => send(event));
    const end = () => {
      stop();
      reply.raw.end();
      request.raw.socket.destroySoon(); // after what is still to be sent
    };
    const timer = typeof to === 'number' ? setTimeout(end, Math.min(LONGEST_MS, to - now)) : undefined;
    closed(() => {
      clearTimeout(timer);
      stop();
    });
  });
}

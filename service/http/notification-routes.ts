/**
 * Answers GET /v1/events: notifications as they happen, after those since a moment, until another one.
 *
 * Guarantees: nothing is missed and nothing comes twice between what was kept and what happens. With `until` the answer ends then.
 * Limits: the past is that of service/events/recent.ts.
 */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Notification } from '../../state/answers/notification.ts';
import type { Containers } from '../containers/containers.ts';
import { Recent } from '../events/recent.ts';
import { beginEndless } from '../requests/connections.ts';
import { parse } from '../requests/parse.ts';

const moment = z
  .string()
  .regex(/^\d{1,15}$/, 'a moment is a number of milliseconds since the epoch')
  .transform(Number)
  .optional();
const Query = z.object({ id: z.string().optional(), since: moment, until: moment });

/** setTimeout(3) of a longer time would end at once. */
const LONGEST_MS = 2 ** 31 - 1;

export function addNotificationRoutes(api: FastifyInstance, containers: Pick<Containers, 'bus' | 'idOf'>): void {
  const recent = new Recent();
  containers.bus.on('notification', (notification) => recent.add(notification));

  api.get('/v1/events', (request, reply) => {
    const { id, since, until } = parse(Query, request.query);
    const sse = (request.headers.accept ?? '').includes('text/event-stream');
    // It may be of a container that is still to come.
    const only = id === undefined ? null : containers.idOf(id);
    const { write, closed } = beginEndless(request, reply, sse ? 'text/event-stream' : 'application/x-ndjson');
    const send = (notification: Notification, beginning = false) => {
      if (only !== null && notification.id !== only) return;
      if (until !== undefined && notification.t > until) return;
      const text = JSON.stringify(notification);
      write(sse ? `event: ${notification.type}\ndata: ${text}\n\n` : `${text}\n`, beginning);
    };
    if (since !== undefined) for (const notification of recent.since(since)) send(notification, true);
    const listener = (notification: Notification) => send(notification);
    containers.bus.on('notification', listener);
    const stop = () => void containers.bus.off('notification', listener);
    const end = () => {
      stop();
      reply.raw.end();
      request.raw.socket.destroySoon(); // after what is still to be sent
    };
    // A timer may end a millisecond early: the moment is over when the answer ends.
    const timer = until === undefined ? undefined : setTimeout(end, Math.min(LONGEST_MS, until - Date.now() + 1));
    closed(() => {
      clearTimeout(timer);
      stop();
    });
  });
}

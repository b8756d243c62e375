/**
 * Answers GET /v1/events: notifications as they happen, after those since a moment, or after the last one that the client has, until
 * another moment.
 *
 * Guarantees: nothing is missed and nothing comes twice between what was kept and what happens. Each message of text/event-stream has
 * an id, and each line of NDJSON has it as `event_id`; a client that comes back with it (Last-Event-ID) gets what it missed, or first a
 * message `missed`. Signs of life have an id, too, so a client of one container does not fall behind. With `until` the answer ends then.
 * Limits: the past is that of service/notifications/recent.ts. NDJSON has no signs of life.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Notification } from '../../state/answers/notification.ts';
import { FaultError } from '../../state/faults.ts';
import type { Containers } from '../containers/containers.ts';
import type { Numbered, Recent } from '../notifications/recent.ts';
import { beginEndless } from '../requests/connections.ts';
import { HEARTBEAT_MS, heartbeat, messageText, RETRY } from '../requests/server-sent.ts';

/** Moments are milliseconds since the epoch; route-rules.ts has looked at them. */
const momentOf = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text));

/** setTimeout(3) of a longer time would end at once. */
const LONGEST_MS = 2 ** 31 - 1;

interface NotificationRoutes {
  containers: Pick<Containers, 'idOf'>;
  recent: Recent;
}

export function addNotificationRoutes(api: FastifyInstance, { containers, recent }: NotificationRoutes): void {
  api.get<{ Querystring: { id?: string; since?: string; until?: string } }>('/v1/events', (request, reply) => {
    const { id } = request.query;
    const [since, until] = [momentOf(request.query.since), momentOf(request.query.until)];
    const sse = (request.headers.accept ?? '').includes('text/event-stream');
    // It may be of a container that is still to come.
    const only = id === undefined ? null : containers.idOf(id);
    const { missed, kept } = beginning(recent, request, since);
    const { write, closed } = beginEndless(request, reply, sse ? 'text/event-stream' : 'application/x-ndjson');

    const send = ({ n, notification }: Numbered, isBeginning = false) => {
      const isAsked = (only === null || notification.id === only) && (until === undefined || notification.t <= until);
      if (!isAsked && notification.type !== 'missed') return;
      const id = recent.idOf(n);
      const told: Notification = sse ? notification : { ...notification, event_id: id };
      const text = JSON.stringify(told);
      write(sse ? messageText(told.type, text, id) : `${text}\n`, isBeginning);
    };
    if (sse) write(RETRY, true);
    const before = (kept[0]?.n ?? recent.last + 1) - 1;
    if (missed !== null)
      send({ n: before, notification: { type: 'missed', t: Date.now(), id: null, ...missed } }, true);
    for (const one of kept) send(one, true);
    if (sse) write(heartbeat(recent.idOf(recent.last)), true);

    const stop = recent.follow((one) => send(one));
    const pulse = sse ? setInterval(() => write(heartbeat(recent.idOf(recent.last))), HEARTBEAT_MS) : undefined;
    const end = () => {
      stop();
      clearInterval(pulse);
      reply.raw.end();
      request.raw.socket.destroySoon(); // after what is still to be sent
    };
    // A timer may end a millisecond early: the moment is over when the answer ends.
    const timer = until === undefined ? undefined : setTimeout(end, Math.min(LONGEST_MS, until - Date.now() + 1));
    closed(() => {
      clearTimeout(timer);
      clearInterval(pulse);
      stop();
    });
  });
}

interface Beginning {
  missed: { after: string; why: 'restarted' | 'too old' } | null;
  kept: Numbered[];
}

/** Returns what the answer begins with. A browser that connects again sends the id, and `since` as at first: the id is later. */
function beginning(recent: Recent, { headers }: Pick<FastifyRequest, 'headers'>, since: number | undefined): Beginning {
  const { 'last-event-id': last } = headers;
  if (typeof last !== 'string') {
    const kept = since === undefined ? [] : recent.from(0).filter(({ notification }) => notification.t >= since);
    return { missed: null, kept };
  }
  const found = recent.after(last);
  if (found === null) throw new FaultError('BAD_REQUEST', 'Last-Event-ID is the id of an event of this stream');
  return { missed: found.missed === null ? null : { after: last, why: found.missed }, kept: found.kept };
}

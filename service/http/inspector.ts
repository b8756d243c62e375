/**
 * What the inspector asks of the daemon: the stream of everything that happens, and one container's machine as it is.
 *
 *   GET    /v1/inspector                 text/event-stream; Last-Event-ID (or ?last=) goes on after that message
 *   GET    /v1/inspector/stately         the same machines in the shapes of @statelyai/inspect
 *   GET    /v1/containers/:id/machine    the persisted snapshot, and the events that are legal
 *
 * Guarantees: a viewer that does not read is disconnected, so that memory stays bounded; it may come back and go on.
 * `?read_only` only changes what `hello` says: for a proxy that refuses to send events.
 */
import type { FastifyInstance } from 'fastify';
import type { MachineSnapshot } from '../../state/answers/inspector.ts';
import type { Inspector } from '../viewers/inspector.ts';
import { beginEndless } from '../requests/connections.ts';

export interface InspectorRoutes {
  inspector: Inspector;
  /** Returns that of the container with this id or name. Throws NO_SUCH_CONTAINER. */
  machine: (id: string) => MachineSnapshot;
}

export function addInspectorRoutes(api: FastifyInstance, { inspector, machine }: InspectorRoutes): void {
  api.get<{ Querystring: { last?: string; read_only?: string } }>('/v1/inspector', (request, reply) => {
    const { last, read_only: readOnly } = request.query;
    const header = request.headers['last-event-id'];
    inspector.refuseTooMany();
    const { write, closed } = beginEndless(request, reply, 'text/event-stream');
    const leave = inspector.join(
      { write },
      typeof header === 'string' ? header : (last ?? null),
      readOnly === undefined,
    );
    closed(leave);
  });

  api.get('/v1/inspector/stately', (request, reply) => {
    inspector.refuseTooMany();
    const { write, closed } = beginEndless(request, reply, 'text/event-stream');
    closed(inspector.followInspection(write));
  });

  api.get<{ Params: { id: string } }>('/v1/containers/:id/machine', (request) => machine(request.params.id));
}

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
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { MachineSnapshot } from '../../state/answers/inspector.ts';
import type { Inspector } from '../viewers/inspector.ts';
import { MAX_LINE } from './ndjson.ts';

export interface InspectorRoutes {
  inspector: Inspector;
  /** Of the container with this id or name. Throws NO_SUCH_CONTAINER. */
  machine: (id: string) => MachineSnapshot;
}

export function addInspectorRoutes(api: FastifyInstance, { inspector, machine }: InspectorRoutes): void {
  api.get<{ Querystring: { last?: string; read_only?: string } }>('/v1/inspector', (request, reply) => {
    const { last, read_only: readOnly } = request.query;
    const header = request.headers['last-event-id'];
    inspector.refuseTooMany();
    const { write, closed } = streaming(reply);
    const leave = inspector.join(
      { write },
      typeof header === 'string' ? header : (last ?? null),
      readOnly === undefined,
    );
    closed(leave);
  });

  api.get('/v1/inspector/stately', (_request, reply) => {
    inspector.refuseTooMany();
    const { write, closed } = streaming(reply);
    closed(inspector.followInspection(write));
  });

  api.get<{ Params: { id: string } }>('/v1/containers/:id/machine', (request) => machine(request.params.id));
}

/** Begins a stream that ends when its reader does not keep up. */
function streaming(reply: FastifyReply) {
  reply.hijack();
  const out = reply.raw;
  out.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  out.flushHeaders();
  /** How much may wait for the reader. The beginning of the stream, which may be long, comes on top. */
  let room = MAX_LINE;
  out.on('drain', () => (room = MAX_LINE));
  return {
    write: (text: string, beginning = false): void => {
      if (out.destroyed) return;
      if (beginning) room += text.length;
      else if (out.writableLength > room) return void out.destroy();
      out.write(text);
    },
    closed: (then: () => void) => out.on('close', then),
  };
}

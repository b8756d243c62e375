/**
 * The API on the Unix socket: HTTP/1.1 and JSON. The schemas of state/ check every shape.
 *
 *   POST   /v1/events              one lifecycle event; or many, one per line, as application/x-ndjson; ?dry_run=true plans it
 *   GET    /v1/events              notifications as they happen (NDJSON, or SSE if the client accepts it), after those since a moment,
 *                                  or after the last one that the client has (notification-routes.ts)
 *   GET    /v1/containers          the intended state; ?id=A&id=B: of these alone. :id is an id, a name, or the beginning of an
 *                                  engine's id
 *   GET    /v1/containers/:id      the same in full, with the differences in the kernel; ?wait=STATE&timeout=MS waits for a state
 *   GET    /v1/containers/:id/history, /v1/containers/:id/export (journal-routes.ts), /v1/containers/:id/stats, /v1/stats
 *   GET    /v1/containers/:id/why  why it is as it is, in sentences (why-routes.ts)
 *   GET, POST /v1/networks, GET, PATCH, DELETE /v1/networks/:name
 *   GET    /v1/inspector, /v1/containers/:id/machine (inspector.ts)
 *   POST   /v1/audit/repair
 *   POST   /v1/netavark/setup, /v1/netavark/teardown, /v1/netavark/create, /v1/netavark/update (netavark-routes.ts)
 *   POST   /v1/cni/add, /v1/cni/del, /v1/cni/check, /v1/cni/gc, /v1/cni/status (cni-routes.ts)
 *   GET    /v1/plans/:hash, POST /v1/plans/:hash/apply (plans.ts)
 *   GET    /v1/audit, /v1/doctor, /v1/version, /v1/openapi.json
 *   GET    /metrics (for Prometheus), /_ping ("OK", as of Docker and Podman)
 *
 * Guarantees: the object that is authorised is the object that is executed. A body over the limit is refused before it is read
 * (moby CVE-2026-34040). An incomplete request changes nothing. An error is {"error": Fault and hint} with the status of
 * state/faults.ts, also for bytes that are not HTTP. The resources that a client can make the daemon keep are bounded:
 * connections, events under way on one stream, answers that the client does not read, plans.
 * Limits: the file mode of the socket decides which users may connect; authorise.ts decides which of them may name paths and
 * pids. Node itself answers a request without Host, or with an unknown Expect header, with a status alone (400, 417).
 */
import type { Socket } from 'node:net';
import Fastify, { type FastifyInstance, type FastifyRequest, type RequestPayload } from 'fastify';
import type { Kernel } from '../../effects/kernel.ts';
import type { AuditReport, RepairReport } from '../../state/answers/audit.ts';
import type { ContainerView, Gone } from '../../state/answers/container/container.ts';
import type { DoctorReport } from '../../state/answers/doctor.ts';
import type { EventAnswer } from '../../state/answers/event.ts';
import type { JournalLine } from '../../state/answers/container/history.ts';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import type { ContainerStats } from '../../state/answers/container/stats.ts';
import type { Version } from '../../state/answers/version.ts';
import { LifecycleEvent } from '../../state/event.ts';
import type { Fault } from '../../state/faults.ts';
import { ContainerId } from '../../state/names.ts';
import { NetworkRequest, NetworkUpdate } from '../../state/network.ts';
import type { Limits } from '../../state/limits.ts';
import { authorise, authoriseNetwork, authoriseRepair, isTrusted, type Peer, peerOf } from '../requests/authorise.ts';
import { announcesBody, Connections, endWith } from '../requests/connections.ts';
import type { AppliedPlan } from '../containers/admission.ts';
import type { Containers } from '../containers/containers.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import { noSuchContainer } from '../events/events.ts';
import type { Recent } from '../notifications/recent.ts';
import type { Attachments } from '../fronts/attachments.ts';
import type { Networks } from '../networks/networks.ts';
import type { Shared } from '../outsides/shared.ts';
import { addInspectorRoutes, type InspectorRoutes } from './inspector.ts';
import type { Plans } from '../plans/plans.ts';
import { openApi, paths } from './openapi.ts';
import { addCniRoutes } from './cni-routes.ts';
import { addRouteRules } from './route-rules.ts';
import { addJournalRoutes } from './journal-routes.ts';
import { sendAnswer } from './event-answer.ts';
import { type Answered, streamEvents } from './event-stream.ts';
import { MAX_LINE } from '../requests/ndjson.ts';
import { parse } from '../requests/parse.ts';
import { addNetavarkRoutes } from './netavark-routes.ts';
import { addNotificationRoutes } from './notification-routes.ts';
import { addPlanRoutes, isDryRun, plannerOf, waits, type Call } from './plans.ts';
import { faultOfRequest, refusal, sendFault } from '../requests/refusals.ts';
import { traced, tracedEvent } from '../requests/traced.ts';
import type { Traces } from '../traces/traces.ts';
import { warningsOf } from '../events/warnings.ts';
import { addWhyRoutes, type WhyRoutes } from './why-routes.ts';

export interface ApiParts extends InspectorRoutes, Pick<WhyRoutes, 'why'> {
  limits: Limits;
  /** Null if the daemon does not trace. */
  traces: Traces | null;
  containers: Containers;
  recent: Recent;
  networks: Networks;
  shared: Shared;
  kernel: Kernel;
  attachments: Attachments;
  plans: Plans;
  view(snapshot: ContainerSnapshot): ContainerView;
  /** Why firewalld was not told of all networks there, null when it was. */
  firewalld(outside: string | null): Fault | null;
  journal(id: string): JournalLine[];
  /** Null when there is no such container. */
  inspect(id: string): Promise<Inspection | null>;
  inspectSnapshot(snapshot: ContainerSnapshot): Promise<Inspection>;
  stats(id: string): Promise<ContainerStats>;
  statsOfAll(): Promise<ContainerStats[]>;
  audit(): Promise<AuditReport>;
  repair(): Promise<RepairReport>;
  doctor(): Promise<DoctorReport>;
  /** Returns the metrics in the text format of Prometheus. */
  metrics(): Promise<string>;
  version(): Version;
}

/** The text format of Prometheus. */
const PROMETHEUS = 'text/plain; version=0.0.4; charset=utf-8';

const MAX_WAIT_MS = 300_000;

/** The time from the connection to the end of the headers. An honest client never needs longer on a Unix socket. */
const HEADERS_MS = 5000;

/**
 * Fastify's own schema compilers (ajv and others) are not loaded, because that takes as long as loading the rest of Fastify. Zod
 * checks the shapes.
 */
const noSchema = (): never => {
  throw new Error('a route with a schema of Fastify');
};

export function createApi(parts: ApiParts): FastifyInstance {
  const { containers, networks, plans, traces } = parts;
  const api = Fastify({
    bodyLimit: MAX_LINE,
    forceCloseConnections: true,
    exposeHeadRoutes: false, // HEAD of a stream would never end
    logger: false,
    schemaController: { compilersFactory: { buildValidator: noSchema, buildSerializer: noSchema } },
    // A stream of events may stay open for months, so a whole request has no time limit. Its headers have one.
    http: { requestTimeout: 0, headersTimeout: HEADERS_MS, connectionsCheckingInterval: HEADERS_MS / 2 },
    clientErrorHandler: refuseBytes,
    // Handles requests that the router refuses before it finds a route: bad escapes, parameters that are too long.
    frameworkErrors: (error, _request, reply) => void sendFault(reply, faultOfRequest(error)),
  });

  const connections = new Connections(parts.limits);
  connections.guard(api.server);
  api.addHook('preParsing', (request, _reply, payload, done) => {
    accountBody(request, payload, connections);
    done(null, payload);
  });
  api.setErrorHandler((error, _request, reply) => sendFault(reply, faultOfRequest(error)));
  addRouteRules(api, paths);
  // Clients that set the type in every request send it with a DELETE without a body, too. Where a body is needed, its check says so.
  const parseJson = api.getDefaultJsonParser('error', 'error');
  api.addContentTypeParser('application/json', { parseAs: 'string' }, (request, text, done) =>
    text === '' ? done(null) : parseJson(request, text as string, done),
  );
  api.removeContentTypeParser('text/plain');
  api.addContentTypeParser('application/x-ndjson', (_request, payload, done) => done(null, payload));

  api.post('/v1/events', async (request, reply) => {
    const peer = peerOf(request.raw.socket);
    const call = { peer, wait: waits(request), headers: request.headers };
    const dry = isDryRun(request.query);
    const handle = async (json: unknown): Promise<Answered> => {
      try {
        const event = parse(LifecycleEvent, json);
        return await (dry ? planned(event, peer) : carryOut(event, call, null));
      } catch (error) {
        return refusal(error);
      }
    };
    if (request.headers['content-type']?.startsWith('application/x-ndjson') === true) {
      const idOf = (text: string) => containers.idOf(text);
      return streamEvents(request, reply, { peer, connections, handle, idOf, dry, wait: call.wait });
    }
    return sendAnswer(reply, await handle(request.body));
  });
  addPlanRoutes(api, { plans, carryOut });

  async function planned(event: LifecycleEvent, peer: Peer): Promise<Answered> {
    authorise(peer, event);
    // The caller's span is that of whoever applies the plan, and no part of what is planned.
    const untraced = { ...event, traceparent: undefined, tracestate: undefined };
    return { status: 200, body: await plans.make(untraced, plannerOf(peer)) };
  }

  function send(
    event: LifecycleEvent,
    { peer, wait, headers }: Call,
    applied: AppliedPlan | null,
  ): Promise<ContainerSnapshot> {
    authorise(peer, event);
    return tracedEvent(traces, event, { headers, containers }, async () => {
      // The default network could not be made when the daemon started. It may be possible now.
      const needs = event.type === 'create' || event.type === 'connect';
      if (needs && networks.defaultFault !== null) await networks.ensureDefault();
      return containers.dispatch(event, wait, isTrusted(peer) ? null : peer.uid, applied);
    });
  }

  async function carryOut(
    event: LifecycleEvent,
    { peer, wait, headers }: Call,
    applied: AppliedPlan | null,
  ): Promise<{ status: number; body: EventAnswer }> {
    const snapshot = await send(event, { peer, wait, headers }, applied);
    const warnings = warningsOf(
      event,
      snapshot,
      () => networks.all(),
      (outside) => parts.firewalld(outside),
    );
    const view = viewOf(snapshot, parts);
    return { status: wait ? 200 : 202, body: warnings.length === 0 ? view : { ...view, warnings } };
  }

  addNotificationRoutes(api, parts);

  api.get<{ Querystring: { id?: string | string[] } }>('/v1/containers', (request) => {
    const { id } = request.query;
    const all =
      id === undefined
        ? containers.all()
        : [...new Set([id].flat())].flatMap((one) => containers.get(containers.idOf(one)) ?? []);
    return all.map((snapshot) => parts.view(snapshot));
  });
  api.get<{ Params: { id: string }; Querystring: { wait?: string; timeout?: string } }>(
    '/v1/containers/:id',
    async (request) => {
      const id = containers.idOf(parse(ContainerId, request.params.id));
      const { wait, timeout } = request.query;
      if (wait !== undefined) {
        const snapshot = await containers.waitFor(id, wait, Math.min(Number(timeout ?? 30_000), MAX_WAIT_MS));
        return snapshot === null ? ({ id, state: 'gone' } satisfies Gone) : parts.inspectSnapshot(snapshot);
      }
      const inspection = await parts.inspect(id);
      if (inspection === null) throw noSuchContainer(id);
      return inspection;
    },
  );
  addJournalRoutes(api, {
    id: (text) => {
      const id = containers.idOf(parse(ContainerId, text));
      if (containers.get(id) === undefined) throw noSuchContainer(id);
      return id;
    },
    journal: (id) => parts.journal(id),
    version: () => parts.version().version,
  });
  api.get<{ Params: { id: string } }>('/v1/containers/:id/stats', (request) =>
    parts.stats(containers.idOf(parse(ContainerId, request.params.id))),
  );
  api.get('/v1/stats', () => parts.statsOfAll());
  addWhyRoutes(api, parts);

  api.get('/v1/networks', () => networks.all());
  api.post('/v1/networks', async (request, reply) => {
    const asked = parse(NetworkRequest, request.body);
    authoriseNetwork(peerOf(request.raw.socket), asked);
    const { headers } = request;
    const definition = await traced(traces, 'network.create', { headers, network: asked.name }, () =>
      networks.create(asked),
    );
    return reply.code(201).header('location', `/v1/networks/${definition.name}`).send(definition);
  });
  api.get<{ Params: { name: string } }>('/v1/networks/:name', (request) => networks.get(request.params.name));
  api.patch<{ Params: { name: string } }>('/v1/networks/:name', ({ params: { name: network }, headers, body }) => {
    const update = parse(NetworkUpdate, body);
    return traced(traces, 'network.update', { headers, network }, () => networks.update(network, update));
  });
  api.delete<{ Params: { name: string } }>('/v1/networks/:name', async (request, reply) => {
    const { name: network } = request.params;
    await traced(traces, 'network.remove', { headers: request.headers, network }, () => networks.remove(network));
    return reply.code(204).send();
  });

  addInspectorRoutes(api, parts);
  addNetavarkRoutes(api, { ...parts, send: (event, call) => send(event, call, null) });
  addCniRoutes(api, { ...parts, send: (event, call) => send(event, call, null) });

  api.get('/v1/audit', () => parts.audit());
  api.post('/v1/audit/repair', (request) => {
    authoriseRepair(peerOf(request.raw.socket));
    return traced(traces, 'audit.repair', { headers: request.headers, network: null }, () => parts.repair());
  });
  api.get('/v1/doctor', () => parts.doctor());
  api.get('/v1/version', () => parts.version());
  api.get('/metrics', async (_request, reply) => reply.type(PROMETHEUS).send(await parts.metrics()));
  api.get('/_ping', (_request, reply) => reply.type('text/plain').send('OK'));
  api.get('/v1/openapi.json', () => openApi());
  return api;
}

function viewOf(snapshot: ContainerSnapshot, parts: ApiParts): ContainerView | Gone {
  return snapshot.status !== 'done' ? parts.view(snapshot) : { id: snapshot.context.id, state: 'gone' };
}

/** Refuses bytes that are not HTTP, and headers that are too long or never end. */
function refuseBytes(error: Error & { code: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET') socket.destroySoon();
  else endWith(socket, { code: 'BAD_REQUEST', message: `no HTTP: ${error.message}` });
}

/** Counts the bytes of a body for its peer until the request is answered. Refuses and ends a body that exceeds the peer's limit. */
function accountBody(request: FastifyRequest, payload: RequestPayload, connections: Connections): void {
  const stream = request.headers['content-type']?.startsWith('application/x-ndjson') === true;
  if (stream || !announcesBody(request.raw)) return; // a stream is counted line by line
  const { socket } = request.raw;
  const peer = peerOf(socket);
  let kept = 0;
  const count = (chunk: Buffer | string) => {
    try {
      connections.keep(peer, chunk.length);
      kept += chunk.length;
    } catch (error) {
      endWith(socket, faultOfRequest(error));
    }
  };
  payload.on('data', count);
  const over = () => {
    payload.off('data', count);
    connections.release(peer, kept);
    kept = 0;
  };
  payload.once('end', over);
  socket.once('close', over);
  payload.once('end', () => socket.off('close', over));
}

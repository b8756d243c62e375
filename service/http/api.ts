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
 *   GET, POST /v1/networks, GET, PATCH, DELETE /v1/networks/:name, GET /v1/networks/:name/overlay
 *   GET    /v1/inspector, /v1/containers/:id/machine (inspector.ts)
 *   POST   /v1/audit/repair
 *   POST   /v1/netavark/setup, /v1/netavark/teardown, /v1/netavark/create, /v1/netavark/update (netavark-routes.ts)
 *   POST   /v1/cni/add, /v1/cni/del, /v1/cni/check, /v1/cni/gc, /v1/cni/status (cni-routes.ts)
 *   GET    /v1/plans/:hash, POST /v1/plans/:hash/apply (plans.ts)
 *   GET    /v1/audit, /v1/doctor, /v1/version, /v1/openapi.json
 *   GET    /metrics (for Prometheus), /_ping ("OK", as of Docker and Podman)
 *
 * Guarantees: an incomplete request changes nothing. An error is {"error": Fault and hint} with the status of
 * state/faults.ts, also for bytes that are not HTTP (server.ts). The resources that a client can make the daemon keep are bounded:
 * connections, events under way on one stream, answers that the client does not read, plans.
 * Limits: the file mode of the socket decides which users may connect; authorise.ts decides which of them may name paths and
 * pids.
 */
import type { FastifyInstance } from 'fastify';
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
import { FaultError, type Fault } from '../../state/faults.ts';
import { ContainerId } from '../../state/names.ts';
import { NetworkRequest, NetworkUpdate } from '../../state/network.ts';
import { authorise, authoriseRepair, type Peer, peerOf } from '../requests/authorise.ts';
import type { Connections } from '../requests/connections.ts';
import type { AppliedPlan } from '../containers/admission.ts';
import type { Containers } from '../containers/containers.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import { noSuchContainer } from '../events/events.ts';
import type { Recent } from '../notifications/recent.ts';
import type { Attachments } from '../fronts/attachments.ts';
import type { Networks } from '../networks/networks.ts';
import type { Overlays } from '../overlay/overlays.ts';
import type { Shared } from '../outsides/shared.ts';
import { addInspectorRoutes, type InspectorRoutes } from './inspector.ts';
import type { Plans } from '../plans/plans.ts';
import { openApi, paths } from './openapi/openapi.ts';
import { addCniRoutes } from './cni-routes.ts';
import { addRouteRules } from './route-rules.ts';
import { addJournalRoutes } from './journal-routes.ts';
import { sendAnswer } from './event-answer.ts';
import { type Answered, streamEvents } from './event-stream.ts';
import { parse } from '../requests/parse.ts';
import { addNetavarkRoutes } from './netavark-routes.ts';
import { addNotificationRoutes } from './notification-routes.ts';
import { addPlanRoutes, isDryRun, plannerOf, waits } from './plans.ts';
import { asFault, refusal } from '../requests/refusals.ts';
import type { Call, Requests } from '../requests/requests.ts';
import { traced } from '../requests/traced.ts';
import { createServer } from './server.ts';
import type { Traces } from '../traces/traces.ts';
import { warningsOf } from '../events/warnings.ts';
import { addWhyRoutes, type WhyRoutes } from './why-routes.ts';

export interface ApiParts extends InspectorRoutes, Pick<WhyRoutes, 'why'> {
  connections: Connections;
  requests: Requests;
  /** Null if the daemon does not trace. */
  traces: Traces | null;
  containers: Containers;
  recent: Recent;
  networks: Networks;
  overlays: Pick<Overlays, 'view'>;
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

export function createApi(parts: ApiParts): FastifyInstance {
  const { connections, containers, networks, plans, requests, traces } = parts;
  const api = createServer({ connections, refusal: asFault });
  addRouteRules(api, paths);
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

  async function carryOut(
    event: LifecycleEvent,
    call: Call,
    applied: AppliedPlan | null,
  ): Promise<{ status: number; body: EventAnswer }> {
    const snapshot = await requests.send(event, call, applied);
    const warnings = warningsOf(
      event,
      snapshot,
      () => networks.all(),
      (outside) => parts.firewalld(outside),
    );
    const view = viewOf(snapshot, parts);
    return { status: call.wait ? 200 : 202, body: warnings.length === 0 ? view : { ...view, warnings } };
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
    const { headers } = request;
    const definition = await requests.createNetwork(asked, { peer: peerOf(request.raw.socket), headers });
    return reply.code(201).header('location', `/v1/networks/${definition.name}`).send(definition);
  });
  api.get<{ Params: { name: string } }>('/v1/networks/:name', (request) => networks.get(request.params.name));
  api.get<{ Params: { name: string } }>('/v1/networks/:name/overlay', ({ params }) => {
    const { name, driver } = networks.get(params.name);
    const view = parts.overlays.view(name);
    if (view !== null) return view;
    const why = driver === 'overlay' ? 'the daemon was started without --etcd' : `it is of driver ${driver}`;
    throw new FaultError('NO_STORE', `network ${name} takes part in no overlay: ${why}`);
  });
  api.patch<{ Params: { name: string } }>('/v1/networks/:name', ({ params: { name: network }, headers, body }) => {
    const update = parse(NetworkUpdate, body);
    return traced(traces, 'network.update', { headers, network }, () => networks.update(network, update));
  });
  api.delete<{ Params: { name: string } }>('/v1/networks/:name', async (request, reply) => {
    await requests.removeNetwork(request.params.name, request);
    return reply.code(204).send();
  });

  addInspectorRoutes(api, parts);
  addNetavarkRoutes(api, { ...parts, send: (event, call) => requests.send(event, call) });
  addCniRoutes(api, { ...parts, send: (event, call) => requests.send(event, call) });

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

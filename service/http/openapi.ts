/**
 * The description of the API: OpenAPI 3.1, made from the schemas of state/. They check the requests and type the answers.
 *
 * Guarantees: a changed schema changes the description.
 * Limits: the schema of an answer that is a stream describes one line of it.
 */
import { FAULTS } from '../../state/faults.ts';
import type { Paths } from './route-rules.ts';
import type { schemas } from './openapi-schemas.ts';

type SchemaName = keyof typeof schemas;

const pointer = (name: SchemaName) => `#/components/schemas/${name}`;
const ref = (name: SchemaName) => ({ $ref: pointer(name) });
const list = (name: SchemaName) => ({ type: 'array', items: ref(name) });
const json = (schema: object) => ({ 'application/json': { schema } });
const lines = (name: SchemaName) => ({ 'application/x-ndjson': { schema: ref(name) } });
const answer = (description: string, schema: object) => ({ description, content: json(schema) });
const text = (description: string) => ({ description, content: { 'text/plain': { schema: { type: 'string' } } } });
const error = answer(`An error: ${Object.keys(FAULTS).join(', ')}`, ref('ErrorAnswer'));
const parameter = (name: string, where: 'path' | 'query' | 'header', description: string) => ({
  name,
  in: where,
  required: where === 'path',
  description,
  schema: { type: 'string' },
});

const PREFER = parameter(
  'Prefer',
  'header',
  'respond-async: answer as soon as the event is certain to be done (RFC 7240)',
);

const NETNS = { ...parameter('netns', 'query', "path of the container's namespace"), required: true };
const OF_NETWORK = { ...parameter('network', 'query', 'name of the network'), required: true };
/** A command of a CNI plugin. */
const cni = (done: string, status: 200 | 204) => ({
  summary: `What the CNI plugin is asked for, for \`cleat-cni\`; for root. ${done}, or an error of the specification`,
  requestBody: { required: true, content: json(ref('CniRequest')) },
  responses: {
    [status]: status === 200 ? answer(done, ref('CniResult')) : { description: done },
    default: answer('An error as the CNI specification has it', ref('CniError')),
  },
});

/** The routes are held to it, too (route-rules.ts). */
export const paths: Paths = {
  '/v1/events': {
    post: {
      summary: 'One lifecycle event, or many as NDJSON. `Prefer: respond-async` answers 202 once it is durable.',
      parameters: [parameter('dry_run', 'query', 'true: nothing is done, the answer is the Plan of the event'), PREFER],
      requestBody: { required: true, content: { ...json(ref('LifecycleEvent')), ...lines('LifecycleEvent') } },
      responses: {
        200: {
          description: 'The container after the event, and `warnings`, or the plan; of many events one line each',
          content: {
            ...json({ anyOf: [ref('EventAnswer'), ref('Plan')] }),
            'application/x-ndjson': { schema: { anyOf: [ref('EventLine'), ref('PlanLine')] } },
          },
        },
        202: answer('The container as it is when the event is durable', ref('EventAnswer')),
        default: error,
      },
    },
    get: {
      summary:
        'What happens, as it happens: NDJSON, or SSE with ids and signs of life. `missed` comes first if what came after ' +
        'Last-Event-ID is not kept: the last 4096 of this run of the daemon are.',
      parameters: [
        parameter('id', 'query', 'only this container'),
        parameter(
          'since',
          'query',
          'first what has happened since then, as far as the daemon has kept it; ms since the epoch',
        ),
        parameter('until', 'query', 'the answer ends then; ms since the epoch'),
        parameter('Accept', 'header', 'text/event-stream: SSE in place of NDJSON'),
        parameter('Last-Event-ID', 'header', 'first what has happened after this message of SSE, in place of `since`'),
      ],
      responses: {
        200: {
          description: 'One notification per line',
          content: { ...lines('Notification'), 'text/event-stream': { schema: ref('Notification') } },
        },
        default: error,
      },
    },
  },
  '/v1/plans/{hash}': {
    get: {
      summary: 'A plan that is kept for whoever made it, as it was answered',
      parameters: [parameter('hash', 'path', 'hash of a plan')],
      responses: { 200: answer('The plan', ref('Plan')), default: error },
    },
  },
  '/v1/plans/{hash}/apply': {
    post: {
      summary: 'Do what the plan says, once; PLAN_OUTDATED if something that it rests on has moved',
      parameters: [parameter('hash', 'path', 'hash of a plan'), PREFER],
      responses: {
        200: answer('As that of its event', ref('EventAnswer')),
        202: answer('As that of its event', ref('EventAnswer')),
        default: error,
      },
    },
  },
  '/v1/cni/add': { post: cni('The result of the ADD', 200) },
  '/v1/cni/check': { post: cni('It is as the result of the ADD says', 204) },
  '/v1/cni/del': { post: cni('Nothing is left of the attachment', 204) },
  '/v1/cni/gc': { post: cni('Nothing is left of what the runtime does not know any more', 204) },
  '/v1/cni/status': { post: cni('The network can take a container', 204) },
  '/v1/containers': {
    get: {
      summary: 'All containers, or those of them that exist',
      parameters: [parameter('id', 'query', 'only this container; may be repeated')],
      responses: { 200: answer('List', list('ContainerView')), default: error },
    },
  },
  '/v1/containers/{id}': {
    get: {
      summary:
        'One container in full: NetworkSettings as Docker and Podman have it, `drift` where the kernel differs. ' +
        'Waits for a state when asked to.',
      parameters: [
        parameter('id', 'path', 'container'),
        parameter('wait', 'query', 'until it is in this state or has passed it: up, gone, ...'),
        parameter('timeout', 'query', 'milliseconds'),
      ],
      responses: {
        200: answer('The container', { anyOf: [ref('Inspection'), ref('Gone')] }),
        default: error,
      },
    },
  },
  '/v1/containers/{id}/history': {
    get: {
      summary: 'State changes, oldest first',
      parameters: [parameter('id', 'path', 'container')],
      responses: { 200: answer('List', list('JournalEntry')), default: error },
    },
  },
  '/v1/containers/{id}/machine': {
    get: {
      summary: "The container's machine as XState persists it, and the events that are legal now",
      parameters: [parameter('id', 'path', 'container')],
      responses: { 200: answer('Snapshot', ref('MachineSnapshot')), default: error },
    },
  },
  '/v1/inspector': {
    get: {
      summary:
        'Everything as it is, then everything that changes, for the inspector: SSE with ids. Last-Event-ID goes on after ' +
        'that message, if the daemon still has what came after it.',
      parameters: [
        parameter('Last-Event-ID', 'header', 'the id of the last message that arrived'),
        parameter('last', 'query', 'as Last-Event-ID, for clients that cannot set it'),
        parameter('read_only', 'query', 'hello says that no event may be sent: for a proxy that sends none'),
      ],
      responses: {
        200: {
          description: 'Messages; `event` and `data` of each are fields of text/event-stream',
          content: { 'text/event-stream': { schema: ref('InspectorMessage') } },
        },
        default: error,
      },
    },
  },
  '/v1/inspector/stately': {
    get: {
      summary: 'All actors, then what XState says of them, in the shapes of @statelyai/inspect: SSE',
      responses: {
        200: {
          description: 'Messages; `event` and `data` of each are fields of text/event-stream',
          content: { 'text/event-stream': { schema: ref('StatelyMessage') } },
        },
        default: error,
      },
    },
  },
  '/v1/containers/{id}/export': {
    get: {
      summary:
        'The journal: a first line about the export, the lines, a last line with their number. `cleat replay` takes it.',
      parameters: [parameter('id', 'path', 'container')],
      responses: { 200: { description: 'One line each', content: lines('ExportLine') }, default: error },
    },
  },
  '/v1/containers/{id}/stats': {
    get: {
      summary: 'Counters of each interface but loopback; null without a namespace of its own (netns host)',
      parameters: [parameter('id', 'path', 'container')],
      responses: { 200: answer('Counters', ref('ContainerStats')), default: error },
    },
  },
  '/v1/containers/{id}/why': {
    get: {
      summary: 'Why it is as it is: the state of each part, what led there, what blocks it, what would unblock it',
      parameters: [parameter('id', 'path', 'container')],
      responses: { 200: answer('The reasons', ref('Why')), default: error },
    },
  },
  '/v1/stats': {
    get: {
      summary: 'Counters of all containers; null for one whose namespace cannot be read',
      responses: { 200: answer('List', list('ContainerStats')), default: error },
    },
  },
  '/v1/networks': {
    get: {
      summary: 'All networks',
      responses: { 200: answer('List', list('NetworkDefinition')), default: error },
    },
    post: {
      summary: 'Make a network; everything but the name has a default',
      requestBody: { required: true, content: json(ref('NetworkRequest')) },
      responses: { 201: answer('The definition, and `warnings`', ref('NetworkAnswer')), default: error },
    },
  },
  '/v1/networks/{name}': {
    get: {
      summary: 'One network, by name or (unique beginning of its) id',
      parameters: [parameter('name', 'path', 'network')],
      responses: { 200: answer('The definition', ref('NetworkDefinition')), default: error },
    },
    patch: {
      summary: 'Change a network under its containers: all of them follow, or nothing changes',
      parameters: [parameter('name', 'path', 'network')],
      requestBody: { required: true, content: json(ref('NetworkUpdate')) },
      responses: { 200: answer('The definition, and `warnings`', ref('NetworkAnswer')), default: error },
    },
    delete: {
      summary: 'Remove a network that nobody uses',
      parameters: [parameter('name', 'path', 'network')],
      responses: { 204: { description: 'Removed' }, default: error },
    },
  },
  '/v1/netavark/setup': {
    post: {
      summary: 'What `netavark setup` is sent, for `cleat-netavark`: the container is on these networks; for root',
      parameters: [NETNS],
      requestBody: { required: true, content: json(ref('NetavarkSetup')) },
      responses: { 200: answer('As netavark answers', ref('NetavarkAnswer')), default: error },
    },
  },
  '/v1/netavark/teardown': {
    post: {
      summary: 'What `netavark teardown` is sent: the container is on none of these networks any more; for root',
      parameters: [NETNS],
      requestBody: { required: true, content: json(ref('NetavarkTeardown')) },
      responses: { 204: { description: 'Done, or nothing was left to do' }, default: error },
    },
  },
  '/v1/netavark/create': {
    post: {
      summary: 'What `netavark create` is sent: a definition is completed and checked, and nothing is made; for root',
      requestBody: { required: true, content: json(ref('NetavarkCreate')) },
      responses: { 200: answer('The network, as Podman keeps it', ref('NetavarkNetwork')), default: error },
    },
  },
  '/v1/netavark/update': {
    post: {
      summary: 'What `netavark update` is told: the servers for names that are not ours; for root',
      parameters: [OF_NETWORK],
      requestBody: { required: true, content: json(ref('NetavarkUpdate')) },
      responses: { 204: { description: 'Done, or no container is on the network' }, default: error },
    },
  },
  '/v1/audit': {
    get: {
      summary: 'Kernel, mounts, processes and snapshots compared; `removable`: a repair takes it away',
      responses: { 200: answer('Report', ref('AuditReport')), default: error },
    },
  },
  '/v1/audit/repair': {
    post: {
      summary: 'Take away what is ours and nobody names; for root',
      responses: {
        200: answer('Report afterwards, and what was `removed` and `refused`', ref('RepairReport')),
        default: error,
      },
    },
  },
  '/v1/doctor': {
    get: {
      summary: 'Is this machine fit',
      responses: { 200: answer('Checks', ref('DoctorReport')), default: error },
    },
  },
  '/v1/version': {
    get: { summary: 'Version and instance', responses: { 200: answer('Version', ref('Version')), default: error } },
  },
  '/metrics': { get: { summary: 'Numbers for Prometheus (docs/metrics.md)', responses: { 200: text('Metrics') } } },
  '/_ping': { get: { summary: 'Whether the daemon answers', responses: { 200: text('OK') } } },
};

/** Loads the schemas of all answers (openapi-schemas.ts), of which nothing else is made. */
export async function openApi(): Promise<object> {
  const { components } = await import('./openapi-schemas.ts');
  return {
    openapi: '3.1.0',
    info: { title: 'cleat', version: 'v1', description: 'Container networks over a Unix socket.' },
    paths: withOperationIds(paths),
    components: { schemas: components() },
  };
}

/** Names each operation by its method and path, as generated clients call it: getContainersIdHistory. */
function withOperationIds(all: Paths): object {
  const capital = (word: string) => `${word.slice(0, 1).toUpperCase()}${word.slice(1)}`;
  const nameOf = (method: string, path: string) =>
    [
      method,
      ...path
        .replace(/^\/v1\//, '')
        .split(/\W+|_/)
        .filter(Boolean)
        .map(capital),
    ].join('');
  const named = Object.entries(all).map(([path, operations]) => {
    const each = Object.entries(operations).map(([method, operation]) => [
      method,
      { operationId: nameOf(method, path), ...operation },
    ]);
    return [path, Object.fromEntries(each) as object];
  });
  return Object.fromEntries(named) as object;
}

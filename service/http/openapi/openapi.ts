/**
 * The description of the API: OpenAPI 3.1, made from the schemas of state/. They check the requests and type the answers.
 *
 * Guarantees: a changed schema changes the description.
 * Limits: the schema of an answer that is a stream describes one line of it.
 */
import {
  answer,
  anyOf,
  body,
  BOOLEAN,
  error,
  header,
  INTEGER,
  json,
  lines,
  list,
  query,
  ref,
  required,
  sse,
  STRING,
  text,
  withHeaders,
  type Paths,
} from './openapi-words.ts';

const LOCATION = [
  'Location',
  'the path of the container or of the network; of an event that is only planned, that of its plan',
] as const;
const APPLIED = ['Preference-Applied', 'respond-async'] as const;

const PREFER = header('Prefer', 'respond-async: answer as soon as the event is certain to be done (RFC 7240)');
const ID = required('id', 'path', 'container: its id, its name, or the beginning of an id');
const NETWORK = required('name', 'path', 'network: its name, or the unique beginning of its id');
const PLAN = required('hash', 'path', 'hash of a plan');
const NETNS = required('netns', 'query', "path of the container's namespace");

/** A command of a CNI plugin. */
const cni = <Responses extends object>(done: string, responses: Responses) => ({
  summary: `What the CNI plugin is asked for, for \`cleat-cni\`; for root. ${done}, or an error of the specification`,
  requestBody: body('CniRequest'),
  responses: { ...responses, default: answer('An error as the CNI specification has it', ref('CniError')) },
});
const done = (description: string) => ({ 204: { description } });

/** The routes are held to it, too (route-rules.ts). */
export const paths = {
  '/v1/events': {
    post: {
      summary: 'One lifecycle event, or many as NDJSON. `Prefer: respond-async` answers 202 once it is durable.',
      parameters: [query('dry_run', 'true: nothing is done, the answer is the Plan of the event', BOOLEAN), PREFER],
      requestBody: { required: true, content: { ...json(ref('LifecycleEvent')), ...lines(ref('LifecycleEvent')) } },
      responses: {
        200: withHeaders(
          {
            description: 'The container after the event, and `warnings`, or the plan; of many events one line each',
            content: {
              ...json(anyOf(ref('EventAnswer'), ref('Plan'))),
              ...lines(anyOf(ref('EventLine'), ref('PlanLine'))),
            },
          },
          LOCATION,
        ),
        202: withHeaders(
          answer('The container as it is when the event is durable', ref('EventAnswer')),
          LOCATION,
          APPLIED,
        ),
        default: error,
      },
    },
    get: {
      summary:
        'What happens, as it happens: NDJSON, or SSE with signs of life. `missed` comes first if what came after ' +
        'Last-Event-ID is not kept: the last 4096 of this run of the daemon are.',
      parameters: [
        query('id', 'only this container'),
        query(
          'since',
          'first what has happened since then, as far as the daemon has kept it; ms since the epoch',
          INTEGER,
        ),
        query('until', 'the answer ends then; ms since the epoch', INTEGER),
        header('Accept', 'text/event-stream: SSE in place of NDJSON'),
        header(
          'Last-Event-ID',
          'first what has happened after this one (its id in SSE, its event_id in NDJSON), in place of `since`',
        ),
      ],
      responses: {
        200: {
          description: 'One notification per line',
          content: { ...lines(ref('Notification')), ...sse(ref('Notification')) },
        },
        default: error,
      },
    },
  },
  '/v1/plans/{hash}': {
    get: {
      summary: 'A plan that is kept for whoever made it, as it was answered',
      parameters: [PLAN],
      responses: { 200: answer('The plan', ref('Plan')), default: error },
    },
  },
  '/v1/plans/{hash}/apply': {
    post: {
      summary: 'Do what the plan says, once; PLAN_OUTDATED if something that it rests on has moved',
      parameters: [PLAN, PREFER],
      responses: {
        200: withHeaders(answer('As that of its event', ref('EventAnswer')), LOCATION),
        202: withHeaders(answer('As that of its event', ref('EventAnswer')), LOCATION, APPLIED),
        default: error,
      },
    },
  },
  '/v1/cni/add': { post: cni('The result of the ADD', { 200: answer('The result of the ADD', ref('CniResult')) }) },
  '/v1/cni/check': { post: cni('It is as the result of the ADD says', done('It is as the result of the ADD says')) },
  '/v1/cni/del': { post: cni('Nothing is left of the attachment', done('Nothing is left of the attachment')) },
  '/v1/cni/gc': {
    post: cni(
      'Nothing is left of what the runtime does not know any more',
      done('Nothing is left of what the runtime does not know any more'),
    ),
  },
  '/v1/cni/status': { post: cni('The network can take a container', done('The network can take a container')) },
  '/v1/containers': {
    get: {
      summary: 'All containers, or those of them that exist',
      parameters: [query('id', 'only these containers; may be repeated', { type: 'array', items: STRING })],
      responses: { 200: answer('List', list('ContainerView')), default: error },
    },
  },
  '/v1/containers/{id}': {
    get: {
      summary:
        'One container in full: NetworkSettings as Docker and Podman have it, `drift` where the kernel differs. ' +
        'Waits for a state when asked to.',
      parameters: [
        ID,
        query('wait', 'until it is in this state or has passed it: up, gone, ...'),
        query('timeout', 'of the wait, in milliseconds: 30000 unless said, at most 300000', INTEGER),
      ],
      responses: {
        200: answer('The container', anyOf(ref('Inspection'), ref('Gone'))),
        default: error,
      },
    },
  },
  '/v1/containers/{id}/history': {
    get: {
      summary: 'State changes, oldest first',
      parameters: [ID],
      responses: { 200: answer('List', list('JournalEntry')), default: error },
    },
  },
  '/v1/containers/{id}/machine': {
    get: {
      summary: "The container's machine as XState persists it, and the events that are legal now",
      parameters: [ID],
      responses: { 200: answer('Snapshot', ref('MachineSnapshot')), default: error },
    },
  },
  '/v1/inspector': {
    get: {
      summary:
        'Everything as it is, then everything that changes, for the inspector: SSE with ids. Last-Event-ID goes on after ' +
        'that message, if the daemon still has what came after it.',
      parameters: [
        header('Last-Event-ID', 'the id of the last message that arrived'),
        query('last', 'as Last-Event-ID, for clients that cannot set it'),
        query('read_only', 'hello says that no event may be sent: for a proxy that sends none'),
      ],
      responses: {
        200: {
          description: 'Messages; `event` and `data` of each are fields of text/event-stream',
          content: sse(ref('InspectorMessage')),
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
          content: sse(ref('StatelyMessage')),
        },
        default: error,
      },
    },
  },
  '/v1/containers/{id}/export': {
    get: {
      summary:
        'The journal: a first line about the export, the lines, a last line with their number. `cleat replay` takes it.',
      parameters: [ID],
      responses: { 200: { description: 'One line each', content: lines(ref('ExportLine')) }, default: error },
    },
  },
  '/v1/containers/{id}/stats': {
    get: {
      summary: 'Counters of each interface but loopback; null without a namespace of its own (netns host)',
      parameters: [ID],
      responses: { 200: answer('Counters', ref('ContainerStats')), default: error },
    },
  },
  '/v1/containers/{id}/why': {
    get: {
      summary: 'Why it is as it is: the state of each part, what led there, what blocks it, what would unblock it',
      parameters: [ID],
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
      requestBody: body('NetworkRequest'),
      responses: {
        201: withHeaders(answer('The definition, and `warnings`', ref('NetworkAnswer')), LOCATION),
        default: error,
      },
    },
  },
  '/v1/networks/{name}': {
    get: {
      summary: 'One network, by name or (unique beginning of its) id',
      parameters: [NETWORK],
      responses: { 200: answer('The definition', ref('NetworkDefinition')), default: error },
    },
    patch: {
      summary: 'Change a network under its containers: all of them follow, or nothing changes',
      parameters: [NETWORK],
      requestBody: body('NetworkUpdate'),
      responses: { 200: answer('The definition, and `warnings`', ref('NetworkAnswer')), default: error },
    },
    delete: {
      summary: 'Remove a network that nobody uses',
      parameters: [NETWORK],
      responses: { ...done('Removed'), default: error },
    },
  },
  '/v1/networks/{name}/overlay': {
    get: {
      summary: 'How this host takes part in an overlay network: its shares, the other hosts, and what is wrong',
      parameters: [NETWORK],
      responses: { 200: answer('As this daemon knows it', ref('OverlayView')), default: error },
    },
  },
  '/v1/netavark/setup': {
    post: {
      summary: 'What `netavark setup` is sent, for `cleat-netavark`: the container is on these networks; for root',
      parameters: [NETNS],
      requestBody: body('NetavarkSetup'),
      responses: { 200: answer('As netavark answers', ref('NetavarkAnswer')), default: error },
    },
  },
  '/v1/netavark/teardown': {
    post: {
      summary: 'What `netavark teardown` is sent: the container is on none of these networks any more; for root',
      parameters: [NETNS],
      requestBody: body('NetavarkTeardown'),
      responses: { ...done('Done, or nothing was left to do'), default: error },
    },
  },
  '/v1/netavark/create': {
    post: {
      summary: 'What `netavark create` is sent: a definition is completed and checked, and nothing is made; for root',
      requestBody: body('NetavarkCreate'),
      responses: { 200: answer('The network, as Podman keeps it', ref('NetavarkNetwork')), default: error },
    },
  },
  '/v1/netavark/update': {
    post: {
      summary: 'What `netavark update` is told: the servers for names that are not ours; for root',
      parameters: [required('network', 'query', 'name of the network')],
      requestBody: body('NetavarkUpdate'),
      responses: { ...done('Done, or no container is on the network'), default: error },
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
  '/v1/openapi.json': {
    get: {
      summary: 'This description',
      responses: { 200: answer('OpenAPI 3.1', { type: 'object' } as const), default: error },
    },
  },
  '/metrics': { get: { summary: 'Numbers for Prometheus (docs/metrics.md)', responses: { 200: text('Metrics') } } },
  '/_ping': { get: { summary: 'Whether the daemon answers', responses: { 200: text('OK') } } },
} as const satisfies Paths;

/** Loads the schemas of all answers (openapi-schemas.ts), of which nothing else is made. */
export async function openApi(): Promise<object> {
  const { components } = await import('./openapi-schemas.ts');
  return {
    openapi: '3.1.0',
    info: {
      title: 'cleat',
      version: 'v1',
      description:
        'Container networks over a Unix socket. A parameter that a route does not have is refused with 400, a method that a ' +
        'path does not have with 405 and the header Allow, a body of another type with 415.',
    },
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

/**
 * Containers, networks and what they share as the daemon describes them, without a daemon: for tests of the inspector's page that
 * need many, or need them to do something at a given moment.
 */
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { JournalLine } from '../../state/answers/container/history.ts';
import type { EffectEnd, Passage, SharedView } from '../../state/answers/inspector.ts';
import type { NetworkDefinition } from '../../state/network.ts';

export const NETWORKS = ['web', 'back', 'lan'];
const CREATED = '2026-03-04T10:20:30.000Z';
const AT_REST = ['configure', 'connect', 'disconnect', 'reload', 'publish', 'unpublish', 'teardown'];

export function network(name: string, n: number): NetworkDefinition {
  return {
    name,
    id: String(n).repeat(64).slice(0, 64),
    driver: 'bridge',
    network_interface: `cleat${n}`,
    created: CREATED,
    subnets: [{ subnet: `10.90.${n}.0/24`, gateway: `10.90.${n}.1` }],
    ipv6_enabled: false,
    internal: false,
    dns_enabled: true,
    labels: {},
    options: {},
    routes: [],
    network_dns_servers: [],
    ipam_options: { driver: 'host-local' },
  };
}

export function container(n: number, more: Partial<ContainerView> = {}): ContainerView {
  const name = NETWORKS[n % NETWORKS.length] ?? 'web';
  const address = `10.90.${(n % NETWORKS.length) + 1}.${2 + (n % 250)}/24`;
  return {
    id: `c${n}`,
    name: `c${n}`,
    hostname: null,
    pod: null,
    state: 'up',
    legal: AT_REST,
    generation: n,
    created: CREATED,
    netns: { mode: 'new', path: `/run/netns/netns-${n}`, dev: 4, ino: 4026532000 + n },
    outside: null,
    bound_to: null,
    exit_fd: null,
    networks: { [name]: { interfaces: { eth0: { mac_address: '02:00:00:00:00:01', subnets: [{ ipnet: address }] } } } },
    requested_networks: { [name]: {} },
    uplink: null,
    port_handler: 'firewall',
    ports: n % 3 === 0 ? [{ host_ip: '', host_port: 8000 + n, container_port: 80, protocol: 'tcp', range: 1 }] : [],
    files: null,
    drift: [],
    owner_gone: false,
    fault: null,
    last_operation: { type: 'configure', network: null, fault: null },
    leftovers: [],
    ...more,
  };
}

export const fleet = (count: number): ContainerView[] => Array.from({ length: count }, (_, n) => container(n));

export function sharedBy(containers: readonly ContainerView[]): SharedView[] {
  const machine = (kind: SharedView['kind'], name: string, state: string, users: string[]): SharedView => ({
    kind,
    key: `${kind} ${name}`,
    name,
    outside: null,
    state,
    users,
    fault: null,
    detail: { users: users.length },
  });
  const on = (name: string): string[] =>
    containers.filter(({ networks }) => networks[name] !== undefined).map(({ id }) => id);
  const published = containers.filter(({ ports }) => ports.length > 0).map(({ id }) => id);
  return [
    ...NETWORKS.map((name) => machine('network', name, 'up', on(name))),
    machine('firewall', 'firewall', 'up', NETWORKS),
    machine('firewalld', 'firewalld', 'idle', []),
    machine('ports', 'ports', 'granting', published),
    machine('resolver', 'resolver', 'serving', on('web')),
  ];
}

/** One step of a configuration: machine, event, the state that it leads to, how long the state before lasted, and by which edge. */
type Step = [machine: string, event: string, to: string, ms: number, edge: string];

const STEPS: Step[] = [
  ['container', 'configure', 'configuring.leasing', 120, 'created|configure|0'],
  [
    'container',
    'xstate.done.actor.lease',
    'configuring.attaching',
    0.8,
    'configuring.leasing|xstate.done.actor.lease|0',
  ],
  ['attachment', 'xstate.init', 'linking', 0, ''],
  ['attachment', 'xstate.done.actor.ensureLink', 'addressing', 1.9, 'linking|xstate.done.actor.ensureLink|0'],
  [
    'attachment',
    'xstate.done.actor.ensureAddresses',
    'attached',
    0.6,
    'addressing|xstate.done.actor.ensureAddresses|0',
  ],
  [
    'container',
    'xstate.done.actor.attachment',
    'configuring.naming',
    2.7,
    'configuring.attaching|xstate.done.actor.attachment|0',
  ],
  ['container', 'xstate.done.actor.name', 'configuring.publishing', 6.4, 'configuring.naming|xstate.done.actor.name|0'],
  ['container', 'xstate.done.actor.publish', 'up', 0.9, 'configuring.publishing|xstate.done.actor.publish|0'],
];
const EFFECTS: Record<string, string> = {
  'xstate.done.actor.lease': 'lease',
  'xstate.done.actor.ensureLink': 'ensureLink',
  'xstate.done.actor.ensureAddresses': 'ensureAddresses',
  'xstate.done.actor.name': 'name',
  'xstate.done.actor.publish': 'publish',
};

type Said = { event: 'passage'; data: Passage } | { event: 'effect'; data: EffectEnd };

/** What the stream says of one configuration that begins at `t`. */
export function configuration(id: string, t: number): Said[] {
  let now = t;
  const states: Record<string, string> = { container: 'created', attachment: '' };
  const said = STEPS.flatMap(([machine, event, to, ms, edge], index): Said[] => {
    now += index === 0 ? 0 : ms;
    const at = Math.round(now);
    const from = states[machine] ?? '';
    states[machine] = to;
    const passage = {
      event: 'passage' as const,
      data: { id, t: at, machine, event, from, to, ms, edges: edge === '' ? [] : [edge] },
    };
    const name = EFFECTS[event];
    return name === undefined
      ? [passage]
      : [{ event: 'effect' as const, data: { id, t: at, machine, name, ms, ok: true } }, passage];
  });
  // A child is told of before the state that invokes it.
  const child = said.findIndex(({ data }) => 'event' in data && data.event === 'xstate.init');
  return [...said.slice(0, child - 1), ...said.slice(child - 1, child + 1).reverse(), ...said.slice(child + 1)];
}

/** The journal of a container that was created and configured. */
export function journal(id: string, t: number): JournalLine[] {
  const view = { id, request: { networks: { web: {} } }, attachments: [] as unknown[], fault: null };
  const lines: JournalLine[] = [
    { kind: 'start', t: t - 130, how: 'created', machine: '3', input: view },
    { kind: 'passage', t: t - 130, machine: 'container', event: 'xstate.init', from: '', to: 'creating', ms: 0 },
    {
      kind: 'passage',
      t: t - 120,
      machine: 'container',
      event: 'xstate.done.actor.ensureNamespace',
      from: 'creating',
      to: 'created',
      ms: 0.6,
    },
    { kind: 'event', t, event: 'configure' },
  ];
  for (const message of configuration(id, t)) {
    if (message.event === 'effect') lines.push({ kind: 'effect', ...message.data, ...madeBy(message.data.name, id) });
    else {
      const { id: _id, edges: _edges, ...entry } = message.data;
      const patch =
        entry.to === 'configuring.attaching'
          ? { patch: [{ op: 'add' as const, path: '/attachments/0', value: ATTACHMENT }] }
          : {};
      lines.push({ kind: 'passage', ...entry, ...patch, ...(entry.to === 'up' ? { children: {} } : {}) });
    }
  }
  return lines;
}

const ATTACHMENT = {
  network: 'web',
  link: 'eth0',
  addresses: [{ address: '10.90.1.2', prefix: 24, gateway: '10.90.1.1' }],
};

function madeBy(effect: string, id: string): Pick<Extract<JournalLine, { kind: 'effect' }>, 'made'> {
  switch (effect) {
    case 'ensureLink':
      return {
        made: [
          { kind: 'link', name: `veth-${id}`, detail: 'on cleat1' },
          { kind: 'link', name: 'eth0', detail: '02:00:00:00:00:01' },
        ],
      };
    case 'ensureAddresses':
      return { made: [{ kind: 'address', name: '10.90.1.2/24', detail: 'on eth0' }] };
    case 'publish':
      return { made: [{ kind: 'port', name: '*:8080/tcp -> 10.90.1.2 80', detail: 'firewall' }] };
    default:
      return {};
  }
}

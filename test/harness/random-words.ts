/**
 * The random commands for a daemon, and the effect of each on a container: the smallest model of the lifecycle.
 *
 * Guarantees: a command is plain JSON: printed ones can be pasted and repeated. The model knows the container after
 * each successful command; after a failed one it is unchanged, which needs no model.
 * Limits: the daemon decides whether a command succeeds. Host ports are always requested by number.
 */
import fc from 'fast-check';
import type { ContainerContext } from '../../state/container.ts';
import type { LifecycleEvent, PortMapping } from '../../state/event.ts';

/** The next step towards a container that is up: create it, or configure it, or repair it. */
export type Command = LifecycleEvent | { type: 'go'; id: string } | { type: 'update'; network: string; mtu: string };

/** Commands at the same time; then the daemon is killed: where it passes a point, or after so many milliseconds. */
export interface Group {
  commands: Command[];
  kill?: string | number;
}

/** The relevant parts of a container, null where there is none. */
export type Shape = { state: string; held: boolean; networks: string[]; ports: string[] } | null;

const INTERNAL = 'inner';
export const NETWORKS = ['front', 'dual', INTERNAL];

const P80: PortMapping = { host_port: 8080, container_port: 80 };
const LOCAL80: PortMapping = { host_ip: '127.0.0.1', host_port: 8080, container_port: 80 };
const P70: PortMapping = { host_port: 7070, container_port: 70 };
const P90: PortMapping = { host_port: 9090, container_port: 90, protocol: 'udp' };

/** The request of a container that is created by `go`. */
const WISHES: Record<string, Omit<Extract<LifecycleEvent, { type: 'create' }>, 'type' | 'id'>> = {
  a: { networks: { front: {}, dual: {} }, port_mappings: [P80] },
  b: { networks: { dual: {} }, port_mappings: [P90] },
  c: { networks: { front: {} } },
  s: { netns: { mode: 'container', id: 'a' } },
  t: { netns: { mode: 'container', id: 's' } },
  u: { uplink: { program: 'slirp4netns' }, port_mappings: [P70] },
};

/** The event for a container of this shape. */
export function eventOf(command: Exclude<Command, { type: 'update' }>, shape: Shape): LifecycleEvent {
  if (command.type !== 'go') return command;
  const { id } = command;
  if (shape === null) return { type: 'create', id, ...WISHES[id] };
  return shape.state === 'created' ? { type: 'configure', id } : { type: 'reload', id };
}

const portText = ({ host_ip = '', host_port = 0, container_port, protocol = 'tcp' }: PortMapping): string =>
  `${host_ip}:${host_port}->${container_port}/${protocol}`;

const sorted = (all: Iterable<string>): string[] => [...new Set(all)].sort();

/** Its shape according to its record. */
export function shapeOf({ value, context }: { value: unknown; context: ContainerContext }): Shape {
  const { ownerGone: held, request, attachments, ports, configured } = context;
  const state = typeof value === 'string' ? value : JSON.stringify(value);
  const asked = { networks: Object.keys(request.networks), ports: request.ports.map(portText) };
  const has = {
    networks: attachments.map(({ network }) => network),
    ports: ports.map((port) =>
      portText({
        host_ip: port.hostIp,
        host_port: port.hostPort,
        container_port: port.containerPort,
        protocol: port.protocol,
      }),
    ),
  };
  const { networks, ports: published } = configured ? has : asked;
  return { state, held, networks: sorted(networks), ports: sorted(published) };
}

/** The shapes that a container may have after a successful event. */
export function after(shape: Shape, event: LifecycleEvent): Shape[] {
  if (event.type === 'create') {
    const { networks = {}, port_mappings = [] } = event;
    if (shape !== null) return [{ ...shape, held: false }];
    return [
      {
        state: 'created',
        held: false,
        networks: sorted(Object.keys(networks)),
        ports: sorted(port_mappings.map(portText)),
      },
    ];
  }
  if (shape === null) return [];
  const { networks, ports } = shape;
  switch (event.type) {
    case 'configure':
      return [{ ...shape, state: 'up' }];
    case 'connect':
      return [{ ...shape, networks: sorted([...networks, event.network]) }];
    case 'disconnect':
      return [{ ...shape, networks: networks.filter((network) => network !== event.network) }];
    case 'publish':
      return [{ ...shape, ports: sorted([...ports, ...event.port_mappings.map(portText)]) }];
    case 'unpublish':
      return [lessPorts(shape, event.port_mappings)];
    case 'reload':
      return [shape];
    case 'teardown':
      return [null, { ...shape, held: true }];
  }
}

export function lessPorts(shape: NonNullable<Shape>, mappings: readonly PortMapping[]): NonNullable<Shape> {
  const gone = new Set(mappings.map(portText));
  return { ...shape, ports: shape.ports.filter((port) => !gone.has(port)) };
}

/** Failpoints at which it may be killed (effects/effect.ts, state/files/whole-file.ts). */
const EFFECTS = [
  'ensureNamespace removeNamespace ensureLink ensureAddresses removeLink replaceLink reviseLink publish unpublish',
  'probeUplink startUplink verifyUplink stopUplink',
  'awaitLinksGone readSwitches raiseFirewall restoreSwitches lowerFirewall',
  'raiseNetwork lowerNetwork reviseNetwork recordDefinition',
].flatMap((names) => names.split(' '));

const owner = fc.constantFrom('a', 'b', 'c');
/** True for a container with ports of its own: also behind a program, whose ports the forwarder carries. */
const publisher = fc.constantFrom('a', 'b', 'c', 'u');
const anyone = fc.constantFrom('a', 'b', 'c', 's', 't', 'u');
const network = fc.constantFrom(...NETWORKS);
const ports = fc.constantFrom<PortMapping[][]>([P80], [P90], [LOCAL80], [P80, P90]);
const given = fc.constantFrom<PortMapping[][]>([P80], [P90], [P80, P90]);

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: anyone.map((id) => ({ type: 'go' as const, id })) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(owner, network, fc.constantFrom({}, {}, { gateway_priority: 1 }))
      .map(([id, to, options]) => ({ type: 'connect' as const, id, network: to, options })),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(owner, network).map(([id, of]) => ({ type: 'disconnect' as const, id, network: of })),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(publisher, ports)
      .map(([id, port_mappings]) => ({ type: 'publish' as const, id, port_mappings })),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(owner, owner, given)
      .map(([id, from, port_mappings]) => ({ type: 'publish' as const, id, from, port_mappings })),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(publisher, ports)
      .map(([id, port_mappings]) => ({ type: 'unpublish' as const, id, port_mappings })),
  },
  { weight: 2, arbitrary: fc.tuple(anyone, fc.boolean()).map(([id, full]) => ({ type: 'reload' as const, id, full })) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(network, fc.constantFrom('1300', '1400', '1500'))
      .map(([name, mtu]) => ({ type: 'update' as const, network: name, mtu })),
  },
  { weight: 2, arbitrary: anyone.map((id) => ({ type: 'teardown' as const, id })) },
);

const point = fc
  .tuple(fc.constantFrom(...EFFECTS), fc.constantFrom('before', 'durable', 'after'), fc.integer({ min: 1, max: 2 }))
  .map(([name, when, n]) => `${name}:${when}#${n}`);
const write = fc
  .tuple(
    fc.constantFrom(
      'containers.write:before',
      'containers.write:written',
      'containers.write:after',
      'networks.write:after',
    ),
    fc.integer({ min: 1, max: 8 }),
  )
  .map(([name, n]) => `${name}#${n}`);
const kill = fc.oneof(point, point, write, fc.integer({ min: 0, max: 40 }));

export const group: fc.Arbitrary<Group> = fc
  .tuple(fc.array(command, { minLength: 1, maxLength: 4 }), fc.option(kill, { freq: 2 }))
  .map(([commands, at]) => (at === null ? { commands } : { commands, kill: at }));

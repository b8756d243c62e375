/**
 * Kinds of containers that take different ways through their machine, each with the events that matter to it.
 *
 * Guarantees: together they reach every state and every transition (container.paths.test.ts counts); each alone is
 * small, because an event in a state where it shows nothing new only multiplies the ways.
 * Limits: two networks and two ports are enough to distinguish all the machine's branches.
 */
import type { ContainerEvent, ContainerInput } from '../../machines/container/container-inputs.ts';
import type { Drift, Lease, PortRequest } from '../../state/container.ts';
import type { AttachmentOptions } from '../../state/event.ts';
import type { UplinkSettings } from '../../state/uplink.ts';
import { containerInput, externalLease, FAULT, leaseOf, pinOf, resolve, SLIRP } from './fixtures.ts';

/** States in which events are sent; `everywhere` is every state except the last. */
export type Where = 'created' | 'up' | 'degraded' | 'failed' | 'everywhere';

export interface Variant {
  input: ContainerInput;
  /** The lease that a network grants. */
  lease: (network: string) => Lease;
  words: Partial<Record<Where, ContainerEvent[]>>;
}

export const P1 = { host_port: 8080, container_port: 80 };
export const P2 = { host_port: 9090, container_port: 90 };

/** The port of another container, and its target. */
export const GIVER = 'c2:3';
export const GIVER_ADDRESS = '10.89.7.7';
export const TAKER = 'c3:5';

/** Namespaces that are joined: the neighbour's, and one that nobody here has made. */
export const NEIGHBOUR_PATH = pinOf('2');
export const OUTSIDER_PATH = '/run/netns/theirs';

const joined = { path: pinOf('1'), owned: false, from: OUTSIDER_PATH, of: null };
const shared = { ...joined, from: NEIGHBOUR_PATH, of: GIVER };

const connect = (network: string, options: AttachmentOptions = {}): ContainerEvent => ({
  type: 'connect',
  network,
  options,
});
const disconnect = (network: string, force = false): ContainerEvent => ({ type: 'disconnect', network, force });
const publish = (...ports: PortRequest[]): ContainerEvent => ({ type: 'publish', ports, from: null });
const takeOver = (...ports: PortRequest[]): ContainerEvent => ({
  type: 'publish',
  ports,
  from: { owner: GIVER, ports: ports.map(resolve) },
});
const unpublish = (...ports: PortRequest[]): ContainerEvent => ({ type: 'unpublish', ports });
const adjust = (lease: Lease): ContainerEvent => ({ type: 'adjust', network: lease.network, lease });
const gone = (network: string): Drift[] => [{ kind: 'link', object: `ve of ${network}`, network }];
const CONFIGURE: ContainerEvent = { type: 'configure' };
const RELOAD: ContainerEvent = { type: 'reload', full: false };
const REBUILD: ContainerEvent = { type: 'reload', full: true };

/** With names: the resolver gets an event for each container on it. */
const named = (network: string): Lease => ({ ...leaseOf(network), dns: { listen: ['10.89.0.1'], servers: [] } });
/** Another lease for the same container. */
const moved = (lease: Lease): Lease => ({
  ...lease,
  mtu: 1400,
  addresses: lease.addresses.map((leased) => ({ ...leased, address: leased.address.replace(/\.\d+$/, '.99') })),
});

const PASTA: UplinkSettings = { program: 'pasta', file: '/usr/bin/pasta', args: [] };
/** Behind a program instead of networks. */
const behind = (
  settings: UplinkSettings,
  portHandler: NonNullable<ContainerInput['portHandler']>,
  ports: PortRequest[],
  more: Partial<ContainerInput> = {},
): ContainerInput => ({
  ...own({}, ports, more),
  request: { netns: { mode: 'new' }, networks: {}, uplink: { program: settings.program }, ports },
  uplink: { settings, made: null, missing: [], endedSoon: 0 },
  portHandler,
});
const lost = (soon: boolean): ContainerEvent => ({
  type: 'lost',
  drift: [{ kind: 'uplink', object: 'slirp4netns', network: null }],
  fault: FAULT,
  soon,
});

const own = (
  networks: Record<string, AttachmentOptions>,
  ports: PortRequest[],
  more: Partial<ContainerInput> = {},
): ContainerInput => containerInput({ request: { netns: { mode: 'new' }, networks, ports }, ...more });
const joins = (networks: string[], ports: PortRequest[]): ContainerInput => ({
  ...containerInput({ netns: joined }),
  request: {
    netns: { mode: 'path', path: joined.from },
    networks: Object.fromEntries(networks.map((network) => [network, {}])),
    ports,
  },
});

/** The first network is one of CNI plugins. */
const plugged = (network: string): Lease => (network === 'x' ? externalLease(network) : leaseOf(network));

export const VARIANTS: Record<string, Variant> = {
  /** On a network of CNI plugins, which carry its port. */
  external: {
    input: own({ x: {} }, [P1]),
    lease: plugged,
    words: {
      created: [CONFIGURE],
      up: [RELOAD, REBUILD, disconnect('x'), publish(P2), unpublish(P1), { type: 'drifted', drift: gone('x') }],
    },
  },
  /** Beside a network of cleat, which has the port, in a namespace of others. */
  externalBeside: {
    input: joins(['web', 'x'], [P1]),
    lease: plugged,
    words: { created: [CONFIGURE], up: [RELOAD, disconnect('web'), disconnect('x', true), unpublish(P1)] },
  },
  /** Two of them, which are checked one after another; a port comes with the first. */
  externals: {
    input: own({ x: {}, y: {} }, []),
    lease: externalLease,
    words: { created: [CONFIGURE], up: [RELOAD, connect('web'), publish(P1)] },
  },
  own: {
    input: own({ web: {} }, []),
    lease: leaseOf,
    words: {
      created: [CONFIGURE],
      up: [
        CONFIGURE,
        RELOAD,
        connect('web'),
        connect('web', { aliases: ['x'] }),
        connect('back'),
        disconnect('web'),
        disconnect('elsewhere'),
      ],
    },
  },
  ports: {
    input: own({ web: {} }, [P1]),
    lease: leaseOf,
    words: { created: [CONFIGURE], up: [publish(P2), publish(P1, P2), unpublish(P1), unpublish(P2)] },
  },
  joined: {
    input: joins(['inner', 'web'], [P1]),
    lease: leaseOf,
    words: { created: [CONFIGURE], up: [connect('web'), disconnect('web'), unpublish(P1)] },
  },
  host: {
    input: containerInput({ netns: null, request: { netns: { mode: 'host' }, networks: {}, ports: [] } }),
    lease: leaseOf,
    words: { created: [CONFIGURE, connect('web'), publish(P1)], up: [RELOAD, REBUILD, connect('web'), publish(P1)] },
  },
  hostWithFiles: {
    input: containerInput({ netns: null, files: true, request: { netns: { mode: 'host' }, networks: {}, ports: [] } }),
    lease: leaseOf,
    words: { created: [CONFIGURE] },
  },
  /** In the namespace of another container, with files of its own. */
  shared: {
    input: containerInput({
      netns: shared,
      files: true,
      request: { netns: { mode: 'container', id: 'c2' }, networks: {}, ports: [] },
    }),
    lease: leaseOf,
    words: { created: [CONFIGURE, connect('web')], up: [RELOAD, connect('web'), publish(P1)] },
  },
  /** Both networks want the same interface name: granted, but of no use. */
  clash: {
    input: own({ web: { interface_name: 'x0' }, back: { interface_name: 'x0' } }, [P1], { publisher: 'outer' }),
    lease: leaseOf,
    words: { created: [CONFIGURE] },
  },
  /** Its only network cannot have ports: granted, but of no use. */
  useless: {
    input: { ...joins(['inner'], [P1]), publisher: 'outer' },
    lease: leaseOf,
    words: { created: [CONFIGURE] },
  },
  uselessNamed: {
    input: { ...joins(['inner'], [P1]), publisher: 'outer' },
    lease: named,
    words: { created: [CONFIGURE] },
  },
  /** Requests a port and no network, until a later event; the port has the family that its network does not have. */
  lonely: {
    input: own({}, [{ ...P1, host_ip: '::1' }]),
    lease: leaseOf,
    words: {
      created: [
        CONFIGURE,
        connect('web'),
        connect('web', { aliases: ['x'] }),
        disconnect('web'),
        publish(P2),
        unpublish(P2),
      ],
      up: [RELOAD],
    },
  },
  /** Names in the resolver, files to be written; the ports move when `web` goes. */
  named: {
    input: own({ web: {} }, [P1], { files: true }),
    lease: named,
    words: { created: [CONFIGURE], up: [connect('back'), disconnect('web')] },
  },
  /** Nothing but names; nothing but files; both, and no ports. */
  namesAlone: {
    input: own({ web: {} }, []),
    lease: named,
    words: { created: [CONFIGURE], up: [connect('back'), disconnect('back'), adjust(moved(named('web')))] },
  },
  filesAlone: {
    input: own({ web: {} }, [], { files: true }),
    lease: leaseOf,
    words: {
      created: [CONFIGURE],
      up: [connect('back', { interface_name: 'eth0' }), connect('back'), adjust(moved(leaseOf('web')))],
    },
  },
  namesAndFiles: {
    input: own({ web: {} }, [], { files: true }),
    lease: named,
    words: { created: [CONFIGURE], up: [connect('back')] },
  },
  /** Behind an outer publisher. */
  outer: {
    input: own({ web: {} }, [P1], { publisher: 'outer', files: true }),
    lease: leaseOf,
    words: { created: [CONFIGURE], up: [RELOAD, publish(P2), unpublish(P1), disconnect('web')] },
  },
  /** On no network: its ports wait for one. */
  alone: {
    input: own({}, [P1]),
    lease: leaseOf,
    words: { created: [CONFIGURE], up: [connect('web'), unpublish(P1)] },
  },
  aloneWithFiles: {
    input: own({}, [P1], { files: true }),
    lease: leaseOf,
    words: { created: [CONFIGURE] },
  },
  aloneOuter: {
    input: own({}, [P1], { publisher: 'outer' }),
    lease: leaseOf,
    words: { created: [CONFIGURE], up: [publish(P2)] },
  },
  aloneOuterWithFiles: {
    input: own({}, [P1], { publisher: 'outer', files: true }),
    lease: leaseOf,
    words: { created: [CONFIGURE] },
  },
  /** A network that comes later gets the default route, and has the ports from then on. */
  primary: {
    input: own({ web: {} }, [P1]),
    lease: leaseOf,
    words: { created: [CONFIGURE], up: [connect('back', { gateway_priority: 1 }), disconnect('back')] },
  },
  primaryNamed: {
    input: own({ web: {} }, [P1], { files: true }),
    lease: named,
    words: { created: [CONFIGURE], up: [connect('back', { gateway_priority: 1 })] },
  },
  forced: {
    input: joins(['web', 'back'], [P1]),
    lease: named,
    words: { created: [CONFIGURE], up: [disconnect('web', true)] },
  },
  rebuilt: {
    input: joins(['web', 'back'], [P1]),
    lease: leaseOf,
    words: { created: [CONFIGURE], up: [REBUILD] },
  },
  adjusted: {
    input: own({ web: {} }, [P1], { files: true }),
    lease: named,
    words: { created: [CONFIGURE], up: [adjust(moved(named('web'))), adjust(named('back'))] },
  },
  /** No names, no ports, no files. */
  adjustedAlone: {
    input: own({ web: {}, back: {} }, []),
    lease: leaseOf,
    words: { created: [CONFIGURE], up: [adjust(moved(leaseOf('web'))), { type: 'drifted', drift: gone('elsewhere') }] },
  },
  repairedOuter: {
    input: own({ web: {} }, [P1], { publisher: 'outer' }),
    lease: leaseOf,
    words: {
      created: [CONFIGURE],
      up: [
        { type: 'drifted', drift: gone('web') },
        { type: 'drifted', drift: [{ kind: 'port', object: '8080/tcp', network: null }] },
      ],
    },
  },
  repaired: {
    input: own({ web: {}, back: {} }, [P1]),
    lease: leaseOf,
    words: {
      created: [CONFIGURE],
      up: [
        { type: 'drifted', drift: gone('web') },
        { type: 'drifted', drift: gone('elsewhere') },
        { type: 'noticed', drift: gone('back') },
      ],
      degraded: [
        CONFIGURE,
        { type: 'drifted', drift: gone('back') },
        { type: 'noticed', drift: gone('back') },
        disconnect('web'),
        disconnect('elsewhere'),
        adjust(moved(leaseOf('back'))),
      ],
    },
  },
  /** Every request while something is missing, also by a rebuild, which then inspects everything. */
  ailing: {
    input: own({ web: {} }, [P1]),
    lease: leaseOf,
    words: {
      created: [CONFIGURE],
      up: [{ type: 'drifted', drift: gone('web') }],
      degraded: [connect('web'), connect('web', { aliases: ['x'] }), connect('back'), RELOAD, REBUILD],
    },
  },
  ailingPorts: {
    input: own({ web: {} }, [P1]),
    lease: leaseOf,
    words: {
      created: [CONFIGURE],
      up: [{ type: 'drifted', drift: gone('web') }],
      degraded: [publish(P2), unpublish(P1), unpublish(P2)],
    },
  },
  giving: {
    input: own({ web: {} }, [P1, P2]),
    lease: leaseOf,
    words: {
      created: [CONFIGURE],
      up: [
        { type: 'yield', ports: [resolve(P1)], taker: TAKER },
        { type: 'yield', ports: [resolve({ ...P1, host_port: 1 })], taker: TAKER },
      ],
    },
  },
  givingOuter: {
    input: own({ web: {} }, [P1], { publisher: 'outer' }),
    lease: leaseOf,
    words: { created: [CONFIGURE], up: [{ type: 'yield', ports: [resolve(P1)], taker: TAKER }, disconnect('web')] },
  },
  taking: {
    input: own({ web: {} }, []),
    lease: leaseOf,
    words: { created: [CONFIGURE, takeOver(P1)], up: [takeOver(P1), disconnect('web')] },
  },
  /** A program leads out, and the forwarder carries ports in. */
  behindSlirp: {
    input: behind(SLIRP, 'forwarder', [P1]),
    lease: leaseOf,
    words: {
      created: [CONFIGURE, connect('web')],
      up: [RELOAD, connect('web'), lost(true), lost(false)],
      degraded: [CONFIGURE, lost(true), connect('web'), RELOAD],
    },
  },
  behindSlirpLive: {
    input: behind(SLIRP, 'forwarder', [P1]),
    lease: leaseOf,
    words: { created: [CONFIGURE], up: [publish(P2), unpublish(P1)] },
  },
  /** The program carries the ports too, behind an outer publisher; files name the servers. */
  behindSlirpAlone: {
    input: behind(SLIRP, 'slirp4netns', [P1], { files: true, publisher: 'outer' }),
    lease: leaseOf,
    words: { created: [CONFIGURE], up: [lost(false)] },
  },
  behindSlirpClosed: {
    input: behind(SLIRP, 'forwarder', []),
    lease: leaseOf,
    words: { created: [CONFIGURE], up: [RELOAD] },
  },
  /** It has no address of the requested family: known only once it runs. */
  behindSlirpUseless: {
    input: behind(SLIRP, 'slirp4netns', [{ ...P1, host_ip: '::1' }]),
    lease: leaseOf,
    words: { created: [CONFIGURE] },
  },
  behindPasta: {
    input: behind(PASTA, 'pasta', [P1], { files: true }),
    lease: leaseOf,
    words: {
      created: [CONFIGURE, publish(P2)],
      up: [RELOAD, publish(P2), unpublish(P1)],
      degraded: [publish(P2), unpublish(P1)],
    },
  },
  /** Others use its namespace, and then no longer do. */
  held: {
    input: own({ web: {} }, [P1]),
    lease: leaseOf,
    words: {
      created: [CONFIGURE, { type: 'resume', boundTo: null }],
      up: [connect('back'), { type: 'drifted', drift: gone('web') }, { type: 'resume', boundTo: null }],
      degraded: [{ type: 'resume', boundTo: { pid: 7, startTime: 7 } }],
      everywhere: [
        { type: 'teardown', users: ['c4'] },
        { type: 'process.exited', users: ['c4'] },
        { type: 'process.exited', users: [] },
        { type: 'lastUserGone' },
      ],
    },
  },
};

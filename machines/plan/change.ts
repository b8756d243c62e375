/**
 * What an operation changes in a container: how a change begins, where its ports lead before and after, how it ends.
 *
 * Guarantees: pure functions of the container's context. What is in the kernel at any moment of a change is between
 * `before` and `after`, both of which the context on disk can tell; undoing is the same difference the other way round.
 * Limits: one change at a time.
 */
import type {
  Attachment,
  ContainerContext,
  Lease,
  PortTarget,
  ResolvedPort,
  PortRequest,
} from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import { planAttachments, publishAddresses } from './attachment.ts';
import { nameEntries, type NameEntry } from './names.ts';
import { without } from './port-list.ts';
import { targetsFor } from './ports.ts';

export type Change = NonNullable<ContainerContext['change']>;

export const NO_CHANGE: Change = {
  networks: {},
  wanted: [],
  ports: [],
  todo: [],
  before: [],
  led: [],
  taking: null,
  taker: null,
  force: false,
};

/** The change in progress; states that use it are only entered with one. */
export const changeOf = (context: ContainerContext): Change => context.change ?? NO_CHANGE;

export const begin = (context: ContainerContext, what: Partial<Change>): Change => ({
  ...NO_CHANGE,
  led: leadsTo(context),
  ...what,
});

/** Where published ports lead, an address per family at most: on the first of these networks, or behind the uplink. */
export const leadsTo = (
  context: ContainerContext,
  attachments: readonly Attachment[] = context.attachments,
): string[] => {
  const made = context.uplink?.made ?? null;
  const first = (v6: boolean) => made?.addresses.find(({ address }) => address.includes(':') === v6)?.address ?? [];
  return [...publishAddresses(attachments, context.portHandler), ...[first(false), first(true)].flat()];
};

/** Attachments without those of the change's networks. */
export const staying = (context: ContainerContext): Attachment[] =>
  context.attachments.filter(({ network }) => !Object.hasOwn(changeOf(context).networks, network));

/** Attachments of the change's networks. */
export const leaving = (context: ContainerContext): Attachment[] =>
  context.attachments.filter(({ network }) => Object.hasOwn(changeOf(context).networks, network));

/** Of these ports, those that lead nowhere with these attachments; none while what leads out is not known. */
export const stranded = (
  context: ContainerContext,
  ports: readonly ResolvedPort[],
  attachments: readonly Attachment[],
): ResolvedPort[] => {
  if (context.portHandler === 'pasta' || context.uplink?.made === null) return [];
  const addresses = leadsTo(context, attachments);
  return ports.filter((port) => targetsFor(context.portHandler, [{ ...port, range: 1 }], addresses).length === 0);
};

// --- Ports in the firewall --------------------------------------------------------------------------------------

/** A port in the firewall, and whose it is. */
export type OwnedTarget = PortTarget & { owner: string };

/** Who carries the ports, when it is not the firewall, and what it has to know of the container. */
export type Through =
  | { handler: 'forwarder'; netns: { path: string; dev: number; ino: number } }
  | { handler: 'slirp4netns'; directory: string };

export interface PublishInput {
  outside: string | null;
  /** Absent: the firewall. */
  through?: Through;
  /** What is to be there afterwards, in place of `replacing`, in one transaction. */
  targets: OwnedTarget[];
  replacing: OwnedTarget[];
  /** The container goes, and what reached it goes by itself: nobody waits until connections are forgotten. */
  leaving?: true;
}

const owned = (owner: string, targets: readonly PortTarget[]): OwnedTarget[] =>
  targets.map((target) => ({ ...target, owner }));

const keyOf = ({ owner, protocol, hostIp, hostPort, address, containerPort }: OwnedTarget): string =>
  `${owner} ${protocol} ${hostIp} ${hostPort} ${address} ${containerPort}`;

const less = (a: readonly OwnedTarget[], b: readonly OwnedTarget[]): OwnedTarget[] => {
  if (a.length === 0 || b.length === 0) return [...a];
  const keys = new Set(b.map(keyOf));
  return a.filter((target) => !keys.has(keyOf(target)));
};

/** Where a call about ports goes. */
const addressee = ({ outside, portHandler, netns, identity, token }: ContainerContext) => {
  if (portHandler === 'slirp4netns') return { outside, through: { handler: portHandler, directory: token } };
  if (portHandler !== 'forwarder' || netns === null || identity === null) return { outside };
  return { outside, through: { handler: portHandler, netns: { path: netns.path, ...identity } } };
};

const difference = (context: ContainerContext, from: OwnedTarget[], to: OwnedTarget[]): PublishInput => ({
  ...addressee(context),
  targets: less(to, from),
  replacing: less(from, to),
});

/** What was in the firewall when the change began, of our own. */
const targetsBefore = (context: ContainerContext): OwnedTarget[] =>
  owned(context.owner, targetsFor(context.portHandler, context.ports, changeOf(context).led));

/** What another container gives away. It puts it back itself, should we not have it in the end: it may be gone by then. */
function targetsGiven(context: ContainerContext): OwnedTarget[] {
  const { taking } = changeOf(context);
  return taking === null ? [] : owned(taking.owner, taking.targets);
}

const targetsOf = (
  context: ContainerContext,
  ports: readonly ResolvedPort[],
  attachments: readonly Attachment[],
): OwnedTarget[] => owned(context.owner, targetsFor(context.portHandler, ports, leadsTo(context, attachments)));

/** Published ports together with those of the change. */
export const allPorts = (context: ContainerContext): ResolvedPort[] => [
  ...context.ports,
  ...without(changeOf(context).ports, context.ports),
];

/** Adding: the ports of the change come, and all lead where the attachments say now. */
export const exposure = (context: ContainerContext): PublishInput =>
  difference(
    context,
    [...targetsBefore(context), ...targetsGiven(context)],
    targetsOf(context, allPorts(context), context.attachments),
  );

/** A network goes: ports lead to what stays, or nowhere. */
export const diversion = (context: ContainerContext): PublishInput =>
  difference(context, targetsBefore(context), targetsOf(context, context.ports, staying(context)));

/** The network stays after all. */
export const reversal = (context: ContainerContext): PublishInput =>
  difference(context, targetsOf(context, context.ports, staying(context)), targetsBefore(context));

/** The ports of the change go. */
export const withdrawal = (context: ContainerContext): PublishInput => {
  const left = without(context.ports, changeOf(context).ports);
  return difference(context, targetsBefore(context), targetsOf(context, left, context.attachments));
};

/** Back to what was there when the change began, from wherever it came to. */
export const restoration = (context: ContainerContext): PublishInput => {
  const after = targetsOf(context, allPorts(context), context.attachments);
  return difference(context, after, targetsBefore(context));
};

/** The same for a change whose attachments are again what they were, and `before` what they were to become. */
export const reinstatement = (context: ContainerContext): PublishInput =>
  difference(context, targetsOf(context, context.ports, earlier(context)), targetsBefore(context));

/** Attachments with those that the change has put others in the place of. */
const earlier = (context: ContainerContext): Attachment[] => {
  const { before } = changeOf(context);
  return context.attachments.map((now) => before.find(({ network }) => network === now.network) ?? now);
};

/** Wherever published ports may lead, however far the change has come. */
export const whereLed = (context: ContainerContext): string[] => {
  const ways = [context.attachments, staying(context), earlier(context)].flatMap((some) => leadsTo(context, some));
  return [...new Set([...changeOf(context).led, ...ways])];
};

/** Everything that may be there goes. */
export const removal = (context: ContainerContext): PublishInput => ({
  ...addressee(context),
  targets: [],
  leaving: true,
  replacing: owned(context.owner, targetsFor(context.portHandler, changeOf(context).ports, changeOf(context).led)),
});

/** Everything published is there, as it should be at rest. */
export const assertion = (context: ContainerContext): PublishInput => ({
  ...addressee(context),
  targets: targetsOf(context, context.ports, context.attachments),
  replacing: [],
});

export const changesPorts = ({ targets, replacing }: PublishInput): boolean =>
  targets.length > 0 || replacing.length > 0;

// --- Names ------------------------------------------------------------------------------------------------------

/** Names that the attachments of the change have. */
export const namesOfChange = (context: ContainerContext): NameEntry[] => nameEntries(context, leaving(context));

// --- Planning, and the end of a change --------------------------------------------------------------------------

export interface Granted {
  leases: Lease[];
  ports: ResolvedPort[];
  /** Links that are in the namespace already. */
  inside: string[];
  /** Where the ports that another container gives away lead to there. */
  given: PortTarget[];
}

export type Planned = { context: ContainerContext } | { fault: Fault };

const plans = new WeakMap<Granted, { of: ContainerContext; planned: Planned }>();

/** The container with everything that was granted in it, named to the last link. Guards and actions share one plan. */
export function planned(context: ContainerContext, granted: Granted): Planned {
  const known = plans.get(granted);
  if (known?.of === context) return known.planned;
  const result = plan(context, granted);
  plans.set(granted, { of: context, planned: result });
  return result;
}

function plan(context: ContainerContext, { leases, ports, inside, given }: Granted): Planned {
  const change = changeOf(context);
  const plan = planAttachments(context, leases, change.networks, inside);
  if ('fault' in plan) return plan;
  const { attachments } = plan;
  return {
    context: {
      ...context,
      attachments,
      nextOrdinal: context.nextOrdinal + attachments.length - context.attachments.length,
      change: {
        ...change,
        // Only what was not published before is taken away if the rest fails.
        ports: without(ports, context.ports),
        todo: leases.map(({ network }) => network),
        taking: change.taking === null ? null : { ...change.taking, targets: given },
      },
    },
  };
}

/** The addition is complete: it is part of the container now. */
export function adopted(context: ContainerContext): Partial<ContainerContext> {
  const { networks, wanted } = changeOf(context);
  return {
    request: {
      ...context.request,
      networks: { ...context.request.networks, ...networks },
      ports: context.configured ? [...context.request.ports, ...wanted] : context.request.ports,
    },
    ports: allPorts(context),
    configured: true,
    change: null,
  };
}

/** Published ports, one by one, that have the host side of one of these wishes: protocol, address, port. */
export const coveredBy = (ports: readonly ResolvedPort[], wishes: readonly PortRequest[]): ResolvedPort[] =>
  ports
    .flatMap((port) =>
      Array.from({ length: port.range }, (_, i) => ({
        ...port,
        hostPort: port.hostPort + i,
        containerPort: port.containerPort + i,
        range: 1,
      })),
    )
    .filter((port) =>
      wishes.some((wish) => {
        const offset = port.hostPort - (wish.host_port ?? 0);
        return (
          (wish.protocol ?? 'tcp') === port.protocol &&
          (wish.outer_ip ?? wish.host_ip ?? '') === (port.outerIp ?? port.hostIp) &&
          offset >= 0 &&
          offset < (wish.range ?? 1)
        );
      }),
    );

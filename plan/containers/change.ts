/**
 * Plans a change of a container: its beginning, the targets of its ports before and after, and its end.
 *
 * Guarantees: pure functions of the container's context. At any moment of a change, the kernel's state is between `before` and
 * `after`, and the context on disk determines both; undoing is the same difference in reverse.
 * Limits: one change at a time.
 */
import type {
  Attachment,
  Change,
  ContainerContext,
  Lease,
  PortTarget,
  ResolvedPort,
  PortRequest,
} from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import { canPublish, planAttachments, publishAddresses } from './attachment.ts';
import { carrierOf, withPorts } from '../external/external.ts';
import { nameEntries, type NameEntry } from '../names/names.ts';
import { without } from '../ports/port-list.ts';
import { targetsFor } from '../ports/ports.ts';

/** The members that every change has. */
type Common = 'networks' | 'ports' | 'todo' | 'led';
/** Stands for no change: nothing comes, goes or is looked at. */
type NoChange = { kind: 'none' } & Pick<Change, Common>;
type AnyChange = Change | NoChange | null;
type Begun<C> = C extends Change ? Omit<C, Common> & Partial<Pick<C, Common>> : never;

const NO_CHANGE: NoChange = { kind: 'none', networks: {}, ports: [], todo: [], led: [] };

/** Returns the change in progress. States that use it are only entered with one. */
export const changeOf = (context: ContainerContext): Change | NoChange => context.change ?? NO_CHANGE;

/** Begins a change: members that `what` does not name are empty, and `led` is where published ports lead now. */
export const begin = (context: ContainerContext, what: Begun<Change>): Change => ({
  networks: {},
  ports: [],
  todo: [],
  led: leadsTo(context),
  ...what,
});

/** The ports that a change was requested with. */
export const wantedBy = (change: AnyChange): readonly PortRequest[] =>
  change !== null && 'wanted' in change ? change.wanted : [];

/** The ports that another container gives away to this one, null for none. */
export const takenBy = (change: AnyChange): Extract<Change, { kind: 'publish' }>['taking'] =>
  change?.kind === 'publish' ? change.taking : null;

/** The attachments that the change has put others in the place of, as they were. */
export const replacedBy = (change: AnyChange): readonly Attachment[] =>
  change !== null && 'before' in change ? change.before : [];

/**
 * Returns the addresses that published ports lead to, at most one per family: on the first of these networks, or behind the
 * uplink.
 */
export const leadsTo = (
  context: ContainerContext,
  attachments: readonly Attachment[] = context.attachments,
): string[] => {
  const made = context.uplink?.made ?? null;
  const first = (v6: boolean) => made?.addresses.find(({ address }) => address.includes(':') === v6)?.address ?? [];
  return [...publishAddresses(attachments, context.portHandler), ...[first(false), first(true)].flat()];
};

/** Returns the attachments without those of the change's networks. */
export const staying = (context: ContainerContext): Attachment[] =>
  context.attachments.filter(({ network }) => !Object.hasOwn(changeOf(context).networks, network));

/** Returns the attachments of the change's networks. */
export const leaving = (context: ContainerContext): Attachment[] =>
  context.attachments.filter(({ network }) => Object.hasOwn(changeOf(context).networks, network));

/**
 * Returns those of these ports that have no target with these attachments. Returns none while the uplink's link is unknown, or the
 * addresses of an attachment that could be one, or if a program of others carries them.
 */
export const stranded = (
  context: ContainerContext,
  ports: readonly ResolvedPort[],
  attachments: readonly Attachment[],
): ResolvedPort[] => {
  if (context.portHandler === 'pasta' || context.uplink?.made === null) return [];
  if (carrierOf(attachments) !== undefined) return [];
  const unknown = ({ external, addresses }: Attachment) => external?.result === null && addresses.length === 0;
  if (attachments.some((one) => unknown(one) && canPublish(one, context.portHandler))) return [];
  const addresses = leadsTo(context, attachments);
  return ports.filter((port) => targetsFor(context.portHandler, [{ ...port, range: 1 }], addresses).length === 0);
};

// --- Ports in the firewall --------------------------------------------------------------------------------------

/** A port in the firewall, and its owner. */
export type OwnedTarget = PortTarget & { owner: string };

/** The port handler, if it is not the firewall, and the data of the container that it needs. */
export type Through =
  | { handler: 'forwarder'; netns: { path: string; dev: number; ino: number } }
  | { handler: 'slirp4netns'; directory: string };

export interface PublishInput {
  outside: string | null;
  /** Absent for the firewall. */
  through?: Through;
  /** The ports that exist afterwards, in place of `replacing`, in one transaction. */
  targets: OwnedTarget[];
  replacing: OwnedTarget[];
  /** The container is being torn down, and its connections end by themselves: nobody waits until they are deleted. */
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

/** Returns the handler that a call about ports goes to. */
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

/** Returns our own ports in the firewall as they were when the change began. */
const targetsBefore = (context: ContainerContext): OwnedTarget[] =>
  owned(context.owner, targetsFor(context.portHandler, context.ports, changeOf(context).led));

/**
 * Returns the ports that another container gives away. If we do not get them in the end, that container restores them itself;
 * it may be gone by then.
 */
function targetsGiven(context: ContainerContext): OwnedTarget[] {
  const taking = takenBy(changeOf(context));
  return taking === null ? [] : owned(taking.owner, taking.targets);
}

const targetsOf = (
  context: ContainerContext,
  ports: readonly ResolvedPort[],
  attachments: readonly Attachment[],
): OwnedTarget[] => owned(context.owner, targetsFor(context.portHandler, ports, leadsTo(context, attachments)));

/** Returns the published ports together with those of the change. */
export const allPorts = (context: ContainerContext): ResolvedPort[] => [
  ...context.ports,
  ...without(changeOf(context).ports, context.ports),
];

/** Returns the call that adds the ports of the change, and leads all ports to the present attachments. */
export const exposure = (context: ContainerContext): PublishInput =>
  difference(
    context,
    [...targetsBefore(context), ...targetsGiven(context)],
    targetsOf(context, allPorts(context), context.attachments),
  );

/** Returns the call for the removal of a network: ports lead to the attachments that stay, or are removed. */
export const diversion = (context: ContainerContext): PublishInput =>
  difference(context, targetsBefore(context), targetsOf(context, context.ports, staying(context)));

/** Returns the call that reverses `diversion`, because the network stays after all. */
export const reversal = (context: ContainerContext): PublishInput =>
  difference(context, targetsOf(context, context.ports, staying(context)), targetsBefore(context));

/** Returns the call that removes the ports of the change. */
export const withdrawal = (context: ContainerContext): PublishInput => {
  const left = without(context.ports, changeOf(context).ports);
  return difference(context, targetsBefore(context), targetsOf(context, left, context.attachments));
};

/** Returns the call that restores the ports of the change's beginning, however far the change has come. */
export const restoration = (context: ContainerContext): PublishInput => {
  const after = targetsOf(context, allPorts(context), context.attachments);
  return difference(context, after, targetsBefore(context));
};

/** Returns the same for a change whose attachments are again the former ones, while `before` has the new ones. */
export const reinstatement = (context: ContainerContext): PublishInput =>
  difference(context, targetsOf(context, context.ports, earlier(context)), targetsBefore(context));

/** Returns the attachments in which those of `before` replace the ones that the change has made for their networks. */
const earlier = (context: ContainerContext): Attachment[] => {
  const before = replacedBy(changeOf(context));
  return context.attachments.map((now) => before.find(({ network }) => network === now.network) ?? now);
};

/** Returns all addresses that published ports may lead to, however far the change has come. */
export const whereLed = (context: ContainerContext): string[] => {
  const ways = [context.attachments, staying(context), earlier(context)].flatMap((some) => leadsTo(context, some));
  return [...new Set([...changeOf(context).led, ...ways])];
};

/** Returns the call that removes everything that may exist. */
export const removal = (context: ContainerContext): PublishInput => ({
  ...addressee(context),
  targets: [],
  leaving: true,
  replacing: owned(context.owner, targetsFor(context.portHandler, changeOf(context).ports, changeOf(context).led)),
});

/** Returns the call that asserts every published port, as at rest. */
export const assertion = (context: ContainerContext): PublishInput => ({
  ...addressee(context),
  targets: targetsOf(context, context.ports, context.attachments),
  replacing: [],
});

export const changesPorts = ({ targets, replacing }: PublishInput): boolean =>
  targets.length > 0 || replacing.length > 0;

// --- Names ------------------------------------------------------------------------------------------------------

/** Returns the names of the change's attachments. */
export const namesOfChange = (context: ContainerContext): NameEntry[] => nameEntries(context, leaving(context));

// --- Planning, and the end of a change --------------------------------------------------------------------------

export interface Granted {
  leases: Lease[];
  ports: ResolvedPort[];
  /** Links that the namespace has already. */
  inside: string[];
  /** The present targets of the ports that another container gives away. */
  given: PortTarget[];
}

export type Planned = { context: ContainerContext } | { fault: Fault };

/** Returns the container with everything that was granted, with the names of all links. */
export function planned(context: ContainerContext, { leases, ports, inside, given }: Granted): Planned {
  const change = context.change;
  const plan = planAttachments(context, leases, changeOf(context).networks, inside);
  if ('fault' in plan) return plan;
  const all = [...context.ports, ...without(ports, context.ports)];
  const led = context.uplink !== undefined || leadsTo(context, plan.attachments).length > 0;
  const carried = led || context.portHandler === 'forwarder' || carrierOf(plan.attachments) !== undefined;
  // Ports that no network of cleat can have are those of a program that can publish them, from its beginning. The forwarder can
  // lead them to any address.
  const attachments = carried ? plan.attachments : withPorts(plan.attachments, all);
  const taking = takenBy(changeOf(context));
  return {
    context: {
      ...context,
      attachments,
      nextOrdinal: context.nextOrdinal + attachments.length - context.attachments.length,
      change: change && {
        ...change,
        // If the rest fails, only ports that were not published before are removed.
        ports: without(ports, context.ports),
        todo: leases.map(({ network }) => network),
        ...(taking === null ? {} : { taking: { ...taking, targets: given } }),
      },
    },
  };
}

/** Makes a complete addition part of the container. */
export function adopted(context: ContainerContext): Partial<ContainerContext> {
  const change = changeOf(context);
  return {
    request: {
      ...context.request,
      networks: { ...context.request.networks, ...change.networks },
      ports: context.configured ? [...context.request.ports, ...wantedBy(change)] : context.request.ports,
    },
    ports: allPorts(context),
    configured: true,
    change: null,
  };
}

/** Returns those published ports, one by one, that have the host side of one of these wishes: protocol, address, port. */
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

/**
 * The events of the container's machine, and the inputs of its effects and requests.
 *
 * Guarantees: an input has everything that its effect needs, taken from the context alone, so that an effect makes no choice.
 * The inputs of steps that can be skipped are total: XState computes the input before the step is left again.
 * Limits: nothing is decided here. container-setup.ts and plan/ decide.
 */
import type {
  ContainerContext,
  Drift,
  ExitDescriptor,
  Lease,
  ProcessIdentity,
  ResolvedPort,
  PortRequest,
  Promised,
} from '../../state/container.ts';
import type { AttachmentOptions } from '../../state/event.ts';
import type { Fault } from '../../state/faults.ts';
import type { AttachmentInput } from './attachment.ts';
import { allPorts, changeOf, namesOfChange, replacedBy, takenBy, wantedBy } from '../../plan/containers/change.ts';
import type { FilesInput } from '../../plan/containers/hosts.ts';
import type { NameInput, UnnameInput } from '../resolver.ts';
import { ofCleat } from '../../plan/external/external.ts';
import type { UplinkInput } from '../../plan/uplinks/uplink.ts';

export type ContainerInput = Omit<
  ContainerContext,
  | 'identity'
  | 'attachments'
  | 'ports'
  | 'nextOrdinal'
  | 'configured'
  | 'ownerGone'
  | 'change'
  | 'operation'
  | 'fault'
  | 'leftovers'
  | 'attempts'
  | 'lastFault'
  | 'drift'
>;

/** `promised` is what the plan that the event applies has named. It is granted exactly that, or refused. */
interface Applied {
  promised?: Promised | undefined;
}

/** The lifecycle events, and the notifications of the service about the system. */
export type ContainerEvent =
  | ({ type: 'configure' } & Applied)
  | ({ type: 'connect'; network: string; options: AttachmentOptions } & Applied)
  | { type: 'disconnect'; network: string; force: boolean }
  | { type: 'reload'; full: boolean }
  /** `from`: the owner that gives these ports away, and the ports that it has. */
  | ({ type: 'publish'; ports: PortRequest[]; from: { owner: string; ports: ResolvedPort[] } | null } & Applied)
  | { type: 'unpublish'; ports: PortRequest[] }
  /** `users`: the other containers in its namespace. */
  | { type: 'teardown' | 'process.exited'; users: string[] }
  /** The container was created again while others still used its namespace. */
  | { type: 'resume'; boundTo: ProcessIdentity | null; exit?: ExitDescriptor }
  /** No other container uses its namespace any more. */
  | { type: 'lastUserGone' }
  /** A network grants another lease. `remetric`: the metric of its default route has changed, too. */
  | { type: 'adjust'; network: string; lease: Lease; remetric?: boolean }
  /** Others have changed something: `drifted` repairs it, `noticed` only records it. */
  | { type: 'drifted' | 'noticed'; drift: Drift[] }
  /** Its uplink has ended. `soon`: it ended shortly after its start. */
  | { type: 'lost'; drift: Drift[]; fault: Fault; soon: boolean }
  /** Another container takes over these ports. */
  | { type: 'yield'; ports: ResolvedPort[]; taker: string };

export interface NamespaceInput {
  owner: string;
  outside: string | null;
  /** The path where the namespace is pinned. */
  path: string;
  /** A new namespace, or an existing one: that of a process, which must still be the same process, or the one at a path. */
  source: { mode: 'new' } | { mode: 'process'; process: ProcessIdentity } | { mode: 'path'; path: string };
}

export interface LeaseInput {
  owner: string;
  outside: string | null;
  networks: Record<string, AttachmentOptions>;
  ports: PortRequest[];
  /** The namespace in which to find the names of existing links; null if it is new and has none. */
  inside: string | null;
  /** The owner that gives ports away, and these ports; null for none. */
  taking: { owner: string; ports: ResolvedPort[] } | null;
  /** True if an uplink is about to start. It must not run before the table restricts it. */
  uplink: boolean;
  /** Holds what a plan has named: anything else is refused. Null if no plan is applied. Absent in older snapshots. */
  promised?: Promised | null;
  /** True if the caller holds the ports open itself. Absent in older snapshots. */
  reserved?: boolean;
}

export interface ReleaseInput {
  owner: string;
  outside: string | null;
  networks: string[];
  ports: ResolvedPort[];
  /** True if the table need not restrict an uplink of this container any more. */
  uplink: boolean;
}

/** The ports that the outer publisher is to listen for, or no longer. */
export interface OuterInput {
  publisher: string;
  ports: readonly ResolvedPort[];
}

export interface VerdictInput {
  taker: string;
  ports: ResolvedPort[];
}

export interface DrainInput {
  owner: string;
  outside: string | null;
  links: string[];
  /** The addresses whose entries in the bridge and in connection tracking have to go. */
  neighbours: { bridge: string; address: string; unmanaged?: boolean | undefined }[];
}

export interface In {
  context: ContainerContext;
}

// --- The input of each effect ------------------------------------------------------------------------------------

export const namespaceInput = ({ context }: In): NamespaceInput => ({
  owner: context.owner,
  outside: context.outside,
  path: context.netns?.path ?? '',
  source:
    context.request.netns.mode === 'pid' && context.boundTo !== null
      ? { mode: 'process', process: context.boundTo }
      : context.netns !== null && context.netns.from !== null
        ? { mode: 'path', path: context.netns.from }
        : { mode: 'new' },
});

export const leaseInput = ({ context }: In): LeaseInput => ({
  owner: context.owner,
  outside: context.outside,
  networks: changeOf(context).networks,
  ports: [...wantedBy(changeOf(context))],
  inside: context.netns === null || (context.netns.owned && !context.configured) ? null : context.netns.path,
  taking: takenBy(changeOf(context)),
  uplink: startsUplink(context),
  promised: context.operation.promised ?? null,
  ...(context.portsReserved === true ? { reserved: true } : {}),
});

/** Returns true if the change starts an uplink, which only configure does. */
export const startsUplink = (context: ContainerContext): boolean =>
  context.uplink !== undefined && changeOf(context).kind === 'configure';

/** Releases everything of a change, or its ports alone, or everything that the container has. */
export const releaseInput =
  (what: 'change' | 'ports' | 'container') =>
  ({ context }: In): ReleaseInput => ({
    owner: context.owner,
    outside: context.outside,
    networks: what === 'ports' ? [] : Object.keys(changeOf(context).networks),
    ports: changeOf(context).ports,
    uplink: what === 'container' ? context.uplink !== undefined : what === 'change' && startsUplink(context),
  });

export const outerInput = ({ context }: In): OuterInput => ({
  publisher: context.publisher ?? '',
  ports: changeOf(context).ports,
});

export const nameInput = ({ context }: In): NameInput => ({
  owner: context.owner,
  outside: context.outside,
  entries: namesOfChange(context),
});

export const unnameInput = ({ context }: In): UnnameInput => ({
  owner: context.owner,
  outside: context.outside,
  networks: namesOfChange(context).map(({ network }) => network),
});

export const filesInput = ({ context }: In): FilesInput => ({
  id: context.id,
  name: context.name,
  hostname: context.hostname,
  pod: context.pod,
  attachments: context.attachments,
  ...(context.uplink === undefined ? {} : { uplink: context.uplink }),
  ...(context.dnsServers === undefined ? {} : { dnsServers: context.dnsServers }),
  ...(context.extraHosts === undefined ? {} : { extraHosts: context.extraHosts }),
});

export const uplinkInput =
  (verb: UplinkInput['verb']) =>
  ({ context }: In): UplinkInput => {
    const { uplink, netns, token, owner, outside, boundTo, exit, portHandler } = context;
    if (uplink === undefined || netns === null) throw new Error(`no uplink to ${verb}`);
    const ports = portHandler === 'pasta' ? allPorts(context) : [];
    const apiSocket = portHandler === 'slirp4netns';
    const { settings } = uplink;
    const bound = { boundTo, ...(exit === undefined ? {} : { exit }) };
    return { verb, owner, directory: token, outside, netns: netns.path, ...bound, settings, apiSocket, ports };
  };

export const attachmentInput =
  (verb: AttachmentInput['verb']) =>
  ({ context }: In): AttachmentInput => {
    const change = changeOf(context);
    const { todo } = change;
    const before = replacedBy(change);
    const of = (attachments: typeof before) => attachments.find(({ network }) => network === todo[0]);
    const attachment = of(context.attachments);
    if (attachment === undefined || context.netns === null) throw new Error(`nothing to ${verb}`);
    return {
      verb,
      attachment,
      predecessor: of(before) ?? null,
      siblings: ofCleat(context.attachments).filter((other) => other !== attachment),
      netns: context.netns.path,
      owned: context.netns.owned,
      outside: context.outside,
      owner: context.owner,
    };
  };

export const drainInput = ({ context }: In): DrainInput => {
  const before = replacedBy(changeOf(context));
  const all = ofCleat([...context.attachments, ...before]);
  return {
    owner: context.owner,
    outside: context.outside,
    links: [...new Set(all.map(({ hostLink }) => hostLink))],
    neighbours: all.flatMap(({ bridge, addresses, unmanaged }) =>
      addresses.map(({ address }) => ({ bridge, address, ...(unmanaged === undefined ? {} : { unmanaged }) })),
    ),
  };
};

export const verdictInput = ({ context }: In): VerdictInput => {
  const change = changeOf(context);
  return { taker: change.kind === 'yield' ? change.taker : '', ports: change.ports };
};

/**
 * What the container's machine is told, and what its effects and questions are given.
 *
 * Guarantees: everything an effect needs is in its input, taken from the context alone; an effect makes no choice.
 * Limits: types, and functions without a word of their own; what is decided is in container-setup.ts and plan/.
 */
import type { ContainerContext, Drift, Lease, ProcessIdentity, ResolvedPort, PortRequest } from '../state/container.ts';
import type { AttachmentOptions } from '../state/event.ts';
import type { Fault } from '../state/faults.ts';
import type { AttachmentInput } from './attachment.ts';
import { allPorts, changeOf, namesOfChange, type Granted } from './plan/change.ts';
import type { FilesInput } from './plan/hosts.ts';
import type { NameInput, UnnameInput } from './resolver.ts';
import type { UplinkInput } from './plan/uplink.ts';

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

/** What comes from outside: the lifecycle words, facts of the world, and answers of the shared machines. */
export type ContainerEvent =
  | { type: 'configure' }
  | { type: 'connect'; network: string; options: AttachmentOptions }
  | { type: 'disconnect'; network: string; force: boolean }
  | { type: 'reload'; full: boolean }
  /** `from`: the owner who gives these ports away. */
  | { type: 'publish'; ports: PortRequest[]; from: { owner: string; ports: ResolvedPort[] } | null }
  | { type: 'unpublish'; ports: PortRequest[] }
  /** `users`: other containers in its namespace. */
  | { type: 'teardown' | 'process.exited'; users: string[] }
  /** Created anew while it was held. */
  | { type: 'resume'; boundTo: ProcessIdentity | null }
  /** Nobody else uses its namespace any more. */
  | { type: 'lastUserGone' }
  /** A network grants other terms. `remetric`: the metric of its default route is among them. */
  | { type: 'adjust'; network: string; lease: Lease; remetric?: boolean }
  /** Others took something away: put it back, or (noticed) only know of it. */
  | { type: 'drifted' | 'noticed'; drift: Drift[] }
  /** Its uplink has ended; `soon`: hardly begun. */
  | { type: 'lost'; drift: Drift[]; fault: Fault; soon: boolean }
  /** Another container takes over these ports. */
  | { type: 'yield'; ports: ResolvedPort[]; taker: string }
  | ({ type: 'leased' } & Granted)
  | { type: 'refused'; fault: Fault }
  | { type: 'released' | 'named' | 'unnamed' | 'verified' | 'taken' | 'kept' | 'retry' };

export interface NamespaceInput {
  owner: string;
  outside: string | null;
  /** Where it is pinned. */
  path: string;
  /** A namespace of our own, or one that is joined: of a process that must still be this one, or at a path. */
  source: { mode: 'new' } | { mode: 'process'; process: ProcessIdentity } | { mode: 'path'; path: string };
}

export interface LeaseInput {
  owner: string;
  outside: string | null;
  networks: Record<string, AttachmentOptions>;
  ports: PortRequest[];
  /** The namespace to look into for links that are there already; null when it is new and can hold none. */
  inside: string | null;
  /** Who gives the ports away, and which of theirs. */
  taking: { owner: string; ports: ResolvedPort[] } | null;
  /** It is about to have an uplink, which must not run before the table keeps it in bounds. */
  uplink: boolean;
}

export interface ReleaseInput {
  owner: string;
  outside: string | null;
  networks: string[];
  ports: ResolvedPort[];
  /** It has no uplink any more that the table would have to keep in bounds. */
  uplink: boolean;
}

/** Ports at the outer publisher. */
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
  /** Addresses whose MAC the bridge knows, and whose connections the kernel remembers. */
  neighbours: { bridge: string; address: string; unmanaged?: boolean | undefined }[];
}

export interface In {
  context: ContainerContext;
}

// --- What each is given -----------------------------------------------------------------------------------------

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
  ports: changeOf(context).wanted,
  inside: context.netns === null || (context.netns.owned && !context.configured) ? null : context.netns.path,
  taking: changeOf(context).taking,
  uplink: startsUplink(context),
});

/** An uplink is started once, as a part of configure. */
export const startsUplink = ({ uplink, configured }: ContainerContext): boolean => uplink !== undefined && !configured;

/** Gives back everything of a change, or its ports alone, or all that the container has. */
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
});

export const uplinkInput =
  (verb: UplinkInput['verb']) =>
  ({ context }: In): UplinkInput => {
    const { uplink, netns, token, owner, outside, boundTo, portHandler } = context;
    if (uplink === undefined || netns === null) throw new Error(`no uplink to ${verb}`);
    const ports = portHandler === 'pasta' ? allPorts(context) : [];
    const apiSocket = portHandler === 'slirp4netns';
    const { settings } = uplink;
    return { verb, owner, directory: token, outside, netns: netns.path, boundTo, settings, apiSocket, ports };
  };

export const attachmentInput =
  (verb: AttachmentInput['verb']) =>
  ({ context }: In): AttachmentInput => {
    const { todo, before } = changeOf(context);
    const of = (attachments: typeof before) => attachments.find(({ network }) => network === todo[0]);
    const attachment = of(context.attachments);
    if (attachment === undefined || context.netns === null) throw new Error(`nothing to ${verb}`);
    return {
      verb,
      attachment,
      predecessor: of(before) ?? null,
      siblings: context.attachments.filter((other) => other !== attachment),
      netns: context.netns.path,
      owned: context.netns.owned,
      outside: context.outside,
      owner: context.owner,
    };
  };

export const drainInput = ({ context }: In): DrainInput => {
  const { before } = changeOf(context);
  const all = [...context.attachments, ...before];
  return {
    owner: context.owner,
    outside: context.outside,
    links: [...new Set(all.map(({ hostLink }) => hostLink))],
    neighbours: all.flatMap(({ bridge, addresses, unmanaged }) =>
      addresses.map(({ address }) => ({ bridge, address, ...(unmanaged === undefined ? {} : { unmanaged }) })),
    ),
  };
};

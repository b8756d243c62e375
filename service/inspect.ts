/**
 * One container in full: how it should be, how clients of Docker and Podman read that, and where the kernel differs.
 *
 * Guarantees: never fails for what it finds: a namespace that is missing is a difference, and so is one that cannot be
 * read. What is compared is one state at rest: what an operation under way has not made yet, or has taken away, is not
 * drift. A container that shares another's namespace shows the other's settings, through as many as share.
 * Limits: of ports, rules, tables and DNS it repeats what was recorded; `audit` compares ports. Of a container that does
 * not come to rest while we look, all drift is as recorded.
 */
import { toFault } from '../effects/effect.ts';
import type { Kernel } from '../effects/kernel.ts';
import { compareOutside } from '../machines/plan/expected.ts';
import { compareUplink } from '../machines/plan/uplink-inside.ts';
import type { ContainerContext, Difference } from '../state/container.ts';
import type { Containers } from './containers.ts';
import { interfacesIn } from './joined-interfaces.ts';
import { differencesInside, insideOf, lookInside, type Inside, type Look } from './inside-look.ts';
import { networkSettings, type NetworkSettings } from './network-settings.ts';
import type { Networks } from './networks.ts';
import { stateName, type ContainerSnapshot } from './snapshot.ts';
import type { UplinkProcess } from './uplink-watch.ts';
import type { ContainerView } from './view.ts';

export interface InspectParts {
  containers: Pick<Containers, 'get'>;
  networks: Pick<Networks, 'get'>;
  kernel: Kernel;
  view(snapshot: ContainerSnapshot): ContainerView;
  /** Of the process that is a container's uplink. */
  uplink(context: ContainerContext): UplinkProcess | null;
}

export type Inspection = Omit<ContainerView, 'drift' | 'uplink'> & {
  NetworkSettings: NetworkSettings;
  uplink: (NonNullable<ContainerView['uplink']> & { process: UplinkProcess | null }) | null;
  drift: Difference[];
};

/** Others may change a container while we look; then we look again, but not for ever. */
const LOOKS = 3;

/** What looking finds by itself: of these nothing recorded is needed. */
const LOOKED_AT = new Set(['link', 'address', 'route', 'neighbour', 'switch', 'uplink']);

/** As it is now; null when there is no such container. */
export async function inspect(parts: InspectParts, id: string): Promise<Inspection | null> {
  for (let looks = 1; ; looks++) {
    const snapshot = parts.containers.get(id);
    if (snapshot === undefined) return null;
    const inspection = await inspectSnapshot(parts, snapshot);
    if (looks === LOOKS || !atRest(snapshot) || parts.containers.get(id) === snapshot) return inspection;
  }
}

/** As it was in this snapshot; if it is not so any more, drift is as recorded. */
export async function inspectSnapshot(parts: InspectParts, snapshot: ContainerSnapshot): Promise<Inspection> {
  const { context } = snapshot;
  const owner = ownerOf(parts, context);
  const shown = owner ?? context;
  // Also one whose owner has gone: what is there is all that can be said.
  const joined = owner === null || ['path', 'pid'].includes(owner.request.netns.mode);
  const judged = atRest(snapshot);
  const look = joined || judged ? await lookInside(parts.kernel, context, insideOf(context)) : null;
  const seen = joined && look !== null && 'seen' in look ? interfacesIn(look.seen) : null;
  const process = context.uplink === undefined ? null : parts.uplink(context);
  const found = judged ? await driftOf(parts.kernel, context, look, process) : [];
  const current = parts.containers.get(context.id) === snapshot;
  const view = parts.view(snapshot);
  return {
    ...view,
    uplink: view.uplink === null ? null : { ...view.uplink, process },
    NetworkSettings: networkSettings(shown, (network) => networkId(parts, network), seen),
    drift: judged && current ? found : recorded(context),
  };
}

const atRest = (snapshot: ContainerSnapshot): boolean =>
  snapshot.hasTag('rest') && ['up', 'degraded'].includes(stateName(snapshot)) && snapshot.context.change === null;

/** The container whose namespace this is, or null when it is no more. */
function ownerOf({ containers }: InspectParts, context: ContainerContext): ContainerContext | null {
  const owner = context.netns?.of ?? null;
  if (owner === null) return context;
  const found = containers.get(owner.slice(0, owner.lastIndexOf(':')))?.context;
  return found?.owner === owner ? found : null;
}

/** The name itself when there is no such network, or none any more. */
function networkId({ networks }: InspectParts, network: string): string {
  try {
    return networks.get(network).id;
  } catch {
    return network;
  }
}

async function driftOf(
  kernel: Kernel,
  context: ContainerContext,
  look: Look<Inside> | null,
  process: UplinkProcess | null,
): Promise<Difference[]> {
  const { uplink } = context;
  return [
    ...(uplink?.made && process?.state !== 'ready' ? [ended(uplink.settings.program)] : []),
    ...(await driftOutside(kernel, context)),
    ...(look === null ? [] : driftInside(context, look)),
    ...recorded(context).filter(({ kind }) => !LOOKED_AT.has(kind)),
  ];
}

const ended = (program: string): Difference => ({
  kind: 'uplink',
  object: program,
  network: null,
  problem: 'missing',
});

function driftInside({ attachments, uplink }: ContainerContext, look: Look<Inside>): Difference[] {
  const made = uplink?.made ?? null;
  if ('seen' in look)
    return [...differencesInside(attachments, look.seen), ...(made === null ? [] : compareUplink(made, look.seen))];
  return [{ kind: 'link', object: look.path, network: null, problem: look.problem }];
}

async function driftOutside(kernel: Kernel, { attachments, outside }: ContainerContext): Promise<Difference[]> {
  if (attachments.length === 0) return [];
  const names = [...new Set(attachments.flatMap(({ hostLink, bridge }) => [hostLink, bridge]))];
  try {
    const { kernel: native } = kernel.outside(outside);
    const links = await Promise.all(names.map((name) => native.link(name)));
    return compareOutside(
      attachments,
      links.filter((link) => link !== null),
    );
  } catch (error) {
    const problem = toFault(error, 'inspect').code === 'NOT_A_NAMESPACE' ? 'missing' : 'unreadable';
    return [{ kind: 'link', object: outside ?? 'outside', network: null, problem }];
  }
}

function recorded({ drift }: ContainerContext): Difference[] {
  return drift.map(({ kind, object, network }) => ({ kind, object, network, problem: 'missing' }));
}

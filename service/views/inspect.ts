/**
 * One container in full: how it should be, the same as clients of Docker and Podman read it, and where the kernel differs.
 *
 * Guarantees: never fails because of what it finds: a missing namespace is a difference, and so is an unreadable one. Compares
 * one state at rest: what an operation under way has not made yet, or has removed, is not drift. A container that shares
 * another's namespace shows the owner's settings, however many containers share it in a chain.
 * Limits: for ports, rules, tables and DNS it repeats the recorded drift; `audit` compares ports. For a container that does not
 * come to rest during the look, all drift is as recorded.
 */
import { stateName } from '../../plan/states.ts';
import { ofCleat } from '../../plan/external/external.ts';
import { toFault } from '../../effects/effect.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { compareOutside } from '../../plan/kernel/expected.ts';
import { compareUplink } from '../../plan/uplinks/uplink-inside.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Inspection, UplinkProcess } from '../../state/answers/container/inspection.ts';
import type { ContainerContext, Difference } from '../../state/container.ts';
import type { Containers } from '../containers/containers.ts';
import { interfacesIn } from './joined-interfaces.ts';
import { differencesInside, insideOf, lookInside, type Inside, type Look } from '../watch/inside-look.ts';
import { networkSettings } from './network-settings.ts';
import type { Networks } from '../networks/networks.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import { containerIdOf } from '../../plan/owner.ts';

export interface InspectParts {
  containers: Pick<Containers, 'get'>;
  networks: Pick<Networks, 'get'>;
  kernel: Kernel;
  view(snapshot: ContainerSnapshot): ContainerView;
  /** Returns the process that is a container's uplink. */
  uplink(context: ContainerContext): UplinkProcess | null;
}

/** Others may change a container while we look; then we look again, but not for ever. */
const LOOKS = 3;

/** The kinds of drift that the look finds itself. Recorded drift of these kinds is not needed. */
const LOOKED_AT = new Set(['link', 'address', 'route', 'neighbour', 'switch', 'uplink']);

/** Returns the container as it is now; null if there is no such container. */
export async function inspect(parts: InspectParts, id: string): Promise<Inspection | null> {
  for (let looks = 1; ; looks++) {
    const snapshot = parts.containers.get(id);
    if (snapshot === undefined) return null;
    const inspection = await inspectSnapshot(parts, snapshot);
    if (looks === LOOKS || !atRest(snapshot) || parts.containers.get(id) === snapshot) return inspection;
  }
}

/** Returns the container as it was in this snapshot. If it has changed since, drift is as recorded. */
export async function inspectSnapshot(parts: InspectParts, snapshot: ContainerSnapshot): Promise<Inspection> {
  const { context } = snapshot;
  const owner = ownerOf(parts, context);
  const shown = owner ?? context;
  // Also if the owner is gone: then the interfaces in the namespace are all that is known.
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

/** Returns the container as it should be, for a list: without a look into the kernel. */
export function outline(
  parts: Pick<InspectParts, 'networks' | 'view'>,
  snapshot: ContainerSnapshot,
): ContainerView & Pick<Inspection, 'NetworkSettings'> {
  const NetworkSettings = networkSettings(snapshot.context, (network) => networkId(parts, network), null);
  return { ...parts.view(snapshot), NetworkSettings };
}

const atRest = (snapshot: ContainerSnapshot): boolean =>
  snapshot.hasTag('rest') && ['up', 'degraded'].includes(stateName(snapshot)) && snapshot.context.change === null;

/** Returns the container that owns the namespace; null if it is gone. */
function ownerOf({ containers }: InspectParts, context: ContainerContext): ContainerContext | null {
  const owner = context.netns?.of ?? null;
  if (owner === null) return context;
  const found = containers.get(containerIdOf(owner))?.context;
  return found?.owner === owner ? found : null;
}

/** Returns the id of a network; its name if there is no such network, or none any more. */
function networkId({ networks }: Pick<InspectParts, 'networks'>, network: string): string {
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

async function driftOutside(kernel: Kernel, context: ContainerContext): Promise<Difference[]> {
  const { outside } = context;
  const attachments = ofCleat(context.attachments);
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

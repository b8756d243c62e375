/**
 * Looks into a container's network namespace, through its pin.
 *
 * Guarantees: changes nothing and never throws. If something cannot be read, or another namespace than the recorded one is at the
 * pin, the result says so.
 * Limits: links, addresses, routes and rules come from several dumps, taken one after another.
 */
import { isNoNamespace, type Kernel } from '../../effects/kernel.ts';
import { insideSwitches } from '../../effects/links/link.ts';
import { rulesOf } from '../../effects/links/source-routes.ts';
import { ofCleat } from '../../plan/external/external.ts';
import { compareInside, type Dump } from '../../plan/kernel/expected.ts';
import { compareKeptSources, KEPT_SWITCHES, KEPT_TABLE, type KeptSeen } from '../../plan/kernel/kept-sources.ts';
import { compareRules, compareSwitches, type RuleSeen } from '../../plan/kernel/switches.ts';
import { isKernelError, type Outside } from '../../native/index.ts';
import type { Attachment, ContainerContext, Difference } from '../../state/container.ts';

/** The parts of a container's context that name our objects in its namespace. */
type Looked = Pick<ContainerContext, 'attachments' | 'portHandler' | 'ports'>;

export interface Blind {
  problem: Difference['problem'];
  path: string;
  why: string;
  errno?: string;
  syscall?: string;
}
export type Look<T> = { seen: T } | Blind;

/** Returns null if there is no namespace to look into (netns host), or none yet. */
export async function lookInside<T>(
  kernel: Kernel,
  { netns, identity, outside }: Pick<ContainerContext, 'netns' | 'identity' | 'outside'>,
  read: (native: Outside, path: string) => Promise<T>,
): Promise<Look<T> | null> {
  if (netns === null || identity === null) return null;
  const { path } = netns;
  try {
    // A pin is the same from every thread. The outside's thread does the work, as long as there is one.
    const { kernel: native } = kernel.outsideIfThere(outside) ?? kernel.outside(null);
    const [now, seen] = await Promise.all([native.netnsIdentify(path), read(native, path)]);
    if (now.dev === identity.dev && now.ino === identity.ino) return { seen };
    return { problem: 'changed', path, why: 'it is another namespace' };
  } catch (error) {
    if (!isKernelError(error)) return { problem: 'unreadable', path, why: String(error) };
    const { code, syscall } = error;
    if (code === 'ESTALE') return { problem: 'changed', path, why: 'it is another namespace' };
    return { problem: isNoNamespace(code) ? 'missing' : 'unreadable', path, why: code, errno: code, syscall };
  }
}

/** The objects in a container's namespace, including those that only some containers have. */
export interface Inside extends Dump {
  /**
   * The values of the switches of its attachments' links (effects/links/link.ts, insideSwitches), by key; null if the switch is
   * missing.
   */
  switches: ReadonlyMap<string, string | null>;
  /** Empty unless there are several networks. */
  rules: readonly RuleSeen[];
  /** Null unless the forwarder carries its ports. */
  kept: KeptSeen | null;
}

/** Returns what lookInside has to read of this container. */
export const insideOf =
  ({ attachments: all, portHandler, ports }: Looked) =>
  async (native: Outside, path: string): Promise<Inside> => {
    const forwarded = portHandler === 'forwarder' && ports.length > 0;
    const attachments = ofCleat(all);
    const keys = attachments.flatMap((one) => Object.keys(insideSwitches(one)));
    const [links, addresses, routes, neighbours, switches, rules] = await Promise.all([
      native.links(path),
      native.addresses(path),
      native.routes(path),
      native.neighbours(path),
      keys.length === 0 ? [] : native.linkSwitches(keys, path),
      attachments.length > 1 ? native.rules(path) : [],
    ]);
    const byKey = new Map(keys.map((key, i) => [key, switches[i] ?? null]));
    const kept = forwarded ? await keptIn(native, path) : null;
    return { links, addresses, routes, neighbours, switches: byKey, rules, kept };
  };

/** Returns null on a kernel without policy routing: there is nothing to keep. */
async function keptIn(native: Outside, path: string): Promise<KeptSeen | null> {
  try {
    const [rules, routes, values] = await Promise.all([
      native.rules(path),
      native.routesOf(path, [KEPT_TABLE]),
      native.sysctlRead(KEPT_SWITCHES, path),
    ]);
    return { rules, routes, switches: new Map(KEPT_SWITCHES.map((key, i) => [key, values[i] ?? null])) };
  } catch (error) {
    if (isKernelError(error) && error.code === 'EOPNOTSUPP') return null;
    throw error;
  }
}

/** Compares what was read with what the container has to have. */
export function differencesInside(all: readonly Attachment[], seen: Inside): Difference[] {
  const found = compareInside(all, seen);
  const attachments = ofCleat(all);
  // A missing link has no switches. These are null, and no difference.
  const rest = attachments.flatMap((attachment) => {
    const wanted = insideSwitches(attachment);
    const values = Object.keys(wanted).map((key) => seen.switches.get(key) ?? null);
    return [
      ...compareSwitches(wanted, values, attachment.network),
      ...(attachments.length > 1 ? compareRules(rulesOf(attachment), seen.rules, attachment.network) : []),
    ];
  });
  return [...found, ...rest, ...(seen.kept === null ? [] : compareKeptSources(seen.kept, all[0]?.network ?? null))];
}

/**
 * Audits bridges, links and the inside of containers: compares what containers at rest should have with the kernel, by the same
 * comparisons as the watch on drift.
 *
 * Guarantees: those of audit.ts. A missing link is not reported a second time.
 * Limits: networks are not judged while a container of the outside is busy. The MTU of a network is never judged: it follows the
 * way out, which no file records.
 */
import type { Kernel } from '../../effects/kernel.ts';
import { compareOutside } from '../../plan/kernel/expected.ts';
import { isExternal } from '../../plan/networks/external.ts';
import { spaceOf } from '../../plan/networks/driver.ts';
import { tunnelName } from '../../plan/kernel/expected-overlay.ts';
import type { Seen } from '../../plan/networks/unmanaged.ts';
import type { Link } from '../../native/index.ts';
import type { Difference } from '../../state/container.ts';
import type { Judged } from './audit-processes.ts';
import { OutsideLook } from '../drift/drift-look.ts';
import type { Finding } from '../../state/answers/audit.ts';
import { differencesInside, insideOf, lookInside } from '../watch/inside-look.ts';

/** Returns the findings of one outside. `links`: all links in it. */
export async function auditObjects(
  kernel: Kernel,
  outside: string | null,
  containers: readonly Judged[],
  definitions: readonly Seen[],
  links: readonly Link[],
): Promise<Finding[]> {
  const steady = containers.filter((one) => one.steady).map(({ context }) => context);
  const found: [string | undefined, Difference[]][] = [];
  for (const context of steady) {
    const { id, attachments } = context;
    if (attachments.length === 0) continue;
    const look = await lookInside(kernel, context, insideOf(context));
    const inside = look !== null && 'seen' in look ? differencesInside(attachments, look.seen) : [];
    // The audit of links has already reported missing links.
    const named = compareOutside(attachments, links).filter(({ problem }) => problem === 'changed');
    found.push([id, [...named, ...inside]]);
  }
  const busy = containers.length > steady.length;
  const look = new OutsideLook(kernel, outside, Infinity, () => definitions.flatMap(spaceOf));
  // What programs of others have made outside of containers is known to them alone.
  for (const definition of busy ? [] : definitions.filter((one) => !isExternal(one))) {
    const members = steady.flatMap(({ attachments }) => attachments.filter((one) => one.network === definition.name));
    if (members.length === 0) continue;
    // The MTU is not judged (see Limits). Neighbours are judged for all bridges together; those of the link to other hosts are other hosts.
    const vxlan = ` on ${tunnelName(definition)}`;
    const own = (await look.network(definition, members)).filter(
      ({ kind, object }) => (kind !== 'neighbour' || object.endsWith(vxlan)) && !object.startsWith('mtu '),
    );
    found.push([undefined, own]);
  }
  return found.flatMap(([owner, all]) =>
    all.map(({ kind, object, problem }): Finding => ({
      kind,
      object,
      problem,
      ...(owner === undefined ? {} : { owner }),
    })),
  );
}

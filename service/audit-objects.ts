/**
 * The auditor's look at bridges, links and what is inside containers: what those at rest should have, by the comparisons that the
 * watch on drift makes.
 *
 * Guarantees: as of audit.ts. A link that is not there is not named again.
 * Limits: networks are not judged while a container of the outside is busy, nor is their MTU: it follows the way out, which no
 * file says.
 */
import type { Kernel } from '../effects/kernel.ts';
import { compareOutside } from '../machines/plan/expected.ts';
import type { Link } from '../native/index.ts';
import type { Difference } from '../state/container.ts';
import type { NetworkDefinition } from '../state/network.ts';
import type { Judged } from './audit-processes.ts';
import { OutsideLook } from './drift-look.ts';
import type { Finding } from './audit-finding.ts';
import { differencesInside, insideOf, lookInside } from './inside-look.ts';

/** What is wrong in one outside. `links`: all links that there are in it. */
export async function auditObjects(
  kernel: Kernel,
  outside: string | null,
  containers: readonly Judged[],
  definitions: readonly NetworkDefinition[],
  links: readonly Link[],
): Promise<Finding[]> {
  const steady = containers.filter((one) => one.steady).map(({ context }) => context);
  const found: [string | undefined, Difference[]][] = [];
  for (const context of steady) {
    const { id, attachments } = context;
    if (attachments.length === 0) continue;
    const look = await lookInside(kernel, context, insideOf(context));
    const inside = look !== null && 'seen' in look ? differencesInside(attachments, look.seen) : [];
    // The audit of links has named a link that is not there.
    const named = compareOutside(attachments, links).filter(({ problem }) => problem === 'changed');
    found.push([id, [...named, ...inside]]);
  }
  const busy = containers.length > steady.length;
  const look = new OutsideLook(kernel, outside, Infinity, () =>
    definitions.flatMap(({ subnets }) => subnets.map(({ subnet }) => subnet)),
  );
  for (const definition of busy ? [] : definitions) {
    const members = steady.flatMap(({ attachments }) => attachments.filter((one) => one.network === definition.name));
    if (members.length === 0) continue;
    // The MTU is not judged (Limits), and neighbours are judged for all bridges together.
    const own = (await look.network(definition, members)).filter(
      ({ kind, object }) => kind !== 'neighbour' && !object.startsWith('mtu '),
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

/**
 * Finds the owners of namespaces in which something was removed, among the containers with links on parents.
 *
 * Guarantees: changes nothing but that a namespace gets a number in the outside, which effects/links/child-link.ts gives it anyway.
 * Limits: such links have no end in the outside that would name their owner, so every container of this kind is asked for its number.
 */
import type { Kernel } from '../../effects/kernel.ts';
import type { Containers } from '../containers/containers.ts';

/** `unknown`: the numbers of namespaces. Adds the owner of each that has a container of this outside to `owners`. */
export async function findOnParents(
  { kernel, containers }: { kernel: Kernel; containers: Pick<Containers, 'all'> },
  outside: string | null,
  unknown: readonly number[],
  owners: Map<number, string>,
): Promise<void> {
  if (unknown.length === 0) return;
  for (const { context } of containers.all()) {
    const { owner, netns, attachments } = context;
    const is = context.outside === outside && attachments.some(({ child }) => child !== undefined);
    if (!is || netns === null) continue;
    // The namespace may end at any time.
    const nsid = await kernel
      .outside(outside)
      .kernel.netnsId(netns.path)
      .catch(() => null);
    if (nsid !== null && unknown.includes(nsid)) owners.set(nsid, owner);
  }
}

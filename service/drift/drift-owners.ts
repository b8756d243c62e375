/**
 * Finds the owners of namespaces in which something was removed, among the containers with links on parents or with external
 * attachments: nothing of these is in the outside that would name its owner.
 *
 * Guarantees: changes nothing but that a namespace gets a number in the outside, which effects/links/child-link.ts and
 * effects/external/external.ts give it anyway. It keeps the number as long as it lives, so an owner that is known is not looked up
 * again.
 * Limits: every other container of this kind is asked for its number, until all are found.
 */
import type { Kernel } from '../../effects/kernel.ts';
import type { Containers } from '../containers/containers.ts';

/** `unknown`: the numbers of namespaces. Adds the owner of each that has a container of this outside to `owners`. */
export async function findOwners(
  { kernel, containers }: { kernel: Kernel; containers: Pick<Containers, 'all'> },
  outside: string | null,
  unknown: readonly number[],
  owners: Map<number, string>,
): Promise<void> {
  const wanted = new Set(unknown);
  const known = new Set(owners.values());
  for (const { context } of containers.all()) {
    if (wanted.size === 0) return;
    const { owner, netns, attachments } = context;
    if (context.outside !== outside || netns === null || known.has(owner)) continue;
    if (!attachments.some(({ child, external }) => child !== undefined || external !== undefined)) continue;
    // The namespace may end at any time.
    const nsid = await kernel
      .outside(outside)
      .kernel.netnsId(netns.path)
      .catch(() => null);
    if (nsid !== null && wanted.delete(nsid)) owners.set(nsid, owner);
  }
}

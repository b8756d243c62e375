/**
 * Finds out whose namespace is whose among containers that are on external networks alone: they have no link of ours in the outside
 * that would show it.
 *
 * Guarantees: a namespace keeps its number in the outside as long as it lives, so each container is looked up once.
 * Limits: the kernel announces changes of namespaces that have a number when they change (effects/external/external.ts).
 */
import { ofCleat } from '../../plan/external/external.ts';
import type { Kernel } from '../../effects/kernel.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';

/** Adds the owners by the numbers of their namespaces (nsid). */
export async function findExternal(
  { kernel, containers }: { kernel: Kernel; containers: { all(): readonly ContainerSnapshot[] } },
  outside: string | null,
  owners: Map<number, string>,
): Promise<void> {
  const known = new Set(owners.values());
  for (const { context } of containers.all()) {
    const { owner, netns, attachments } = context;
    if (context.outside !== outside || netns === null || known.has(owner)) continue;
    if (attachments.length === 0 || ofCleat(attachments).length > 0) continue;
    const nsid = await kernel
      .outside(outside)
      .kernel.netnsId(netns.path)
      .catch(() => null); // it may be gone
    if (nsid !== null) owners.set(nsid, owner);
  }
}

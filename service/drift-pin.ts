/**
 * Puts back the pin of a container's namespace that somebody has unmounted, as long as a process lives in the namespace.
 *
 * Guarantees: done and said as policy has it for links. What else the look has found is looked at again then.
 * Limits: the kernel announces no unmount: found by the sweep, or when something else leads there. A namespace in which nobody
 * lives ends with its pin, and with it everything that was in it: that is named, and not made again.
 */
import type { Kernel } from '../effects/kernel.ts';
import { pinAgain } from '../effects/netns.ts';
import type { ContainerContext, Difference } from '../state/container.ts';
import type { DriftPolicies } from '../state/drift.ts';
import type { DriftRecord } from './drift-record.ts';

/** Whether it was put back. `isStill`: nobody has begun to take the container away meanwhile. */
export async function pinBack(
  { kernel, policies }: { kernel: Kernel; policies: DriftPolicies },
  record: DriftRecord,
  context: ContainerContext,
  seen: readonly Difference[],
  isStill: () => boolean,
): Promise<boolean> {
  const unpinned = seen.find(
    ({ kind, network, problem }) => kind === 'link' && network === null && problem === 'missing',
  );
  if (unpinned === undefined || policies.link !== 'repair' || !(await pinAgain(kernel, context))) return false;
  if (!isStill()) {
    // Its teardown may have unpinned it before.
    await kernel.outside(null).kernel.netnsRemove(unpinned.object);
    return false;
  }
  const { kind, object, network } = unpinned;
  record.mended({ owner: context.owner }, [{ kind, object, network }]);
  return true;
}

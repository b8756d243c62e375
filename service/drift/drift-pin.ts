/**
 * Puts back the pin of a container's namespace that somebody has unmounted, as long as a process lives in the namespace.
 *
 * Guarantees: repairs and announces as the policy for links says. The other differences of that look are looked at again
 * afterwards.
 * Limits: the kernel announces no unmount; the sweep finds it, or a look that something else causes. A namespace without a
 * process ends with its pin, and everything in it too: that is reported, and not made again.
 */
import type { Kernel } from '../../effects/kernel.ts';
import { pinAgain } from '../../effects/namespaces/netns.ts';
import type { ContainerContext, Difference } from '../../state/container.ts';
import type { DriftPolicies } from '../../state/drift.ts';
import type { DriftRecord } from './drift-record.ts';

/** Resolves with true if the pin was put back. `isStill` returns false if a teardown of the container has begun meanwhile. */
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
    // The teardown may have removed the pin before it was put back here.
    await kernel.outside(null).kernel.netnsRemove(unpinned.object);
    return false;
  }
  const { kind, object, network } = unpinned;
  record.mended({ owner: context.owner }, [{ kind, object, network }]);
  return true;
}

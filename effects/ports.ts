/**
 * Published ports in the firewall: elements of its maps, one per port and family.
 *
 * Guarantees: all ports of a call appear in one transaction, or none; an element names its owner, and only the owner's
 * are taken away. Cost does not grow with what is there already (hash maps).
 * Limits: connections that exist already are left alone.
 */
import type { PublishInput } from '../machines/container.ts';
import { isKernelError } from '../native/index.ts';
import type { Kernel } from './kernel.ts';
import { portElements } from './ruleset.ts';

export const publish =
  (kernel: Kernel) =>
  async (input: PublishInput): Promise<void> => {
    await kernel.outside(input.outside).kernel.nft(elementsOf(kernel, input).add);
  };

export const unpublish =
  (kernel: Kernel) =>
  async (input: PublishInput): Promise<void> => {
    if (input.targets.length === 0) return;
    const native = kernel.outsideIfThere(input.outside)?.kernel;
    if (native === undefined) return;
    const remove = async (targets: PublishInput['targets']): Promise<'done' | 'not ours'> => {
      try {
        await native.nft(elementsOf(kernel, { ...input, targets }).remove);
      } catch (error) {
        if (!isKernelError(error)) throw error;
        if (error.code === 'EEXIST') return 'not ours';
        if (error.code !== 'ENOENT') throw error; // ENOENT: the table is gone, and every element with it
      }
      return 'done';
    };
    if ((await remove(input.targets)) === 'done') return;
    // One of them has become somebody else's: take the others one by one.
    for (const target of input.targets) await remove([target]);
  };

function elementsOf(kernel: Kernel, { owner, targets }: PublishInput) {
  return portElements(
    kernel.instance.table,
    targets.map((target) => ({ ...target, owner })),
  );
}

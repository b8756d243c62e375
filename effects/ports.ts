/**
 * Published ports in the firewall: elements of its maps, one per port and family.
 *
 * Guarantees: all ports of a call come, go or change hands in one transaction, or none does; an element names its owner,
 * and only one with exactly the data that the snapshot says is taken away. Cost does not grow with what is there already
 * (hash maps). Run twice, the outcome is the same. Connections that the firewall led where a port does not lead any more
 * are forgotten before a port counts as gone or as led elsewhere, and soon after it has come (conntrack.ts).
 */
import type { OwnedTarget, PublishInput } from '../machines/plan/change.ts';
import { isKernelError, type NftOperation, type Outside } from '../native/index.ts';
import { forgetPorts, forgetPortsLater, portsForgotten } from './conntrack.ts';
import type { Kernel } from './kernel.ts';
import { portElements } from './ruleset.ts';

export const publish =
  (kernel: Kernel) =>
  async ({ outside, targets, replacing }: PublishInput): Promise<void> => {
    if (targets.length === 0) return unpublish(kernel)({ outside, targets, replacing });
    const { kernel: native } = kernel.outside(outside);
    const add = elements(kernel, targets).add;
    const remove = elements(kernel, replacing).remove;
    await portsForgotten(native, targets);
    let gone = others(replacing, targets);
    if (!(await done(native, [...remove, ...add]))) {
      // Somewhere an element has other data: an earlier run of this has ended well, or it is a stranger's.
      await native.nft(add);
      gone = await takeOut(kernel, native, gone);
    }
    if (replacing.length === 0) forgetPortsLater(kernel, native, targets, []);
    else await forgetPorts(native, targets, gone);
  };

export const unpublish =
  (kernel: Kernel) =>
  async ({ outside, replacing, leaving }: PublishInput): Promise<void> => {
    if (replacing.length === 0) return;
    const native = kernel.outsideIfThere(outside)?.kernel;
    if (native === undefined) return;
    const gone = await takeOut(kernel, native, replacing);
    if (leaving === true) forgetPortsLater(kernel, native, [], gone);
    else await forgetPorts(native, [], gone);
  };

/** Answers those of them that lead nowhere now; the others have become somebody else's. */
async function takeOut(kernel: Kernel, native: Outside, targets: OwnedTarget[]): Promise<OwnedTarget[]> {
  const remove = async (some: OwnedTarget[]): Promise<boolean> => {
    try {
      return await done(native, elements(kernel, some).remove);
    } catch (error) {
      if (isKernelError(error) && error.code === 'ENOENT') return true; // the table is gone, and every element with it
      throw error;
    }
  };
  if (targets.length === 0 || (await remove(targets))) return targets;
  const gone: OwnedTarget[] = [];
  for (const target of targets) if (await remove([target])) gone.push(target);
  return gone;
}

/** False when an element is there with other data: nothing was changed then. */
async function done(native: Outside, operations: NftOperation[]): Promise<boolean> {
  try {
    await native.nft(operations);
    return true;
  } catch (error) {
    if (isKernelError(error) && error.code === 'EEXIST') return false;
    throw error;
  }
}

/** Of what is replaced, that which has no successor on the same host port. */
function others(replacing: readonly OwnedTarget[], targets: readonly OwnedTarget[]): OwnedTarget[] {
  const family = ({ address }: OwnedTarget) => (address.includes(':') ? 6 : 4);
  const key = (target: OwnedTarget) => `${target.protocol} ${target.hostIp} ${target.hostPort} ${family(target)}`;
  const taken = new Set(targets.map(key));
  return replacing.filter((target) => !taken.has(key(target)));
}

const elements = (kernel: Kernel, targets: readonly OwnedTarget[]) => portElements(kernel.instance.table, [...targets]);

/**
 * Published ports in the firewall: elements of its maps, one per port and family.
 *
 * Guarantees: one transaction adds, removes or moves all ports of a call, or none. An element names its owner, and is removed
 * only if it has exactly the data of the snapshot. The cost does not grow with the number of existing elements (hash maps).
 * Running twice gives the same result. Connections to a port's former target are deleted before the port counts as removed or
 * moved, and soon after a port is added (conntrack.ts).
 */
import { familyOf } from '../../plan/addresses/address.ts';
import type { OwnedTarget, PublishInput } from '../../plan/containers/change.ts';
import { isKernelError, type NftOperation, type Outside } from '../../native/index.ts';
import { forgetPorts, forgetPortsLater, portsForgotten } from '../firewall/conntrack.ts';
import type { Kernel } from '../kernel.ts';
import { portElements } from '../ruleset/ruleset.ts';

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
      // An element has other data: an earlier run of this effect has succeeded, or the element is somebody else's.
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

/** Removes elements one by one if necessary. Returns the ports that have no element now; the others belong to somebody else. */
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

/** Returns false if an element exists with other data; nothing was changed then. */
async function done(native: Outside, operations: NftOperation[]): Promise<boolean> {
  try {
    await native.nft(operations);
    return true;
  } catch (error) {
    if (isKernelError(error) && error.code === 'EEXIST') return false;
    throw error;
  }
}

/** Returns the replaced ports that have no successor on the same host port. */
function others(replacing: readonly OwnedTarget[], targets: readonly OwnedTarget[]): OwnedTarget[] {
  const key = (target: OwnedTarget) =>
    `${target.protocol} ${target.hostIp} ${target.hostPort} ${familyOf(target.address)}`;
  const taken = new Set(targets.map(key));
  return replacing.filter((target) => !taken.has(key(target)));
}

const elements = (kernel: Kernel, targets: readonly OwnedTarget[]) => portElements(kernel.instance.table, [...targets]);

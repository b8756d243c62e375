/**
 * The effects of machines/uplink.ts, under its names.
 *
 * Guarantees: what a start changes in the container's namespace beside the link is as it was when it returns: pasta gives
 * its link the addresses of the outside's while it starts, and needs IPv6 to be there by then.
 * Limits: a crash in between leaves IPv6 on for links that are made later in this namespace.
 */
import type { UplinkStart } from '../machines/plan/uplink.ts';
import type { Kernel } from './kernel.ts';
import { verifyUplink } from './uplink-link.ts';
import { probeUplink } from './uplink-probe.ts';
import { ensureUplink, removeUplink } from './uplink-process.ts';

/** IPv6 is there, and addresses can be used at once. */
const OPEN = { 'net/ipv6/conf/default/disable_ipv6': '0', 'net/ipv6/conf/default/accept_dad': '0' };

export const uplinkEffects = (kernel: Pick<Kernel, 'outside'>) => ({
  probeUplink,
  startUplink: startUplink(kernel),
  verifyUplink: verifyUplink(kernel),
  stopUplink: ({ directory }: { directory: string }) => removeUplink(directory),
});

const startUplink =
  (kernel: Pick<Kernel, 'outside'>) =>
  async (input: UplinkStart): Promise<void> => {
    if (input.program !== 'pasta') return ensureUplink(input);
    const { kernel: native } = kernel.outside(input.outside);
    const keys = Object.keys(OPEN);
    const values = await native.sysctlRead(keys, input.netns);
    const there = keys.flatMap((key, i) => (values[i] === null || values[i] === undefined ? [] : [[key, values[i]]]));
    if (there.length === keys.length) await native.sysctlWrite(OPEN, input.netns);
    try {
      await ensureUplink(input);
    } finally {
      await native.sysctlWrite(Object.fromEntries(there) as Record<string, string>, input.netns);
    }
  };

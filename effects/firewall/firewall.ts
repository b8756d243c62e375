/**
 * The table that all networks and uplinks of an outside share, and the outside's forwarding switches, which only networks need.
 *
 * Guarantees: rules come before forwarding, and are removed after it. The switches end as they were found.
 */
import type { Switches } from '../../machines/firewall.ts';
import {
  closedFamilies,
  forwardIpv4,
  keepAdvertisements,
  putBackSwitches,
  readForwarding,
} from '../namespaces/forwarding.ts';
import type { Kernel } from '../kernel.ts';
import { baseRules, removeTable } from '../ruleset/ruleset.ts';
import { NO_REPLIES, type Replies } from '../ruleset/ruleset-replies.ts';
import type { UplinkGuard } from '../ruleset/ruleset-uplinks.ts';

interface Where {
  outside: string | null;
}

/** Returns how answers from published ports leave an outside (ruleset-replies.ts). */
type RepliesIn = (outside: string | null) => Replies;

/** Says of an outside if packets between interfaces that are not of cleat are forwarded, too. */
export type ForwardOthers = (outside: string | null) => boolean;

/** Reads every switch that raising may change. */
export const readSwitches =
  (kernel: Kernel) =>
  ({ outside }: Where): Promise<Switches> =>
    readForwarding(kernel.outside(outside).kernel);

export const raiseFirewall =
  (kernel: Kernel, forwardOthers: ForwardOthers, guard: () => UplinkGuard, replies: RepliesIn = () => NO_REPLIES) =>
  async ({ outside, found }: Where & { found: Switches | null }): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    const closed = closedFamilies(found, forwardOthers(outside));
    await native.nft(baseRules(kernel.instance.table, closed, guard(), replies(outside)));
    if (found === null) return; // for uplinks alone, which need no forwarding
    await keepAdvertisements(native, found);
    await forwardIpv4(native);
  };

/** Restores the switches after the last network, while uplinks remain: keeps the table, without forwarding. */
export const restoreSwitches =
  (kernel: Kernel, guard: () => UplinkGuard) =>
  async ({ outside, found }: Where & { found: Switches | null }): Promise<void> => {
    const native = kernel.outsideIfThere(outside)?.kernel;
    if (native === undefined) return;
    await putBackSwitches(kernel, native, found ?? {});
    await native.nft(baseRules(kernel.instance.table, closedFamilies(null, false), guard()));
  };

export const lowerFirewall =
  (kernel: Kernel) =>
  async ({ outside, found }: Where & { found: Switches | null }): Promise<void> => {
    const native = kernel.outsideIfThere(outside)?.kernel;
    if (native === undefined) return;
    await putBackSwitches(kernel, native, found ?? {});
    await native.nft(removeTable(kernel.instance.table));
  };

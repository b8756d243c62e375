/**
 * Switches under /proc/sys that may not be there, and whether a link has IPv6.
 *
 * Guarantees: a switch that is absent is no failure; any other refusal is one.
 * Limits: of several, those after an absent one are not written: pass those together that are there together.
 */
import { isKernelError, type Outside } from '../native/index.ts';

/** An interface with a smaller MTU has no IPv6 (RFC 8200, 5; addrconf_notify in the kernel): EAFNOSUPPORT. */
export const hasIpv6 = (mtu: number): boolean => mtu >= 1280;

/**
 * The switches of an interface go with it, at any time; those of IPv6 also with an MTU that is too small for it.
 */
export async function writeIfThere(native: Outside, switches: Record<string, string>, netns?: string): Promise<void> {
  try {
    await native.sysctlWrite(switches, netns);
  } catch (error) {
    if (!isKernelError(error) || error.code !== 'ENOENT') throw error;
  }
}

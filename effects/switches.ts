/**
 * Switches under /proc/sys that may not be there, and whether the kernel and a link have IPv6.
 *
 * Guarantees: a switch that is absent is no failure; any other refusal is one.
 * Limits: of several, those after an absent one are not written: pass those together that are there together.
 */
import { isKernelError, type Outside } from '../native/index.ts';
import { EffectError } from './effect.ts';

/** An interface with a smaller MTU has no IPv6 (RFC 8200, 5; addrconf_notify in the kernel): EAFNOSUPPORT. */
export const hasIpv6 = (mtu: number): boolean => mtu >= 1280;

let ipv6 = false;

/** False when it was booted with ipv6.disable=1, or built without. The module may be loaded later. */
export async function kernelHasIpv6(native: Pick<Outside, 'sysctlRead'>): Promise<boolean> {
  if (!ipv6) ipv6 = typeof (await native.sysctlRead(['net/ipv6/conf/all/disable_ipv6']))[0] === 'string';
  return ipv6;
}

/** Throws when an IPv6 subnet or address is among these, and the kernel has none. */
export async function requireIpv6(native: Outside, what: string, addresses: readonly string[]): Promise<void> {
  if (addresses.every((address) => !address.includes(':')) || (await kernelHasIpv6(native))) return;
  throw new EffectError({ code: 'NO_IPV6', message: `${what} has IPv6, and this kernel has none`, object: what });
}

/**
 * The switches of an interface go with it, at any time; those of IPv6 also with an MTU that is too small for it.
 */
export async function writeIfThere(
  native: Outside,
  switches: Record<string, string>,
  netns?: string,
  ours = false,
): Promise<void> {
  try {
    await native.sysctlWrite(switches, netns, ours);
  } catch (error) {
    if (!isKernelError(error) || error.code !== 'ENOENT') throw error;
  }
}

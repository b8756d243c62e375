/**
 * Switches under /proc/sys that may be missing, and the checks for IPv6 of the kernel and of a link.
 *
 * Guarantees: a missing switch is no failure; any other refusal is one.
 * Limits: switches after a missing one are not written, so pass only those together that exist together.
 */
import { isKernelError, type Outside } from '../../native/index.ts';
import { IPV6_LEAST } from '../../plan/networks/mtu.ts';
import { FaultError } from '../../state/faults.ts';

/** An interface with a smaller MTU has no IPv6 (RFC 8200, 5; addrconf_notify in the kernel): EAFNOSUPPORT. */
export const hasIpv6 = (mtu: number): boolean => mtu >= IPV6_LEAST;

/** Returns the IPv6 switches of a link on which the host listens to nobody: no router, no redirect, no other owner of an address. */
export const ipv6Switches = (link: string, hasSubnet: boolean): Record<string, string> => {
  const of = `net/ipv6/conf/${link}`;
  if (!hasSubnet) return { [`${of}/disable_ipv6`]: '1' };
  const off = ['disable_ipv6', 'accept_ra', 'accept_dad', 'accept_redirects'];
  return Object.fromEntries(off.map((name) => [`${of}/${name}`, '0']));
};

let ipv6 = false;

/** Returns false if the kernel was booted with ipv6.disable=1, or built without IPv6. The module may be loaded later. */
export async function kernelHasIpv6(native: Pick<Outside, 'sysctlRead'>): Promise<boolean> {
  if (!ipv6) ipv6 = typeof (await native.sysctlRead(['net/ipv6/conf/all/disable_ipv6']))[0] === 'string';
  return ipv6;
}

/** Throws if an IPv6 subnet or address is among these, and the kernel has no IPv6. */
export async function requireIpv6(native: Outside, what: string, addresses: readonly string[]): Promise<void> {
  if (addresses.every((address) => !address.includes(':')) || (await kernelHasIpv6(native))) return;
  throw new FaultError('NO_IPV6', `${what} has IPv6, and this kernel has none`, { object: what });
}

/**
 * Writes switches, and ignores missing ones. The switches of an interface vanish with it, at any time; those of IPv6 also with
 * an MTU that is too small for it.
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

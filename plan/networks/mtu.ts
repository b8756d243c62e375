/**
 * Limits and defaults for the MTU of a link.
 *
 * Guarantees: constants, each with its source.
 * Limits: the kernel decides the real MTU of a link. Effects have constants of their own for the values that they set.
 */

/** The default MTU of Ethernet, of bridges and of veths (ETH_DATA_LEN). */
export const ETHERNET_MTU = 1500;
/** The minimum for IPv4 (RFC 791, 3.2). */
export const IPV4_LEAST = 68;
/** The minimum for IPv6; an interface with less has no IPv6 (RFC 8200, 5; addrconf_notify in the kernel). */
export const IPV6_LEAST = 1280;
/** The maximum of a bridge (ETH_MAX_MTU). */
export const BRIDGE_MOST = 65_535;

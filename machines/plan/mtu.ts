/**
 * Numbers of bytes that the MTU of a link is measured by.
 *
 * Guarantees: constants, each with its source.
 * Limits: what a link has is the kernel's to say; effects have their own names for what they ask of it.
 */

/** What an Ethernet has when nobody says otherwise (ETH_DATA_LEN). */
export const ETHERNET_MTU = 1500;
/** The least that IPv4 works with (RFC 791, 3.2). */
export const IPV4_LEAST = 68;
/** The least that IPv6 works with: an interface with less has none (RFC 8200, 5; addrconf_notify in the kernel). */
export const IPV6_LEAST = 1280;
/** The most that a bridge can have (ETH_MAX_MTU). */
export const BRIDGE_MOST = 65_535;

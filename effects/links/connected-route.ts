/**
 * The route to the subnet of an address, equal to the one that the kernel adds with the address.
 *
 * Guarantees: pure. Destination and metric are the kernel's (fib_add_ifaddr, addrconf_prefix_route), so adding a route that
 * exists fails with EEXIST.
 * Limits: an IPv4 route without a preferred source: the kernel chooses the first address of the link.
 */

/** `subnet`: a network address with its prefix, "10.89.0.0/24". */
export function connectedRoute(link: string, subnet: string) {
  const [destination = '', prefix = ''] = subnet.split('/');
  // The kernel's metrics: 0, and IP6_RT_PRIO_ADDRCONF.
  const metric = destination.includes(':') ? 256 : 0;
  return { destination, prefix: Number(prefix), link, metric, scope: 'link' as const };
}

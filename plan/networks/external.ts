/**
 * Networks that programs of others make: those of the drivers cni and netavark. Says which requests make no sense there, and what
 * netavark is told of a network.
 *
 * Guarantees: pure. A network of CNI is its conflist: cleat knows neither its subnets nor its links. A network of netavark is
 * defined and leased as one on a bridge of cleat is; netavark makes the bridge and its rules.
 * Limits: if the conflist exists, and what is in it, shows when the network is made and when a container is attached.
 */
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition, NetworkRequest } from '../../state/network.ts';

type Driven = Pick<NetworkDefinition, 'driver'>;

/** True if a program of others makes the network and its attachments. */
export const isExternal = ({ driver }: Driven): boolean => driver === 'cni' || driver === 'netavark';

/** True if the program chooses addresses, links and everything else. */
export const isUnknown = ({ driver }: Driven): boolean => driver === 'cni';

/** Members of a request that the conflist decides. */
const CONFLIST_ALONE = [
  'network_interface',
  'subnets',
  'ipv4_enabled',
  'ipv6_enabled',
  'internal',
  'dns_enabled',
  'routes',
  'network_dns_servers',
  'ipam_options',
] as const;

/** Returns the reason why this cannot be an external network; null if it can, or if it is to be none. */
export function notExternal(request: NetworkRequest): Fault | null {
  const { name, driver = 'bridge', options = {} } = request;
  const bad = (message: string): Fault => ({ code: 'BAD_REQUEST', message });
  if (driver === 'netavark' && request.dns_enabled === true)
    return bad(`network ${name} is made by netavark: there are no names on it`);
  if (driver !== 'cni') return null;
  if (options.conflist === undefined)
    return bad(`network ${name} names no conflist: the option conflist, such as /etc/cni/net.d/10-net.conflist`);
  const given = CONFLIST_ALONE.find((one) => isGiven(request[one]));
  return given === undefined ? null : bad(`${given} means nothing to driver cni: the conflist decides that`);
}

const isGiven = (value: unknown): boolean =>
  value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0);

/** Returns the network as netavark gets it: a bridge, without names. */
export function libnetworkOf({
  name,
  id,
  network_interface,
  subnets,
  ipv6_enabled,
  internal,
  options,
  routes,
}: NetworkDefinition): { name: string } & Record<string, unknown> {
  return {
    name,
    id,
    driver: 'bridge',
    network_interface,
    subnets,
    ipv6_enabled,
    internal,
    dns_enabled: false,
    options,
    ipam_options: { driver: 'host-local' },
    ...(routes.length === 0 ? {} : { routes }),
  };
}

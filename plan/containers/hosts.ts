/**
 * The hosts file of a container: the container itself on each of its networks, and the machine that it runs on.
 *
 * Guarantees: pure; each name once per address; the first name of a line is the container's own name for itself. The host has
 * an address in each family that the container has a default route in, unless the gateway is not the host: a gateway that pasta
 * has copied is a router, and so may be that of an external network.
 * Limits: no other containers: the resolver has those.
 */
import type { ContainerContext } from '../../state/container.ts';
import { dnsNames } from '../names/names.ts';
import { ofCleat } from '../external/external.ts';
import { byPrecedence } from './attachment.ts';
import { gatewayIsHost } from '../uplinks/uplink-inside.ts';

/** The input of both files of a container. */
export type FilesInput = Pick<
  ContainerContext,
  'id' | 'name' | 'pod' | 'hostname' | 'attachments' | 'uplink' | 'dnsServers' | 'extraHosts'
>;

/** Podman's and Docker's names for the host. Podman writes both. */
const HOST_NAMES = 'host.containers.internal host.docker.internal';

/** `isHost`: false if the networks' gateways are not the host, but a rootless daemon's outside. */
export function hostsFile(input: FilesInput, isHost = true): string {
  const { id, name, pod, hostname, attachments, uplink, extraHosts = [] } = input;
  const made = uplink?.made ?? null;
  const joined = made === null ? [] : [{ ...made, aliases: [id.slice(0, 12)] }];
  const ordered = [...byPrecedence(attachments), ...joined];
  const own = ordered.flatMap(({ addresses, aliases }) => {
    const names = dnsNames([...(hostname === null ? [] : [hostname]), pod ?? name, ...aliases]);
    return names.length === 0 ? [] : addresses.map(({ address }) => `${address} ${names.join(' ')}`);
  });
  const leads = uplink === undefined ? isHost : gatewayIsHost(uplink.settings);
  const leading = leads ? [...ofCleat(byPrecedence(attachments)), ...joined] : [];
  const gateways = leading.flatMap(({ addresses }) => addresses.flatMap(({ gateway }) => gateway ?? []));
  // A link-local address is of no use in a hosts file.
  const host = [false, true].flatMap(
    (v6) => gateways.find((address) => address.includes(':') === v6 && !/^fe[89ab]/.test(address)) ?? [],
  );
  return [
    '127.0.0.1 localhost',
    '::1 localhost ip6-localhost ip6-loopback',
    ...extraHosts.map(({ host: extra, ip }) => `${ip} ${extra}`), // first: the reader takes the first line of a name
    ...own,
    ...host.map((address) => `${address} ${HOST_NAMES}`),
    '',
  ].join('\n');
}

/**
 * The hosts file of a container: itself on each of its networks, and the machine that it runs on.
 *
 * Guarantees: pure; each name once per address; what stands first on a line is what the container calls itself. The host
 * has an address for each family in which the container leads out, where that address means the host: a gateway that pasta
 * has copied is a router.
 * Limits: only itself: other containers are the resolver's to know.
 */
import type { ContainerContext } from '../../state/container.ts';
import { dnsNames } from './names.ts';
import { byPrecedence } from './attachment.ts';
import { gatewayIsHost } from './uplink-inside.ts';

/** What both files of a container are made of. */
export type FilesInput = Pick<ContainerContext, 'id' | 'name' | 'pod' | 'hostname' | 'attachments' | 'uplink'>;

/** Podman's name for it, and Docker's, which Podman writes too. */
const HOST_NAMES = 'host.containers.internal host.docker.internal';

export function hostsFile({ id, name, pod, hostname, attachments, uplink }: FilesInput): string {
  const made = uplink?.made ?? null;
  const joined = made === null ? [] : [{ ...made, aliases: [id.slice(0, 12)] }];
  const ordered = [...byPrecedence(attachments), ...joined];
  const own = ordered.flatMap(({ addresses, aliases }) => {
    const names = dnsNames([...(hostname === null ? [] : [hostname]), pod ?? name, ...aliases]);
    return names.length === 0 ? [] : addresses.map(({ address }) => `${address} ${names.join(' ')}`);
  });
  const leading = uplink === undefined || gatewayIsHost(uplink.settings) ? ordered : [];
  const gateways = leading.flatMap(({ addresses }) => addresses.flatMap(({ gateway }) => gateway ?? []));
  // A link-local one means nothing in a hosts file.
  const host = [false, true].flatMap(
    (v6) => gateways.find((address) => address.includes(':') === v6 && !/^fe[89ab]/.test(address)) ?? [],
  );
  return [
    '127.0.0.1 localhost',
    '::1 localhost ip6-localhost ip6-loopback',
    ...own,
    ...host.map((address) => `${address} ${HOST_NAMES}`),
    '',
  ].join('\n');
}

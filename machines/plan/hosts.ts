/**
 * The hosts file of a container: itself on each of its networks, and the machine that it runs on.
 *
 * Guarantees: pure; each name once per address; what stands first on a line is what the container calls itself.
 * Limits: only itself: other containers are the resolver's to know.
 */
import type { ContainerContext } from '../../state/container.ts';
import { dnsNames } from './names.ts';
import { byPrecedence } from './attachment.ts';

/** What both files of a container are made of. */
export type FilesInput = Pick<ContainerContext, 'id' | 'name' | 'pod' | 'hostname' | 'attachments' | 'uplink'>;

/** Podman's name for it. */
const HOST_NAME = 'host.containers.internal';

export function hostsFile({ id, name, pod, hostname, attachments, uplink }: FilesInput): string {
  const made = uplink?.made ?? null;
  const joined = made === null ? [] : [{ ...made, aliases: [id.slice(0, 12)] }];
  const ordered = [...byPrecedence(attachments), ...joined];
  const own = ordered.flatMap(({ addresses, aliases }) => {
    const names = dnsNames([...(hostname === null ? [] : [hostname]), pod ?? name, ...aliases]);
    return names.length === 0 ? [] : addresses.map(({ address }) => `${address} ${names.join(' ')}`);
  });
  const gateways = ordered[0]?.addresses.flatMap(({ gateway }) => gateway ?? []) ?? [];
  const gateway = gateways.find((address) => !address.includes(':')) ?? gateways[0];
  return [
    '127.0.0.1 localhost',
    '::1 localhost ip6-localhost ip6-loopback',
    ...own,
    ...(gateway === undefined ? [] : [`${gateway} ${HOST_NAME}`]),
    '',
  ].join('\n');
}

/**
 * Networks whose attachments a program of others makes (drivers `cni` and `netavark`), in the terms of cleat: what a program gets,
 * and what its answer means for the attachment.
 *
 * Guarantees: pure. The request is in the attachment, and so in the snapshot, before the program runs; the answer is kept word
 * for word beside it. Addresses, MAC and name servers of an attachment are those of the answer.
 * Limits: routes and what the program has made in the outside are known to the program alone.
 */
import ipaddr from 'ipaddr.js';
import type { Attachment, ContainerContext, LeasedAddress } from '../../state/container.ts';
import type { External, ExternalPort, ExternalTerms } from '../../state/external.ts';
import { carriesPorts, cni } from './cni.ts';
import { isRecord, textIn, type Json, type Protocol, type Subject } from './conversation.ts';
import { netavark } from './netavark.ts';

export const PROTOCOLS: Readonly<Record<ExternalTerms['driver'], Protocol>> = { cni, netavark };

/** Returns the attachments that cleat makes itself. */
export const ofCleat = <A extends { external?: External | undefined }>(attachments: readonly A[]): A[] =>
  attachments.filter(({ external }) => external === undefined);

export const isSubject = (attachment: Attachment): attachment is Subject['attachment'] =>
  attachment.external !== undefined;

/** Returns the request of a container, without ports. */
export function externalOf(
  { id, name, pod, token }: Pick<ContainerContext, 'id' | 'name' | 'pod' | 'token'>,
  terms: ExternalTerms,
  {
    static_ips: ips = [],
    static_mac: mac = null,
  }: { static_ips?: string[] | undefined; static_mac?: string | undefined | null },
): External {
  // The token keeps generations and daemons apart, whose containers may have the same id.
  return {
    terms,
    container: { id: `${id}-${token.slice(0, 8)}`, name: pod ?? name },
    ips,
    mac,
    ports: [],
    result: null,
  };
}

/** True if the program can publish ports. */
const takesPorts = (terms: ExternalTerms): boolean => terms.driver === 'netavark' || carriesPorts(terms);

/** Returns the attachment whose program carries the ports of the container; undefined if there is none. */
export const carrierOf = (attachments: readonly Attachment[]): Attachment | undefined =>
  attachments.find(({ external }) => external !== undefined && external.ports.length > 0);

/** Returns the attachments in which the first program that can publish ports gets these, if one can. */
export function withPorts(attachments: readonly Attachment[], ports: readonly ExternalPort[]): Attachment[] {
  if (ports.length === 0) return [...attachments];
  const taker = attachments.find(
    ({ external, internal }) => external?.result === null && !internal && takesPorts(external.terms),
  );
  return attachments.map((one) =>
    one === taker && one.external !== undefined
      ? { ...one, external: { ...one.external, ports: ports.map(portOf) } }
      : one,
  );
}

const portOf = ({ protocol, hostIp, hostPort, containerPort, range }: ExternalPort): ExternalPort => ({
  protocol,
  hostIp,
  hostPort,
  containerPort,
  range,
});

/** Returns the attachment with the answer of its program. */
export function answered(attachment: Attachment, result: Json): Attachment {
  const { external } = attachment;
  if (external === undefined) return attachment;
  const found = external.terms.driver === 'cni' ? ofCni(attachment, result) : ofLibnetwork(attachment, result);
  return { ...attachment, ...found, external: { ...external, result: { ...result } } };
}

interface Found {
  addresses: LeasedAddress[];
  mac: string;
}

/** Reads the result of a plugin (SPEC.md, section 5). Addresses on interfaces of the host are not the container's. */
export function ofCni({ link }: Pick<Attachment, 'link'>, result: Json): Found {
  const interfaces = recordsIn(result['interfaces']);
  const inside = (index: unknown) =>
    typeof index !== 'number' || interfaces[index] === undefined || textIn(interfaces[index], 'sandbox') !== '';
  const mine = interfaces.find((one) => textIn(one, 'name') === link && textIn(one, 'sandbox') !== '');
  const addresses = recordsIn(result['ips'])
    .filter((one) => inside(one['interface']))
    .flatMap((one) => leased(textIn(one, 'address'), textIn(one, 'gateway')));
  return { addresses, mac: mine === undefined ? '' : textIn(mine, 'mac').toLowerCase() };
}

/** Reads a status of libnetwork (StatusBlock). */
function ofLibnetwork({ link, mac, addresses }: Attachment, result: Json): Found {
  const interfaces = isRecord(result['interfaces']) ? result['interfaces'] : {};
  const mine = isRecord(interfaces[link]) ? interfaces[link] : {};
  const found = recordsIn(mine['subnets']).flatMap((one) => leased(textIn(one, 'ipnet'), textIn(one, 'gateway')));
  const its = textIn(mine, 'mac_address').toLowerCase();
  return { addresses: found.length === 0 ? addresses : found, mac: its === '' ? mac : its };
}

/** The name servers and search domains that a program has answered with. */
export function serversOf({ external }: Attachment): { servers: string[]; search: string[] } {
  const result = external?.result ?? {};
  const dns = isRecord(result['dns']) ? result['dns'] : {};
  const texts = (value: unknown) => (Array.isArray(value) ? value.filter((one) => typeof one === 'string') : []);
  return {
    servers: [...texts(dns['nameservers']), ...texts(result['dns_server_ips'])].filter((one) => ipaddr.isValid(one)),
    search: [...texts(dns['search']), ...texts(result['dns_search_domains'])].filter((one) => /^[\w.-]+$/.test(one)),
  };
}

const recordsIn = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isRecord) : []);

function leased(cidr: string, gateway: string): LeasedAddress[] {
  if (!ipaddr.isValidCIDR(cidr)) return [];
  const [address, prefix] = ipaddr.parseCIDR(cidr);
  const via = ipaddr.isValid(gateway) ? ipaddr.process(gateway).toString() : null;
  return [{ address: address.toString(), prefix, gateway: via }];
}

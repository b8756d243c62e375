/**
 * The link of an overlay to its other hosts, in its outside: made or restored, with its switches and addresses. vxlan.ts and
 * wireguard.ts say how a link of each kind is made.
 *
 * Guarantees: running it twice gives the same result. A link of others is never touched. The kernel makes no address and asks no
 * router on it.
 * Limits: the rules of the network must stand before (effects/links/bridge.ts). What leads to each host is peers.ts's.
 */
import type { Kernel, OutsideKernel } from '../kernel.ts';
import type { Outside, RtnlRequest } from '../../native/index.ts';
import { tunnelAlias, tunnelName, vtepAddresses, type OverlaySeen } from '../../plan/kernel/expected-overlay.ts';
import { familyOf } from '../../plan/addresses/address.ts';
import { FaultError } from '../../state/faults.ts';
import { ipv6Switches, writeIfThere } from '../namespaces/switches.ts';
import { refuse } from '../refusal.ts';
import { isOurs, makeVxlan } from './vxlan.ts';
import { makeWireguard } from './wireguard.ts';
import { stopHelpers } from './wireguard-helper.ts';

/** Makes the link if the backend has one. Throws if this host does not have the address that the others send to. */
export async function ensureTunnel(kernel: Kernel, outside: string | null, definition: OverlaySeen): Promise<void> {
  const { kernel: native } = kernel.outside(outside);
  await requireAddress(native, definition);
  const name = tunnelName(definition);
  if (name === null) return;
  if (definition.overlay.backend === 'wireguard') await makeWireguard(kernel, outside, definition, name);
  else await makeVxlan(kernel.instance, native, definition, name);
  await native.sysctlWrite(switchesOf(definition, name).v4, undefined, true);
  await writeIfThere(native, switchesOf(definition, name).v6, undefined, true);
  await setAddresses(native, definition, name);
}

/** Ends the helper that carries the link, if there is one. Returns the names of links that are ours to remove now. */
export async function releaseTunnel(
  { instance }: Kernel,
  { kernel: native }: OutsideKernel,
  definition: OverlaySeen,
): Promise<string[]> {
  const name = tunnelName(definition);
  if (name === null) return [];
  if (definition.overlay.backend === 'wireguard') await stopHelpers(name, native.identity());
  const link = await native.link(name);
  return link !== null && isOurs(instance, link, tunnelAlias(instance.name, definition.name)) ? [name] : [];
}

/** Returns the switches of the link by family: a kernel without IPv6 has no IPv6 switches. */
export function switchesOf({ subnets }: OverlaySeen, name: string) {
  const of4 = `net/ipv4/conf/${name}`;
  const has6 = subnets.some(({ subnet }) => subnet.includes(':'));
  const v4: Record<string, string> = { [`${of4}/accept_redirects`]: '0', [`${of4}/accept_source_route`]: '0' };
  return { v4, v6: ipv6Switches(name, has6) };
}

async function requireAddress(native: Outside, { name, overlay: { address } }: OverlaySeen): Promise<void> {
  if ((await native.addresses()).some((one) => one.address === address)) return;
  const message = `network ${name}: this host does not have the address ${address} that other hosts send to`;
  throw new FaultError('VTEP_ADDRESS_MISSING', message, { object: address });
}

/** Gives the link the addresses of the present shares alone, and sets it up. */
async function setAddresses(native: Outside, definition: OverlaySeen, name: string): Promise<void> {
  const link = await native.link(name);
  const has = (await native.addresses()).filter((one) => one.link === link?.index);
  const wanted = vtepAddresses(definition);
  const replies = await native.rtnl([
    ...has
      .filter(({ address }) => !wanted.includes(address))
      .map(({ address, prefix }): RtnlRequest => ({ op: 'address.del', link: name, address, prefix })),
    ...wanted.map((address): RtnlRequest => ({
      op: 'address.add',
      link: name,
      address,
      prefix: familyOf(address) === 4 ? 32 : 128,
    })),
    { op: 'link.set', name, up: true },
  ]);
  refuse(
    replies.filter(({ code }) => code !== 'EEXIST' && code !== 'EADDRNOTAVAIL'),
    name,
  );
}

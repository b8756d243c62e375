/**
 * The VXLAN link of an overlay in its outside: made or restored, with its switches and addresses.
 *
 * Guarantees: running it twice gives the same result. A link with another network number, port or address, which cannot be changed,
 * is made anew; so is one that learns. A link of others is never touched. The kernel makes no address and asks no router on it.
 * Limits: other VXLAN links of this host may have the port, but not the same network number with it. The rules of the network must
 * stand before (effects/links/bridge.ts).
 */
import type { Instance } from '../kernel.ts';
import type { Link, Outside, RtnlRequest } from '../../native/index.ts';
import {
  isVxlanOf,
  vtepAddresses,
  vxlanAlias,
  vxlanName,
  type OverlaySeen,
} from '../../plan/kernel/expected-overlay.ts';
import { familyOf } from '../../plan/addresses/address.ts';
import { ETHERNET_MTU } from '../../plan/networks/mtu.ts';
import { FaultError } from '../../state/faults.ts';
import { ipv6Switches, writeIfThere } from '../namespaces/switches.ts';
import { refuse, stranger } from '../refusal.ts';

/** Makes the link if the backend has one. Throws if this host does not have the address that the others send to. */
export async function ensureVxlan(instance: Instance, native: Outside, definition: OverlaySeen): Promise<void> {
  await requireAddress(native, definition);
  const name = vxlanName(definition);
  if (name === null) return;
  await makeVxlan(instance, native, definition, name);
  await native.sysctlWrite(switchesOf(definition, name).v4, undefined, true);
  await writeIfThere(native, switchesOf(definition, name).v6, undefined, true);
  await setAddresses(native, definition, name);
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

async function makeVxlan(instance: Instance, native: Outside, definition: OverlaySeen, name: string): Promise<void> {
  const { overlay, options } = definition;
  const alias = vxlanAlias(instance.name, definition.name);
  const mtu = Number(options.mtu ?? ETHERNET_MTU);
  const found = await native.link(name);
  if (found !== null && !isOurs(instance, found, alias)) throw stranger(name, found.alias);
  if (found !== null && isVxlanOf(definition, found)) {
    const changes: RtnlRequest[] = [
      ...(found.mac === overlay.mac ? [] : [{ op: 'link.set', name, mac: overlay.mac } as const]),
      ...(found.mtu === mtu ? [] : [{ op: 'link.set', name, mtu } as const]),
    ];
    refuse(await native.rtnl([...changes, { op: 'link.set', name, alias }]), name);
    return;
  }
  const { vni, port, address, mac } = overlay;
  const made = await native.rtnl([
    ...(found === null ? [] : [{ op: 'link.del', name } as const]),
    {
      op: 'link.add',
      kind: 'vxlan',
      name,
      mac,
      mtu,
      group: instance.group,
      vxlan: { vni, local: address, port },
    },
  ]);
  if (made.at(-1)?.code === 'EEXIST') {
    const message = `another VXLAN link of this host has network number ${vni} and port ${port}`;
    throw new FaultError('NAME_TAKEN_IN_KERNEL', message, { object: name });
  }
  refuse(made, name);
  refuse(await native.rtnl([{ op: 'link.set', name, alias, noLinkLocal: true }]), name);
}

/** Recognises a link of ours by its alias, or by its group alone if a crash came between the two. */
const isOurs = (instance: Instance, link: Link, alias: string): boolean =>
  link.alias === alias || (link.alias === '' && link.group === instance.group);

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

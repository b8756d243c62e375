/**
 * Links that others make and manage: bridges, for networks of mode=unmanaged, and parents, for those of other drivers. Reads
 * them, and makes our links ports of such a bridge again.
 *
 * Guarantees: the only changes are that our own links become ports of the bridge and are set up. A missing bridge, a link of
 * that name that is no bridge, or a missing parent is an error that says so.
 * Limits: tentative addresses (duplicate address detection) and link-local ones are ignored. The kernel does not mark temporary
 * IPv6 addresses (RFC 8981), so they count like all others while they exist.
 */
import type { BridgeSeen } from '../../plan/networks/unmanaged.ts';
import type { Member } from '../../plan/kernel/expected-bridge.ts';
import type { Outside, RtnlRequest } from '../../native/index.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { FaultError } from '../../state/faults.ts';
import { portTag, tagOf } from './vlan.ts';
import { isOnParent } from '../../plan/networks/parent.ts';
import { refuse } from '../refusal.ts';

/** RT_SCOPE_UNIVERSE (linux/rtnetlink.h). */
const EVERYWHERE = 0;

/** Another `index` means another bridge of the same name. */
export type BridgeLook = BridgeSeen & { index: number };

type OnLink = Pick<NetworkDefinition, 'driver' | 'network_interface'>;

/** Returns null if there is no bridge, or no parent, of that name. */
export async function lookAtBridge(
  native: Outside,
  { driver, network_interface: name }: OnLink,
): Promise<BridgeLook | null> {
  const link = await native.link(name);
  const onParent = isOnParent({ driver });
  if (link === null || (link.kind !== 'bridge' && !onParent)) return null;
  const { index, mtu, mac } = link;
  const usable = (await native.addresses()).filter(
    (one) => one.link === index && one.scope === EVERYWHERE && !one.tentative,
  );
  return { index, mtu, addresses: usable.map(({ address }) => address), ...(onParent ? { mac } : {}) };
}

type OnBridge = OnLink & Pick<NetworkDefinition, 'name' | 'options'>;

export async function requireBridge(native: Outside, network: OnBridge): Promise<BridgeLook> {
  const { name, network_interface: bridge } = network;
  const seen = await lookAtBridge(native, network);
  if (seen !== null) return seen;
  if (isOnParent(network)) throw noParent(name, bridge);
  const what = (await native.link(bridge)) === null ? 'there is no link of that name' : 'that link is no bridge';
  const message = `network ${name} is unmanaged: the bridge ${bridge} must already exist on the host, and ${what}`;
  throw new FaultError('BRIDGE_MISSING', message, { object: bridge });
}

/** The error of a network whose parent is missing, in Podman's words. */
export const noParent = (network: string, parent: string): FaultError =>
  new FaultError(
    'PARENT_MISSING',
    parent === ''
      ? `network ${network} names no parent, and there was no default route to take its link`
      : `network ${network}: parent interface ${parent} does not exist`,
    { object: parent },
  );

/** Makes these links ports of the bridge again. Ignores links that are missing or are ports already. */
export async function rejoinBridge(native: Outside, network: OnBridge, members: readonly Member[]): Promise<void> {
  const { index } = await requireBridge(native, network);
  const links = new Map((await native.links()).map((link) => [link.name, link]));
  const strays = members.filter(({ hostLink, alias }) => {
    const link = links.get(hostLink);
    return link?.alias === alias && (link.master !== index || !link.up);
  });
  const replies = await native.rtnl(
    strays.map(({ hostLink }): RtnlRequest => ({
      op: 'link.set',
      name: hostLink,
      master: network.network_interface,
      up: true,
      ...portTag(tagOf(network)),
    })),
  );
  // ENODEV: the link is gone by now, with its container.
  refuse(
    replies.filter(({ code }) => code !== 'ENODEV'),
    network.network_interface,
  );
}

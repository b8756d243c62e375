/**
 * Bridges that others have made and look after, for networks of mode=unmanaged: looked at, and given our ports again.
 *
 * Guarantees: nothing is made, changed or taken away but which of our own links are ports of the bridge, and that those
 * are up. A bridge that is not there, or a link of that name that is none, is an error that says so.
 * Limits: an address that is still tentative (duplicate address detection) is not seen, nor one that means something on its
 * link alone. The kernel does not say which IPv6 addresses are temporary ones (RFC 8981): they come and go with others.
 */
import type { BridgeSeen } from '../machines/plan/unmanaged.ts';
import type { Member } from '../machines/plan/expected-bridge.ts';
import type { Outside, RtnlRequest } from '../native/index.ts';
import type { NetworkDefinition } from '../state/network.ts';
import { EffectError } from './effect.ts';
import { refuse } from './refusal.ts';

/** RT_SCOPE_UNIVERSE (linux/rtnetlink.h). */
const EVERYWHERE = 0;

/** `index`: another one says that it is another bridge of the same name. */
export type BridgeLook = BridgeSeen & { index: number };

/** Null: there is no bridge of that name. */
export async function lookAtBridge(native: Outside, name: string): Promise<BridgeLook | null> {
  const link = await native.link(name);
  if (link === null || link.kind !== 'bridge') return null;
  const { index, mtu } = link;
  const usable = (await native.addresses()).filter(
    (one) => one.link === index && one.scope === EVERYWHERE && !one.tentative,
  );
  return { index, mtu, addresses: usable.map(({ address }) => address) };
}

type OnBridge = Pick<NetworkDefinition, 'name' | 'network_interface'>;

export async function requireBridge(
  native: Outside,
  { name, network_interface: bridge }: OnBridge,
): Promise<BridgeLook> {
  const seen = await lookAtBridge(native, bridge);
  if (seen !== null) return seen;
  const what = (await native.link(bridge)) === null ? 'there is no link of that name' : 'that link is no bridge';
  const message = `network ${name} is unmanaged: the bridge ${bridge} must already exist on the host, and ${what}`;
  throw new EffectError({ code: 'BRIDGE_MISSING', message, object: bridge });
}

/** Makes these links ports of the bridge again, as far as they are there and are not. */
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
    })),
  );
  // ENODEV: gone meanwhile, with its container.
  refuse(
    replies.filter(({ code }) => code !== 'ENODEV'),
    network.network_interface,
  );
}

/**
 * Makes an overlay network on this host: agrees with the other hosts, gets a share, and then has a definition.
 *
 * Guarantees: what cannot be is refused before the store is written to, and before a share is claimed. A share whose definition
 * could not be written is given back.
 * Limits: two hosts that make the same overlay at once may ask for different things; the second one is refused then.
 */
import { randomBytes } from 'node:crypto';
import { FaultError, type Fault } from '../../state/faults.ts';
import type { NetworkDefinition, NetworkRequest, Subnet } from '../../state/network.ts';
import type { Overlay } from '../../state/overlay.ts';
import { missing } from '../../effects/vtep/wireguard-tool.ts';
import { parseSubnet, toText } from '../../plan/addresses/address.ts';
import { askedOf, disagreement, newShared, portConflict } from '../../plan/overlay/agree.ts';
import { chooseShares } from '../../plan/overlay/shares.ts';
import type { Overlays } from './overlays.ts';

export interface Making<Planned extends { definition: NetworkDefinition }> {
  /** Completes the definition, or throws why there can be no such network. */
  plan: (request: NetworkRequest, overlay: Overlay) => Promise<Planned>;
  /** Does so in turn with other requests, and writes it. */
  record: (request: NetworkRequest, overlay: Overlay) => Promise<Planned>;
}

export async function createOverlay<Planned extends { definition: NetworkDefinition }>(
  overlays: Overlays,
  request: NetworkRequest,
  { plan, record }: Making<Planned>,
): Promise<Planned> {
  const { name } = request;
  const { asked } = or(askedOf(request));
  const agreed = await overlays.agreed(name);
  const others = overlays.others(name);
  const shared =
    agreed ??
    or(newShared(name, asked, { id: randomBytes(32).toString('hex'), ...families(request), taken: others.map(portOf) }))
      .shared;
  const differs = agreed === null ? null : disagreement(agreed, asked, request.ipv6_enabled);
  if (differs !== null) throw FaultError.of(differs.fault);
  const inUse = portConflict(shared, others);
  if (inUse !== null) throw FaultError.of(inUse.fault);
  const lacking = shared.backend === 'wireguard' ? missing() : null;
  if (lacking !== null) throw FaultError.of(lacking);
  const some = chooseShares(shared, [], shared.id);
  if (some === null) throw new FaultError('BAD_REQUEST', `no share fits into ${shared.pools.join(', ')}`);
  await plan(withShares(request, some), overlays.draft(shared));
  const joined = await overlays.join(shared);
  try {
    return await record(withShares(request, joined.shares), joined.overlay);
  } catch (error) {
    await overlays.leave(name);
    throw error;
  }
}

const portOf = ({ port }: { port: number }): number => port;

const families = ({ ipv4_enabled: ipv4, ipv6_enabled: ipv6 }: NetworkRequest) => ({ ipv4, ipv6 });

const withShares = (request: NetworkRequest, shares: readonly string[]): NetworkRequest => {
  const { overlay: _overlay, ipv4_enabled: _4, ipv6_enabled: _6, ...rest } = request;
  return { ...rest, subnets: sharesAsSubnets(shares), ipv4_enabled: shares.some((share) => !share.includes(':')) };
};

/** Returns shares as subnets of a network: the link to other hosts has the first address, and the bridge the next one. */
export const sharesAsSubnets = (shares: readonly string[]): (Subnet & { gateway: string })[] =>
  shares.map((subnet) => {
    const { first, family } = parseSubnet(subnet);
    return { subnet, gateway: toText(first + 1n, family) };
  });

function or<T extends object>(result: T | { fault: Fault }): T {
  if ('fault' in result) throw FaultError.of(result.fault);
  return result;
}

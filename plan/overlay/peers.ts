/**
 * The other hosts of an overlay, made of the claims that are in the store.
 *
 * Guarantees: pure. What would be in somebody's way is refused alone, with the reason: a share outside of the pools, one that
 * overlaps ours or another one, a MAC that two addresses have, a key that two hosts have.
 */
import type { Claim, Peer, RemoteNames } from '../../state/overlay.ts';
import { overlaps, parseSubnet, type ParsedSubnet } from '../addresses/address.ts';

/** A claim as it is in the store. */
export interface Claimed {
  subnet: string;
  /** Null if the value is damaged. */
  claim: Claim | null;
  modified: number;
  lease: string;
}

export interface Rest {
  subnet: string;
  host: string;
  modified: number;
}

export interface Seen {
  claims: Claimed[];
  rests: Rest[];
  /** Names of containers by their key. */
  names: Map<string, { host: string; names: RemoteNames }>;
  /** Keys that were refused, with the reason. */
  refused: Map<string, string>;
}

/**
 * Returns the other hosts. Refuses what would be in somebody's way: a share outside of the pools, one that overlaps ours or another
 * one, and a MAC or a key that two addresses have. `keyed`: each has to have a key.
 */
export function peersOf(
  { claims }: Pick<Seen, 'claims'>,
  {
    pools,
    mine,
    host,
    keyed = false,
  }: { pools: readonly string[]; mine: readonly string[]; host: string; keyed?: boolean },
): { peers: Peer[]; refused: Map<string, string> } {
  const refused = new Map<string, string>();
  const within = pools.map(parseSubnet);
  const ours = mine.map((subnet) => ({ subnet, piece: parseSubnet(subnet) }));
  const peers = new Map<string, Peer[]>();
  const macs = new Map<string, string>();
  const keys = new Map<string, string>();
  // In the order of their numbers, each can only overlap the one before.
  const others = claims
    .flatMap(({ subnet, claim }) => (claim === null ? [] : [{ subnet, claim, piece: parseSubnet(subnet) }]))
    .filter(({ claim }) => claim.host !== host)
    .toSorted((a, b) => (a.piece.first < b.piece.first ? -1 : 1));
  let last: { subnet: string; piece: ParsedSubnet } | null = null;
  for (const { subnet, claim, piece } of others) {
    const { address, mac, public_key: key } = claim;
    const isWithin = within.some((pool) => overlaps(pool, piece) && pool.prefix < piece.prefix);
    const clash = [...ours, ...(last === null ? [] : [last])].find((other) => overlaps(other.piece, piece));
    const holder = macs.get(mac);
    const twin = key === undefined ? undefined : keys.get(key);
    if (!isWithin) refused.set(subnet, 'is in no pool of this network');
    else if (clash !== undefined) refused.set(subnet, `overlaps ${clash.subnet}`);
    else if (holder !== undefined && holder !== address) refused.set(subnet, `has the MAC ${mac} of ${holder}`);
    else if (keyed && key === undefined) refused.set(subnet, 'has no key');
    else if (twin !== undefined && twin !== claim.host) refused.set(subnet, `has the key of host ${twin}`);
    else {
      last = { subnet, piece };
      macs.set(mac, address);
      if (key !== undefined) keys.set(key, claim.host);
      addTo(peers, claim, subnet);
    }
  }
  return { peers: [...peers.values()].flat(), refused };
}

/** Adds a share to the peer of its host that has none of this family yet. */
function addTo(peers: Map<string, Peer[]>, { host, address, mac, public_key }: Claim, subnet: string): void {
  const key = `${host} ${address} ${mac} ${public_key}`;
  const known = peers.get(key) ?? [];
  const open = known.find(({ subnets }) => subnets.every((other) => other.includes(':') !== subnet.includes(':')));
  if (open === undefined)
    peers.set(key, [
      ...known,
      { host, address, mac, subnets: [subnet], ...(public_key === undefined ? {} : { public_key }) },
    ]);
  else open.subnets.push(subnet);
}

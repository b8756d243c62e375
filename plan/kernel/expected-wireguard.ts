/**
 * The peers of an overlay's WireGuard link: what it should have, as the configuration that wg(8) reads, and what it has, as
 * `wg show NAME dump` prints it.
 *
 * Guarantees: pure. A peer has one endpoint and exactly its shares as allowed IPs, so that it can send with no other source. Nothing
 * that is made of a dump has the private key, which is its first field.
 * Limits: the endpoint of a peer is not compared, because WireGuard itself follows a peer that sends from another address and has
 * proven who it is. Keys are compared by their text: wg(8) and we both write them in the one way that there is.
 */
import type { Difference } from '../../state/container.ts';
import type { Overlay, Peer } from '../../state/overlay.ts';

/** A link of WireGuard as it is. */
export interface WireguardSeen {
  publicKey: string;
  port: number;
  /** By the public key of each peer, its allowed IPs. */
  peers: ReadonlyMap<string, readonly string[]>;
}

export type Report = (kind: Difference['kind'], object: string, problem: Difference['problem']) => Difference;

interface Definition {
  overlay: Pick<Overlay, 'port' | 'public_key'>;
}

/** By the public key of each peer, its address and shares. `peers`: those that may have entries (usablePeers). */
function peersByKey(peers: readonly Peer[]): Map<string, { address: string; shares: string[] }> {
  const all = new Map<string, { address: string; shares: string[] }>();
  for (const { public_key: key = '', address, subnets } of peers) {
    const known = all.get(key);
    if (known === undefined) all.set(key, { address, shares: [...subnets] });
    else known.shares.push(...subnets);
  }
  return all;
}

/** Returns the configuration for `wg syncconf`. It has the private key: only its process and a file for it alone may see it. */
export function configurationOf({ overlay: { port } }: Definition, peers: readonly Peer[], privateKey: string): string {
  const sections = [...peersByKey(peers)].map(([key, { address, shares }]) => {
    const host = address.includes(':') ? `[${address}]` : address;
    return `[Peer]\nPublicKey = ${key}\nEndpoint = ${host}:${port}\nAllowedIPs = ${shares.join(', ')}\n`;
  });
  return [`[Interface]\nPrivateKey = ${privateKey}\nListenPort = ${port}\n`, ...sections].join('\n');
}

/** Parses what `wg show NAME dump` prints; null if it is nothing of the kind. */
export function parseDump(text: string): WireguardSeen | null {
  const [first = '', ...rest] = text.split('\n').filter((line) => line !== '');
  const [, publicKey, port, mark] = first.split('\t');
  if (publicKey === undefined || mark === undefined || !/^\d+$/.test(port ?? '')) return null;
  const peers = rest.map((line): [string, string[]] => {
    const [key = '', , , allowed = ''] = line.split('\t');
    return [key, allowed === '(none)' ? [] : allowed.split(',')];
  });
  return { publicKey, port: Number(port), peers: new Map(peers) };
}

/** Returns the differences of a link that is there. */
export function compareWireguard(
  { overlay }: Definition,
  peers: readonly Peer[],
  name: string,
  seen: WireguardSeen | null,
  report: Report,
): Difference[] {
  const { port, public_key: own } = overlay;
  if (seen === null) return [report('link', `WireGuard on ${name}`, 'missing')];
  const wanted = peersByKey(peers);
  const text = (shares: readonly string[]) => shares.toSorted().join(', ');
  return [
    ...(seen.publicKey === own ? [] : [report('link', `public key ${own} on ${name}`, 'changed')]),
    ...(seen.port === port ? [] : [report('link', `port ${port} on ${name}`, 'changed')]),
    ...[...wanted].flatMap(([key, { shares }]) => {
      const allowed = seen.peers.get(key);
      if (allowed !== undefined && text(allowed) === text(shares)) return [];
      return [
        report('neighbour', `${key} for ${text(shares)} on ${name}`, allowed === undefined ? 'missing' : 'changed'),
      ];
    }),
    ...[...seen.peers.keys()]
      .filter((key) => !wanted.has(key))
      .map((key) => report('neighbour', `no ${key} on ${name}`, 'changed')),
  ];
}

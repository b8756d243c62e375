/**
 * Audits what overlays have outside of their links: the routes to shares of other hosts, and from a pool to nowhere; and helpers that
 * carry a link which is not there. The links, and what is on them, are judged with the bridges.
 *
 * Guarantees: those of audit.ts. A route is ours by its protocol.
 * Limits: another daemon in the same network namespace has the same protocol; its routes over a VXLAN link are known by that link, and
 * those of pools are reported if no overlay in use here has their addresses.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MAIN_TABLE } from '../../plan/kernel/expected.ts';
import { OVERLAY_PROTOCOL, shareRouteText } from '../../plan/kernel/expected-overlay.ts';
import { overlaps, parseSubnet } from '../../plan/addresses/address.ts';
import type { Seen } from '../../plan/networks/unmanaged.ts';
import type { Outside } from '../../native/index.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { peersIn } from '../../state/files/peers.ts';
import { helpersIn, stopHelpers } from '../../effects/vtep/wireguard-helper.ts';
import { leaked, type Found } from './audit-finding.ts';

/** Returns the definition with the other hosts that are on disk. */
export function withPeers(definition: NetworkDefinition, directory: string): Seen {
  if (definition.overlay === undefined) return definition;
  try {
    return { ...definition, peers: peersIn(readFileSync(join(directory, `${definition.name}.json`), 'utf8')) };
  } catch {
    return { ...definition, peers: [] };
  }
}

/** Returns the routes of overlays that no network in use has. `used`: the bridges that containers are on. */
export async function auditShareRoutes(
  native: Outside,
  definitions: readonly NetworkDefinition[],
  used: ReadonlySet<string>,
): Promise<Found[]> {
  const poolsOf = (networks: readonly NetworkDefinition[]) =>
    networks.flatMap(({ overlay }) => overlay?.pools ?? []).map(parseSubnet);
  const standing = poolsOf(definitions.filter((one) => used.has(one.network_interface)));
  const routes = await native.routesOf(undefined, [MAIN_TABLE]);
  return routes
    .filter(({ protocol }) => protocol === OVERLAY_PROTOCOL)
    .flatMap((route) => {
      const space = parseSubnet(`${route.destination}/${route.prefix}`);
      if (standing.some((pool) => overlaps(pool, space))) return [];
      const { destination, prefix, metric } = route;
      return leaked(
        { kind: 'route', object: shareRouteText(route) },
        ({ networks }) => poolsOf(networks).some((pool) => overlaps(pool, space)),
        async () => {
          await native.rtnl([{ op: 'route.del', destination, prefix, metric, protocol: OVERLAY_PROTOCOL }]);
        },
      );
    });
}

/** Returns the helpers whose link is gone. They end by themselves, unless they are stopped. `links`: those that are there. */
export async function auditTunnels(native: Outside, links: ReadonlySet<string>): Promise<Found[]> {
  const netns = native.identity();
  const orphans = (await helpersIn(netns)).filter(({ link }) => !links.has(link));
  return orphans.map(({ link, helper: { pid } }) =>
    leaked(
      { kind: 'process', object: `wireguard-go (pid ${pid}) without ${link}` },
      () => false,
      () => stopHelpers(link, netns),
    ),
  );
}

/**
 * Makes what leads from this host to the other hosts of an overlay: a route, a neighbour and a forwarding entry for each. Beside them,
 * the pool itself leads nowhere, so that packets to a share without a host are refused instead of leaving by the default route (docs/decisions/0071).
 *
 * Guarantees: what stands is compared with what should, and the difference alone is requested, in one batch: what is new first, then
 * what is gone. Routes and neighbours of others are neither changed nor removed: a route of others in the way of one of ours is an
 * error that names it. Running it twice changes nothing.
 * Limits: a peer without entries is one that plan/kernel/expected-overlay.ts leaves out. Entries are put back by whoever notices that
 * they are gone (service/drift/).
 */
import type { FdbEntry, Neighbour, Outside, Route, RtnlRequest } from '../../native/index.ts';
import { PERMANENT } from '../../plan/addresses/neighbours.ts';
import { MAIN_TABLE } from '../../plan/kernel/expected.ts';
import {
  isShareRoute,
  NO_ENTRIES,
  OVERLAY_PROTOCOL,
  peerEntries,
  POOL_METRIC,
  shareRouteText,
  tunnelName,
  type OverlaySeen,
  type PeerEntries,
  type ShareRoute,
} from '../../plan/kernel/expected-overlay.ts';
import { FaultError } from '../../state/faults.ts';
import { refuse } from '../refusal.ts';

/** Programs exactly the entries of `definition.peers`. Requires the link, if the backend has one, and the peers of WireGuard on it. */
export const ensurePeers = (native: Outside, definition: OverlaySeen): Promise<void> =>
  program(native, definition, peerEntries(definition));

/** Removes all of them. Also works if the link has gone, and all that was on it. */
export const removePeers = (native: Outside, definition: OverlaySeen): Promise<void> =>
  program(native, definition, NO_ENTRIES);

async function program(native: Outside, definition: OverlaySeen, wanted: PeerEntries): Promise<void> {
  const name = tunnelName(definition);
  const link = name === null ? null : await native.link(name);
  const [routes, neighbours, fdb] = await Promise.all([
    native.routesOf(undefined, [MAIN_TABLE]),
    link === null ? [] : native.neighbours(),
    link === null ? [] : native.fdb(undefined, link.index),
  ]);
  const ours = routes.filter((route) => isShareRoute(route, link, definition.overlay));
  const steps = [
    ...(link === null ? [] : neighbourSteps(link, wanted, neighbours)),
    ...(link === null ? [] : fdbSteps(link, wanted, fdb)),
    ...routeSteps(name, wanted.routes, ours),
  ];
  // A route needs its neighbour, and goes before it.
  const requests = [
    ...steps.filter(({ op }) => !op.endsWith('.del')),
    ...steps.filter(({ op }) => op.endsWith('.del')).reverse(),
  ];
  if (requests.length === 0) return;
  const replies = await native.rtnl(requests);
  const inTheWay = requests.find(({ op }, i) => op === 'route.add' && replies[i]?.code === 'EEXIST');
  if (inTheWay?.op === 'route.add') {
    const destination = `${inTheWay.destination}/${inTheWay.prefix}`;
    const message = `network ${definition.name}: a route to ${destination} that is not ours is in the way`;
    throw new FaultError('ROUTE_IN_THE_WAY', message, { object: destination });
  }
  // The kernel may have removed an entry by itself, which is no failure.
  const failed = replies.filter(({ code }, i) => requests[i]?.op.endsWith('.del') !== true || !GONE.has(code));
  refuse(failed, definition.name);
}

const GONE = new Set(['ESRCH', 'ENOENT', 'ENODEV']);

function routeSteps(link: string | null, wanted: readonly ShareRoute[], ours: readonly Route[]): RtnlRequest[] {
  const there = new Set(ours.map(shareRouteText));
  const asked = new Set(wanted.map(shareRouteText));
  const destinationOf = ({ destination, prefix }: { destination: string; prefix: number }) =>
    `${destination}/${prefix}`;
  const replaceable = new Set(ours.map(destinationOf));
  const kept = new Set(wanted.map(destinationOf));
  return [
    ...wanted
      .filter((route) => !there.has(shareRouteText(route)))
      .map(({ destination, prefix, gateway, type }): RtnlRequest => ({
        op: replaceable.has(`${destination}/${prefix}`) ? 'route.replace' : 'route.add',
        destination,
        prefix,
        protocol: OVERLAY_PROTOCOL,
        ...(type === 'unreachable' ? { type, metric: POOL_METRIC } : {}),
        ...(gateway === null ? {} : { gateway }),
        ...(link === null || type === 'unreachable' ? {} : { link }),
        ...(link === null || gateway === null ? {} : { onlink: true }),
      })),
    ...ours
      .filter((route) => !asked.has(shareRouteText(route)) && !kept.has(destinationOf(route)))
      .map(({ destination, prefix, metric }): RtnlRequest => ({
        op: 'route.del',
        destination,
        prefix,
        metric,
        protocol: OVERLAY_PROTOCOL,
      })),
  ];
}

function neighbourSteps(
  { index, name: link }: { index: number; name: string },
  { neighbours: wanted }: PeerEntries,
  seen: readonly Neighbour[],
): RtnlRequest[] {
  const there = new Map(seen.filter((one) => one.link === index).map((one) => [one.address, one]));
  const asked = new Set(wanted.map(({ address }) => address));
  const stands = ({ address, mac }: { address: string; mac: string }) => {
    const is = there.get(address);
    return is?.mac === mac && is.state === PERMANENT && is.protocol === OVERLAY_PROTOCOL;
  };
  return [
    ...wanted
      .filter((one) => !stands(one))
      .map(({ address, mac }): RtnlRequest => ({
        op: 'neighbour.replace',
        link,
        address,
        mac,
        protocol: OVERLAY_PROTOCOL,
      })),
    ...[...there.values()]
      .filter(({ address, protocol }) => protocol === OVERLAY_PROTOCOL && !asked.has(address))
      .map(({ address }): RtnlRequest => ({ op: 'neighbour.del', link, address })),
  ];
}

function fdbSteps(
  { name: link }: { name: string },
  { fdb: wanted }: PeerEntries,
  seen: readonly FdbEntry[],
): RtnlRequest[] {
  const there = new Map(seen.map(({ mac, destination }) => [mac, destination]));
  const asked = new Set(wanted.map(({ mac }) => mac));
  return [
    ...wanted
      .filter(({ mac, destination }) => there.get(mac) !== destination)
      .map((entry): RtnlRequest => ({ op: 'fdb.replace', link, ...entry })),
    ...seen.filter(({ mac }) => !asked.has(mac)).map((entry): RtnlRequest => ({ op: 'fdb.del', link, ...entry })),
  ];
}

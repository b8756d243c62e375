/**
 * What stands in an outside at this moment, by the machines' own account: for whoever has to put it back.
 *
 * Guarantees: read from live machines in one go; of containers only those that are at rest and whole, so that nothing is
 * put back that is just being taken away.
 * Limits: who is busy is left out: look again when it has come to rest.
 */
import { rulesOf } from '../effects/bridge.ts';
import type { Standing } from '../effects/ruleset-compare.ts';
import { publishAddresses } from '../machines/plan/attachment.ts';
import type { Member } from '../machines/plan/expected-bridge.ts';
import { portTargets } from '../machines/plan/ports.ts';
import { isUnmanaged } from '../machines/plan/unmanaged.ts';
import type { NetworkDefinition } from '../state/network.ts';
import { stateName, type ContainerSnapshot } from './snapshot.ts';
import { uplinkGuard } from './uplink-guard.ts';

/** States in which everything a container's context names has been made, and nothing been taken away. */
export const STEADY: ReadonlySet<string> = new Set(['created', 'up', 'degraded']);
/** States that lead to the end, and to nothing else. */
export const LEAVING: ReadonlySet<string> = new Set([
  'tearingDown',
  'draining',
  'releasing',
  'teardownFailed',
  'abandoning',
  'gone',
]);

export function isSteady(snapshot: ContainerSnapshot): boolean {
  return snapshot.status === 'active' && STEADY.has(stateName(snapshot)) && snapshot.hasTag('rest');
}

export function isLeaving(snapshot: ContainerSnapshot): boolean {
  return snapshot.status === 'done' || LEAVING.has(stateName(snapshot).split('.')[0] ?? '');
}

/** On its way to the end, and there in a moment: not one whose teardown has failed. */
export function isDeparting(snapshot: ContainerSnapshot): boolean {
  return isLeaving(snapshot) && stateName(snapshot) !== 'teardownFailed';
}

/** Its ports are published as its context says: it is steady, or busy with what does not change them. */
function keepsPorts(snapshot: ContainerSnapshot): boolean {
  return isSteady(snapshot) || (snapshot.status === 'active' && stateName(snapshot).startsWith('reloading'));
}

/** Host ends of the links of a network: ports of its bridge. */
export function membersOf(
  containers: readonly ContainerSnapshot[],
  outside: string | null,
  network: string,
): (Member & { owner: string })[] {
  return containers
    .filter((snapshot) => snapshot.context.outside === outside && isSteady(snapshot))
    .flatMap(({ context: { owner, attachments } }) =>
      attachments
        .filter((attachment) => attachment.network === network)
        .map(({ hostLink, alias, addresses, mac }) => ({ hostLink, alias, addresses, mac, owner })),
    );
}

/** The rules of these networks, and the ports of these containers as far as they are in the outside. */
export function rulesetOf(
  containers: readonly ContainerSnapshot[],
  networks: readonly NetworkDefinition[],
  outside: string | null,
  raising: ReadonlySet<string> = new Set(),
): Omit<Standing, 'closed' | 'replies'> {
  return {
    networks: networks
      .filter((definition) => !isUnmanaged(definition))
      .map((definition) => ({
        network: definition.name,
        rules: rulesOf(definition),
        raising: raising.has(definition.name),
      })),
    ports: containers
      .filter((snapshot) => snapshot.context.outside === outside && keepsPorts(snapshot))
      .flatMap(({ context: { owner, ports, portHandler, attachments } }) =>
        ports.length === 0 || portHandler !== undefined
          ? []
          : portTargets(ports, publishAddresses(attachments)).map((target) => ({ ...target, owner })),
      ),
    guard: uplinkGuard(),
  };
}

/**
 * The rules that should stand in an outside at this moment, according to the machines; used to put rules back.
 *
 * Guarantees: read from live machines in one step. Of containers it takes only those that are at rest and whole, so that nothing is
 * put back that is just being removed.
 * Limits: busy containers are left out; the caller looks again when they have come to rest.
 */
import { isSteady, stateName } from '../../plan/states.ts';
import { rulesOf } from '../../effects/links/bridge.ts';
import type { Standing } from '../../effects/ruleset/ruleset-compare.ts';
import { publishAddresses } from '../../plan/containers/attachment.ts';
import type { Member } from '../../plan/kernel/expected-bridge.ts';
import { portTargets } from '../../plan/ports/ports.ts';
import { isUnmanaged, type Seen } from '../../plan/networks/unmanaged.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import { uplinkGuard } from './uplink-guard.ts';

/** States in which everything a container's context names has been made, and nothing has been removed. */
function keepsPorts(snapshot: ContainerSnapshot): boolean {
  return isSteady(snapshot) || (snapshot.status === 'active' && stateName(snapshot).startsWith('reloading'));
}

/** Returns the host ends of the links of a network: the ports of its bridge. */
export function membersOf(
  containers: readonly ContainerSnapshot[],
  outside: string | null,
  network: string,
): (Member & { owner: string })[] {
  return containers
    .filter((snapshot) => snapshot.context.outside === outside && isSteady(snapshot))
    .flatMap(({ context: { owner, attachments } }) =>
      attachments
        .filter((attachment) => attachment.network === network && attachment.external === undefined)
        .map(({ hostLink, alias, addresses, mac }) => ({ hostLink, alias, addresses, mac, owner })),
    );
}

/** Returns the rules of these networks, and the ports of these containers as far as they are in the outside. */
export function rulesetOf(
  containers: readonly ContainerSnapshot[],
  networks: readonly Seen[],
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

/**
 * Gathers the facts about one container for the judgement in plan/why/.
 *
 * Guarantees: never fails because of what it finds. The facts are of one state of the container: if it changes during the look,
 * the look is repeated, a few times. Asks only what this container uses: the kernel for its objects, the forwarder for its ports,
 * the outer publisher if it has one.
 * Limits: of ports, rules, tables and names it knows what the watch on drift has noticed; `audit` compares them.
 */
import { isDeparting, stateName } from '../../plan/states.ts';
import { judge } from '../../plan/why/why.ts';
import type { Facts, SharedFact } from '../../plan/why/facts.ts';
import { isExternal } from '../../plan/networks/external.ts';
import { childOf } from '../../plan/networks/parent.ts';
import { isUnmanaged } from '../../plan/networks/unmanaged.ts';
import { containerIdOf } from '../../plan/owner.ts';
import { toFault } from '../../effects/effect.ts';
import type { Forwards } from '../../effects/forwarder/forwarder.ts';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import type { JournalEntry } from '../../state/answers/container/history.ts';
import type { Why } from '../../state/answers/container/why.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { DriftPolicies } from '../../state/drift.ts';
import { FAULTS, type Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Containers } from '../containers/containers.ts';
import { legalEvents } from '../events/events.ts';
import type { Outside } from '../outsides/outside.ts';
import { defectOf, type ContainerSnapshot } from '../records/snapshot.ts';

export interface WhyParts {
  containers: Pick<Containers, 'get' | 'all' | 'neighbours'>;
  inspectSnapshot(snapshot: ContainerSnapshot): Promise<Inspection>;
  history(id: string): JournalEntry[];
  policies: DriftPolicies;
  machinesIn(outside: string | null): Outside | null;
  definitions(): readonly NetworkDefinition[];
  /** Returns those of the networks that are overlays, as this host takes part in them. */
  overlaysOf(networks: readonly string[]): Facts['overlays'];
  /** Returns the drift of the objects that containers of an outside share, which policy does not repair. */
  leftIn(outside: string | null): Facts['left'];
  forwards(outside: string | null, owner: string): Promise<Forwards | null>;
  askPublisher(publisher: string): Promise<{ forwards: number } | { fault: Fault }>;
}

/** Others may change a container while we look; then we look again, but not for ever. */
const LOOKS = 3;

/** Returns why a container is as it is; null if there is no such container. */
export async function why(parts: WhyParts, id: string): Promise<Why | null> {
  for (let looks = 1; ; looks++) {
    const snapshot = parts.containers.get(id);
    if (snapshot === undefined) return null;
    const facts = await factsOf(parts, snapshot);
    if (looks === LOOKS || parts.containers.get(id) === snapshot) return judge(facts);
  }
}

async function factsOf(parts: WhyParts, snapshot: ContainerSnapshot): Promise<Facts> {
  const { context } = snapshot;
  const { id, owner, outside } = context;
  const [{ drift, uplink }, forwarder, publisher, shared] = await Promise.all([
    parts.inspectSnapshot(snapshot),
    forwarderOf(parts, context),
    publisherOf(parts, context),
    ownerOf(parts, context),
  ]);
  const machines = parts.machinesIn(outside);
  const networks = [...(machines?.networks ?? [])].map(([network, actor]) => {
    const { definition } = actor.getSnapshot().context;
    const child = childOf(definition);
    return {
      network,
      bridge: definition.network_interface,
      unmanaged: isUnmanaged(definition),
      ...(isExternal(definition) ? { external: true as const } : {}),
      ...(child === null ? {} : { driver: child.kind }),
      ...sharedFact(actor, `network ${network}`),
    };
  });
  const concerned = new Set(
    Object.keys({
      ...context.request.networks,
      ...context.change?.networks,
      ...Object.fromEntries(context.attachments.map(({ network }) => [network, {}])),
    }),
  );
  return {
    now: Date.now(),
    context,
    state: stateName(snapshot),
    defect: defectOf(snapshot, `container ${id}`),
    legal: legalEvents(snapshot),
    history: parts.history(id),
    differences: drift,
    policies: parts.policies,
    left: parts.leftIn(outside).filter(({ network }) => network === null || concerned.has(network)),
    networks: networks.filter(({ network }) => concerned.has(network)),
    overlays: outside === null ? parts.overlaysOf([...concerned]) : [],
    defined: new Set(parts.definitions().map(({ name }) => name)),
    firewall: machines === null ? null : sharedFact(machines.firewall, 'firewall'),
    firewalld: machines === null ? null : sharedFact(machines.firewalld, 'firewalld'),
    rootless: wayOutOf(machines),
    resolver:
      machines === null ? null : { ...sharedFact(machines.resolver, 'resolver'), named: namedIn(machines, owner) },
    leased: leasedIn(machines, owner),
    process: uplink?.process ?? null,
    forwarder,
    publisher,
    owner: shared,
    users: parts.containers.neighbours.usersOf(owner).map((user) => parts.containers.get(user)?.context.name ?? user),
    others: parts.containers
      .all()
      .filter((other) => other.context.owner !== owner && other.context.outside === outside)
      .map((other) => ({
        name: other.context.name,
        state: stateName(other),
        departing: isDeparting(other),
        context: other.context,
      })),
    hintOf: (code) => FAULTS[code][1],
  };
}

function sharedFact(actor: { getSnapshot(): unknown }, what: string): SharedFact {
  const snapshot = actor.getSnapshot() as Parameters<typeof defectOf>[0] & {
    value: unknown;
    context: { fault?: Fault | null; attempts?: number };
  };
  const { fault = null, attempts = 0 } = snapshot.context;
  return { state: stateName(snapshot), fault: defectOf(snapshot, what) ?? fault, attempts };
}

function wayOutOf(machines: Outside | null): SharedFact | null {
  const actor = machines?.rootless ?? null;
  return actor === null ? null : sharedFact(actor, 'rootless');
}

const namedIn = ({ resolver }: Outside, owner: string): string[] =>
  (resolver.getSnapshot().context.names[owner] ?? []).map(({ network }) => network);

const leasedIn = (machines: Outside | null, owner: string): string[] =>
  [...(machines?.networks ?? [])].flatMap(([network, actor]) =>
    actor.getSnapshot().context.leases.has(owner) ? [network] : [],
  );

/** The forwarder has one rule per port and address; a container whose ports it carries has at least one. */
async function forwarderOf(parts: WhyParts, context: ContainerContext): Promise<Facts['forwarder']> {
  const { portHandler, ports, outside, owner } = context;
  if (portHandler !== 'forwarder' || ports.length === 0) return null;
  try {
    const found = await parts.forwards(outside, owner);
    return found === null ? null : { carried: found.rules.filter((rule) => rule.owner === owner).length };
  } catch (error) {
    return { fault: toFault(error, 'why', 'FORWARDER_FAILED') };
  }
}

async function publisherOf(parts: WhyParts, { publisher, ports, request }: ContainerContext): Promise<Fault | null> {
  if (publisher === null || ports.length + request.ports.length === 0) return null;
  const answer = await parts.askPublisher(publisher);
  return 'fault' in answer ? answer.fault : null;
}

/** Returns the container whose namespace this one shares, and whether its network is whole. */
async function ownerOf(parts: WhyParts, { netns }: ContainerContext): Promise<Facts['owner']> {
  const of = netns?.of ?? null;
  const snapshot = of === null ? undefined : parts.containers.get(containerIdOf(of));
  if (snapshot === undefined || snapshot.context.owner !== of) return null;
  const { verdict, state, parts: its } = judge(await factsOf(parts, snapshot));
  return {
    name: snapshot.context.name,
    state,
    whole: state === 'up' && its.every(({ condition }) => condition === 'ok'),
    gone: snapshot.context.ownerGone,
    verdict,
  };
}

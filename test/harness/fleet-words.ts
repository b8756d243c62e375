/**
 * The commands of tests to a fleet, the wait for rest, and the objections to its state.
 *
 * Guarantees: the wait for rest ends when nothing moves by itself any more, pauses between attempts included.
 * Limits: an event that is illegal now is refused, and that is an answer like any other.
 */
import { coveredBy } from '../../plan/containers/change.ts';
import type { ResolvedPort } from '../../state/container.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import { known, nameOf } from './container-model.ts';
import type { Fleet } from './fleet.ts';
import { objectionsTo as standingOf } from './standing.ts';
import { settled, type Pending } from './world.ts';

/**
 * Changes that no lifecycle event brings: others removed its link on this network, its network changed, its process
 * ended.
 */
export interface Word {
  what: 'drifted' | 'noticed' | 'adjust' | 'process.exited';
  id: string;
  network: string;
}

export function tell(fleet: Fleet, word: LifecycleEvent | Word): void {
  if ('type' in word) {
    // Refused because it is illegal, superseded, or failed with its effects: all of these are answers.
    fleet.containers.dispatch(word, true, null).catch(() => {});
    return;
  }
  const actor = fleet.actor(word.id);
  if (actor === null) return;
  const { network, what } = word;
  const { attachments, owner } = actor.getSnapshot().context;
  const mine = attachments.find((attachment) => attachment.network === network);
  if (what === 'process.exited') {
    actor.send({ type: what, users: fleet.containers.neighbours.usersOf(owner) });
  } else if (mine !== undefined && what === 'adjust') {
    actor.send({ type: what, network, lease: { ...mine, mtu: (mine.mtu ?? 1500) - 1 } });
  } else if (mine !== undefined && what !== 'adjust' && actor.getSnapshot().matches('up')) {
    if (what === 'drifted') {
      fleet.world.damaged = true;
      fleet.world.links.delete(mine.hostLink);
    }
    actor.send({ type: what, drift: [{ kind: 'link', object: mine.link, network }] });
  }
}

/** Lets everything happen until nothing moves any more; `end` ends each effect, by default with success. */
export async function comeToRest(
  fleet: Fleet,
  end: (effect: Pending) => void | Promise<void> = (effect) => effect.end('done'),
): Promise<void> {
  // Answers come a turn later, and so do the writes before an effect.
  let still = 0;
  for (let i = 0; i < 3000; i++) {
    await settled();
    await fleet.revive();
    const [effect] = fleet.stage.pending;
    still = effect === undefined ? still + 1 : 0;
    if (effect !== undefined) await end(effect);
    else if (still > 6) {
      const retry = fleet.waits[0];
      if (retry === undefined) return;
      retry();
      still = 0;
    }
  }
  throw new Error('it never comes to rest');
}

/** Objections to the present state. */
export function objectionsTo(fleet: Fleet): string[] {
  const { world } = fleet;
  const disk = fleet.onDisk();
  const paths = new Set(disk.map(({ netns }) => netns?.path));
  const links = new Set(disk.flatMap((context) => known(context).map(({ hostLink }) => hostLink)));
  const ports = new Set(
    disk.flatMap(({ owner, ports: all, change }) =>
      [...all, ...(change?.ports ?? [])].map(({ hostPort }) => `${owner} ${hostPort}`),
    ),
  );
  return [
    ...world.violations,
    ...fleet.problems,
    ...[...world.namespaces.keys()].filter((path) => !paths.has(path)).map((path) => `no file names namespace ${path}`),
    ...[...world.links.keys()].filter((name) => !links.has(name)).map((name) => `no file names link ${name}`),
    ...[...world.elements]
      .filter(([key, { owner }]) => !ports.has(`${owner} ${key.slice(key.lastIndexOf(':') + 1)}`))
      .map(([key, { to, owner }]) => `no file names port ${key} -> ${to} of ${owner}`),
    ...[...world.links].flatMap(([name, { owner, network }]) =>
      fleet.users(network).includes(owner) ? [] : [`link ${name} of ${owner} has no lease of ${network}`],
    ),
  ];
}

/** Objections to a state at rest. */
export function objectionsAtRest(fleet: Fleet): string[] {
  const all = fleet.containers.all();
  const owners = new Set(all.map(({ context }) => context.owner));
  const strange = [...fleet.world.names.keys()].filter((key) => !owners.has(key.split(' ')[0] ?? ''));
  if (strange.length > 0) return strange.map((key) => `${key} has names, and is gone`);
  return all.flatMap((snapshot) => {
    const { id, ownerGone, owner } = snapshot.context;
    const forsaken = ownerGone && fleet.containers.neighbours.usersOf(owner).length === 0;
    return [
      ...(snapshot.hasTag('rest') ? [] : [`${id} waits for nothing in ${nameOf(snapshot)}`]),
      ...(forsaken ? [`${id} is held for nobody, ${nameOf(snapshot)}`] : []),
      ...standingOf(fleet.world, snapshot).map((text) => `${id}: ${text}`),
      ...all.flatMap(({ context: other }) =>
        other.id === id
          ? []
          : coveredBy(other.ports, snapshot.context.ports.map(wishOf)).map(
              ({ hostPort }) => `port ${hostPort} is published by ${id} and ${other.id}`,
            ),
      ),
    ];
  });
}

const wishOf = ({ protocol, hostPort, containerPort, range }: ResolvedPort) => ({
  protocol,
  host_port: hostPort,
  container_port: containerPort,
  range,
});

/** Lists what remains after everything was torn down: nothing, if all is well. */
export function leftOf(fleet: Fleet, networks: readonly string[]): string[] {
  return [
    ...objectionsTo(fleet),
    ...fleet.world.contents(),
    ...fleet.containers.all().map(({ context, value }) => `${context.id} is ${JSON.stringify(value)}`),
    ...fleet.onDisk().map((context) => `file of ${context.owner}`),
    ...networks.flatMap((name) => fleet.users(name).map((owner) => `${owner} has a lease of ${name}`)),
    ...Object.keys(fleet.claims()).map((owner) => `${owner} has claims of ports`),
  ];
}

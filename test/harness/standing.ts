/**
 * The objects that must be in the world of strings according to a container's context, and those that may be.
 *
 * Guarantees: at every moment the context names everything that exists; at rest in `up` exactly what the context says
 * exists, and in `created` nothing but the namespace.
 * Limits: one container; others in the same world are left out by their owner.
 */
import { allPorts, leadsTo, namesOfChange } from '../../plan/containers/change.ts';
import { nameEntries } from '../../plan/names/names.ts';
import { targetsFor } from '../../plan/ports/ports.ts';
import type { ContainerContext, ResolvedPort } from '../../state/container.ts';
import { known, nameOf, type Snapshot } from './container-model.ts';
import { element, outerOf, type World } from './world.ts';

/** The objects of this owner, one line each. */
function seen(world: World, { owner, id, token }: ContainerContext): string[] {
  const mine = <T extends { owner: string }>(all: Map<string, T>) =>
    [...all].filter(([, thing]) => thing.owner === owner);
  return [
    ...mine(world.links).flatMap(([name, { inside, addresses }]) => [
      `link ${name} as ${inside}`,
      ...addresses.map((address) => `address ${address} on ${name}`),
    ]),
    ...mine(world.elements).map(([key, { to }]) => `port ${key} to ${to}`),
    ...[...world.names].flatMap(([key, to]) => (key.startsWith(`${owner} on `) ? [`name of ${key} is ${to}`] : [])),
    ...[...world.exposed].map((key) => `outer ${key}`),
    ...(world.uplinks.has(token) ? ['uplink'] : []),
    ...(world.files.has(id) ? ['files'] : []),
  ].sort();
}

/** The targets of ports, each line once: for the forwarder both families of the host can be one place. */
function lines(
  { owner, portHandler }: ContainerContext,
  ports: readonly ResolvedPort[],
  addresses: string[],
): string[] {
  const all = targetsFor(portHandler, ports, addresses).map((target) => element({ ...target, owner }));
  return [...new Set(all.map(({ key, to }) => `${key} to ${to}`))];
}

/** The objects that must exist once it is up. */
function due(context: ContainerContext): string[] {
  const { attachments, ports, owner, publisher, files } = context;
  return [
    ...attachments.flatMap(({ hostLink, link, addresses }) => [
      `link ${hostLink} as ${link}`,
      ...addresses.map(({ address }) => `address ${address} on ${hostLink}`),
    ]),
    ...lines(context, ports, leadsTo(context)).map((line) => `port ${line}`),
    ...(context.uplink === undefined ? [] : ['uplink']),
    ...nameEntries(context, attachments).map(
      ({ network, addresses }) => `name of ${owner} on ${network} is ${addresses.join(' ')}`,
    ),
    ...(publisher === null ? [] : ports.map((port) => `outer ${outerOf(port)}`)),
    ...(files ? ['files'] : []),
  ].sort();
}

/** The objects that exist and are not named. */
function strays(world: World, context: ContainerContext): string[] {
  const { owner, change } = context;
  const links = new Map<string, Set<string>>();
  // The addresses of an external attachment are known when its program has answered.
  const unknown = new Set(known(context).flatMap(({ hostLink, external }) => (external === undefined ? [] : hostLink)));
  for (const { hostLink, addresses } of known(context)) {
    const all = links.get(hostLink) ?? new Set();
    for (const { address } of addresses) all.add(address);
    links.set(hostLink, all);
  }
  const ports = new Set(
    lines(context, allPorts(context), [
      ...known(context).flatMap(({ addresses }) => addresses.map(({ address }) => address)),
      ...leadsTo(context),
      ...(change?.led ?? []),
    ]),
  );
  const names = new Set(
    [...nameEntries(context, known(context)), ...namesOfChange(context)].map(({ network }) => network),
  );
  const outer = new Set(allPorts(context).map(outerOf));
  return [
    ...[...world.links].flatMap(([name, link]) =>
      link.owner !== owner
        ? []
        : links.get(name) === undefined
          ? [`link ${name}`]
          : link.addresses
              .filter((address) => !links.get(name)?.has(address) && !unknown.has(name))
              .map((address) => `address ${address}`),
    ),
    ...[...world.elements].flatMap(([key, { to, owner: of }]) =>
      of === owner && !ports.has(`${key} to ${to}`) ? [`port ${key} to ${to}`] : [],
    ),
    ...[...world.names.keys()].flatMap((key) =>
      key.startsWith(`${owner} on `) && !names.has(key.slice(`${owner} on `.length)) ? [`name ${key}`] : [],
    ),
    ...[...world.exposed].filter((key) => !outer.has(key)).map((key) => `outer ${key}`),
    ...(world.uplinks.has(context.token) && context.uplink === undefined ? ['uplink'] : []),
    ...(world.files.has(context.id) && !context.files ? ['files'] : []),
  ];
}

/** Objections to a container in its present state, between two effects. */
export function objectionsTo(world: World, state: Snapshot): string[] {
  const { context } = state;
  const wrong = strays(world, context).map((what) => `${nameOf(state)}: not spoken of: ${what}`);
  const wanted = state.value === 'up' ? due(context) : state.value === 'created' ? [] : null;
  if (wanted === null) return wrong;
  const there = seen(world, context).filter((line) => state.value === 'up' || line !== 'files');
  return [
    ...wrong,
    ...wanted.filter((line) => !there.includes(line)).map((line) => `${nameOf(state)}: missing: ${line}`),
    ...there.filter((line) => !wanted.includes(line)).map((line) => `${nameOf(state)}: too much: ${line}`),
  ];
}

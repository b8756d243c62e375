/**
 * Finds the other containers that a container waits for, or that have what it asked for.
 *
 * Guarantees: pure; by name, with what it is about.
 * Limits: found by what both have asked for. Which address of a full network it will get is not known.
 */
import { changeOf, takenBy, wantedBy } from '../containers/change.ts';
import { containerIdOf } from '../owner.ts';
import { causes } from './causes.ts';
import type { Facts, OtherFact } from './facts.ts';
import { underWay } from './states.ts';
import { listOf, portsText } from './words.ts';

/** Returns the containers on their way out that have something this one has asked for, and what that is. */
export function awaited(facts: Facts): { other: OtherFact; what: string[] }[] {
  const { context, others, state } = facts;
  if (!state.endsWith('.leasing')) return [];
  const change = changeOf(context);
  const wishes = Object.entries(change.networks);
  const asked = wantedBy(change);
  const departing = others.filter((other) => other.departing);
  const holding = departing.flatMap((other) => {
    const { attachments, ports } = other.context;
    const addresses = attachments.flatMap(({ network, addresses: held, mac }) => {
      const options = wishes.find(([name]) => name === network)?.[1];
      const same = held.map(({ address }) => address).filter((address) => options?.static_ips?.includes(address));
      return [...same, ...(options?.static_mac === mac ? [mac] : [])];
    });
    const taken = ports.filter((held) =>
      asked.some(
        ({ host_port = 0, range = 1, protocol = 'tcp' }) =>
          host_port !== 0 &&
          protocol === held.protocol &&
          host_port < held.hostPort + held.range &&
          held.hostPort < host_port + range,
      ),
    );
    const what = [...addresses, ...(taken.length === 0 ? [] : [`host port ${portsText(taken)}`])];
    return what.length === 0 ? [] : [{ other, what }];
  });
  if (holding.length > 0) return holding;
  // It may wait for any address of a network that is full.
  return departing
    .filter(({ context: { attachments } }) =>
      attachments.some(({ network }) => Object.hasOwn(change.networks, network)),
    )
    .map((other) => ({ other, what: [] }));
}

export function waits(facts: Facts): string[] {
  const { context, others, users } = facts;
  const change = changeOf(context);
  const departing = awaited(facts).map(({ other, what }) =>
    what.length === 0
      ? `it may wait for ${other.name}, which is ${underWay(other.state) ?? other.state} and still has what it asked for`
      : `it waits for ${other.name}, which is ${underWay(other.state) ?? other.state} and still has ${listOf(what)}`,
  );
  const nameOf = (owner: string) => others.find((other) => other.context.owner === owner)?.name ?? containerIdOf(owner);
  const giver = takenBy(change);
  const yielding =
    change.kind === 'yield' && facts.state === 'yielding.waiting'
      ? [`it waits for ${nameOf(change.taker)}, which takes over ${portsText(change.ports)}`]
      : [];
  const taking = giver === null ? [] : [`it takes over ${portsText(giver.ports)} from ${nameOf(giver.owner)}`];
  const kept = context.ownerGone
    ? [
        `it was torn down, and stays until ${listOf(users)} no longer ${users.length === 1 ? 'uses' : 'use'} its namespace`,
      ]
    : [];
  return [...departing, ...yielding, ...taking, ...kept];
}

/** Returns who has the addresses of a network that is full. */
export function holders(facts: Facts): string[] {
  return causes(facts).flatMap(({ code, message }) => {
    if (code !== 'SUBNET_FULL') return [];
    const networks = Object.keys(facts.context.request.networks).filter((name) => message.endsWith(`network ${name}`));
    return networks.flatMap((network) => {
      const names = facts.others.flatMap(({ name, context: { attachments } }) =>
        attachments.some((one) => one.network === network) ? [name] : [],
      );
      return names.length === 0 ? [] : [`the addresses of network ${network} are those of ${listOf(names)}`];
    });
  });
}

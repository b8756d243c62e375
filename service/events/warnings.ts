/**
 * Warnings of an event: requests that were carried out as far as possible, but may not do what was meant.
 *
 * Guarantees: pure; one sentence each. Nothing is refused here.
 * Limits: belongs to the event that is answered, and is not repeated.
 */
import type { ContainerContext } from '../../state/container.ts';
import type { AttachmentOptions, LifecycleEvent } from '../../state/event.ts';
import { hasBridge } from '../../plan/networks/driver.ts';
import { isExternal } from '../../plan/networks/external.ts';
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';

export function warningsOf(
  event: LifecycleEvent,
  { context }: ContainerSnapshot,
  networks: () => readonly NetworkDefinition[],
  firewalld: (outside: string | null) => Fault | null,
): string[] {
  return [
    ...namesForNobody(event, context, networks),
    ...portsToNowhere(event, context, networks),
    ...notLetThrough(event, context, firewalld),
  ];
}

function notLetThrough(
  { type }: LifecycleEvent,
  { outside, attachments }: ContainerContext,
  firewalld: (outside: string | null) => Fault | null,
): string[] {
  if (!['configure', 'connect'].includes(type) || attachments.length === 0) return [];
  const fault = firewalld(outside);
  return fault === null
    ? []
    : [
        `firewalld may drop what the containers of networks send, until it is told of them: ${fault.message} (${fault.code})`,
      ];
}

function namesForNobody(
  event: LifecycleEvent,
  { request, operation }: ContainerContext,
  networks: () => readonly NetworkDefinition[],
): string[] {
  const asked: Record<string, AttachmentOptions> =
    event.type === 'create'
      ? request.networks
      : event.type === 'connect' && operation.network !== null
        ? { [operation.network]: event.options ?? {} }
        : {};
  return Object.entries(asked).flatMap(([network, { aliases = [] }]) => {
    const named = aliases.length === 0 || (networks().find(({ name }) => name === network)?.dns_enabled ?? true);
    const why = `cannot set network aliases for network ${JSON.stringify(network)} because dns is disabled`;
    return named ? [] : [`${why}: ${aliases.join(', ')} will not be found`];
  });
}

function portsToNowhere(
  event: LifecycleEvent,
  { id, uplink, request, portHandler }: ContainerContext,
  networks: () => readonly NetworkDefinition[],
): string[] {
  const touched = ['create', 'configure', 'publish', 'disconnect'].includes(event.type);
  if (!touched || uplink !== undefined || request.ports.length === 0) return [];
  const names = Object.keys(request.networks);
  const without = (why: string) => [`container ${id} ${why}`];
  if (names.length === 0)
    return without('is on no network: its published ports lead nowhere until it is connected to one');
  const mine = networks().filter(({ name }) => names.includes(name));
  // A program of others that can take none refuses the container.
  const takes = ({ driver, ipam_options: { driver: ipam } }: NetworkDefinition) =>
    isExternal({ driver }) || (ipam !== 'none' && (hasBridge({ driver }) || portHandler === 'forwarder'));
  if (mine.some(takes) || mine.length === 0) return [];
  const all = mine.map(({ name, driver }) => `${name} (${driver})`).join(', ');
  return without(
    `has no network that takes published ports, which lead nowhere: on ${all} it is reached at its own address; ` +
      'port handler forwarder carries ports to a network of any driver that gives addresses',
  );
}

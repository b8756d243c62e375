/**
 * The machines as graphs of states and transitions, for everything that is drawn of them: the diagrams of the documents
 * (diagrams.ts) and the charts of the inspector (charts.ts).
 *
 * Guarantees: read from the machine objects that run. A transition has the id that the daemon gives it when it is taken:
 * SOURCE|EVENT|INDEX, with the dotted path of its source ('' for the root), the event as XState names it ('' for always), and its
 * position in the source's list for that event.
 * Limits: a transition without a target changes no state and is left out.
 */
import type { AnyStateMachine, AnyStateNode } from 'xstate';
import { eventName } from '../inspector/page/charts/event-name.ts';
import { attachmentMachine } from '../machines/container/attachment.ts';
import { containerMachine } from '../machines/container/container.ts';
import { firewallMachine } from '../machines/firewall.ts';
import { firewalldMachine } from '../machines/firewalld.ts';
import { networkMachine } from '../machines/network.ts';
import { overlayMachine } from '../machines/overlay.ts';
import { portsMachine } from '../machines/ports.ts';
import { preparedMachine } from '../machines/prepared.ts';
import { resolverMachine } from '../machines/resolver.ts';
import { rootlessMachine } from '../machines/rootless.ts';
import { uplinkMachine } from '../machines/uplink.ts';

export const MACHINES: Record<string, [machine: AnyStateMachine, title: string, folder?: string]> = {
  container: [containerMachine, 'One container', 'container/'],
  attachment: [attachmentMachine, 'One network of one container, while it is made or taken away', 'container/'],
  network: [networkMachine, 'A network: its bridge, and who has which address'],
  firewall: [firewallMachine, 'What the networks of one outside share: the nftables table and the switches'],
  firewalld: [firewalldMachine, 'What firewalld has in its zone for the networks of one outside'],
  overlay: [overlayMachine, "This host's part in an overlay network: its share, and the lease that it holds it by"],
  ports: [portsMachine, 'The host ports of one outside'],
  prepared: [preparedMachine, 'Namespaces that are made before a container asks for one'],
  resolver: [resolverMachine, 'The names of one outside, and the server that answers for them'],
  rootless: [rootlessMachine, "The way out of a rootless daemon's own outside"],
  uplink: [uplinkMachine, 'The user-mode uplink of one container, while it is started, repaired or stopped'],
};

/** Describes a transition that leads to a state. */
export interface Arrow {
  id: string;
  source: AnyStateNode;
  target: AnyStateNode;
  label: string;
}

export const childrenOf = (node: AnyStateNode): AnyStateNode[] => Object.values(node.states);
export const descendants = (node: AnyStateNode): AnyStateNode[] =>
  childrenOf(node).flatMap((child) => [child, ...descendants(child)]);
export const pathOf = (node: AnyStateNode): string => node.path.join('.');

export function initialOf(node: AnyStateNode): AnyStateNode[] {
  return node.initial?.target === undefined ? [] : [...node.initial.target];
}

function guardName(guard: unknown): string {
  if (typeof guard === 'string') return guard;
  return 'by outcome'; // an inline guard, which examines the child's answer
}

/** Returns every transition of a state that leads to a state. An event that only changes the context has no arrow. */
export function arrowsOf(node: AnyStateNode): Arrow[] {
  return [node.always ?? [], ...node.transitions.values()].flatMap((choices) =>
    choices.flatMap(({ eventType, guard, target }, index) => {
      const name = eventName(eventType);
      const label = guard === undefined ? name : `${name} [${guardName(guard)}]`;
      const id = `${pathOf(node)}|${eventType}|${index}`;
      return (target ?? []).map((to: AnyStateNode) => ({ id, source: node, target: to, label }));
    }),
  );
}

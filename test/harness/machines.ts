/**
 * All machines by name, and ways to look at them: for tests and documents that are about each one alike.
 */
import type { AnyStateMachine, AnyStateNode } from 'xstate';
import { attachmentMachine } from '../../machines/attachment.ts';
import { containerMachine } from '../../machines/container.ts';
import { firewallMachine } from '../../machines/firewall.ts';
import { networkMachine } from '../../machines/network.ts';
import { portsMachine } from '../../machines/ports.ts';

export const MACHINES: Record<string, AnyStateMachine> = {
  container: containerMachine,
  attachment: attachmentMachine,
  network: networkMachine,
  firewall: firewallMachine,
  ports: portsMachine,
};

/** Every state of a machine but its root, in the order they are written. */
export function statesOf(root: AnyStateNode): AnyStateNode[] {
  return Object.values(root.states).flatMap((node) => [node, ...statesOf(node)]);
}

/**
 * All machines by name, and ways to look at them: for tests and documents that are about each one alike.
 */
import * as assert from 'uvu/assert';
import type { AnyStateMachine, AnyStateNode } from 'xstate';
import { attachmentMachine } from '../../machines/attachment.ts';
import { containerMachine } from '../../machines/container.ts';
import { firewallMachine } from '../../machines/firewall.ts';
import { networkMachine } from '../../machines/network.ts';
import { portsMachine } from '../../machines/ports.ts';
import { resolverMachine } from '../../machines/resolver.ts';
import { uplinkMachine } from '../../machines/uplink.ts';

export const MACHINES: Record<string, AnyStateMachine> = {
  container: containerMachine,
  attachment: attachmentMachine,
  network: networkMachine,
  firewall: firewallMachine,
  ports: portsMachine,
  resolver: resolverMachine,
  uplink: uplinkMachine,
};

/** Every state of a machine but its root, in the order they are written. */
export function statesOf(root: AnyStateNode): AnyStateNode[] {
  return Object.values(root.states).flatMap((node) => [node, ...statesOf(node)]);
}

/** One line each; of those that begin alike the first is shown, with the way there. */
export function none(objections: string[]): void {
  const kinds = new Map<string, string>();
  for (const text of objections) {
    const kind = text.split('\n')[0] ?? '';
    if (!kinds.has(kind)) kinds.set(kind, text);
  }
  assert.ok(kinds.size === 0, `${objections.length} objections:\n${[...kinds.values()].slice(0, 12).join('\n')}`);
}

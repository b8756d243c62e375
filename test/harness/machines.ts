/** All machines by name, and functions that inspect them: for tests and documents that treat all alike. */
import * as assert from 'uvu/assert';
import type { AnyStateMachine, AnyStateNode } from 'xstate';
import { attachmentMachine } from '../../machines/container/attachment.ts';
import { containerMachine } from '../../machines/container/container.ts';
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

/** Every state of a machine except its root, in the order of the source. */
export function statesOf(root: AnyStateNode): AnyStateNode[] {
  return Object.values(root.states).flatMap((node) => [node, ...statesOf(node)]);
}

/** One line each; of those that begin alike only the first is shown, with the way there. */
export function assertNone(objections: string[]): void {
  const kinds = new Map<string, string>();
  for (const text of objections) {
    const kind = text.split('\n')[0] ?? '';
    if (!kinds.has(kind)) kinds.set(kind, text);
  }
  assert.ok(kinds.size === 0, `${objections.length} objections:\n${[...kinds.values()].slice(0, 12).join('\n')}`);
}

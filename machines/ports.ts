/**
 * The host ports of one outside namespace: who has published what.
 *
 * Guarantees: a port has one owner, because this machine alone grants them, one event at a time. Nothing is stored:
 * claims are read back from the containers' snapshots at start.
 * Limits: knows cleat's own ports; whether the host listens on one is asked of the kernel by the claimant.
 */
import { assign, enqueueActions, setup } from 'xstate';
import type { ResolvedPort, PortRequest } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import type { Asker } from './contract.ts';
import { without } from './plan/port-list.ts';
import { claimPorts, type Claims } from './plan/ports.ts';

export type PortsEvent =
  /** `avoid`: host ports that turned out to be taken by others than cleat. */
  /** `giver`: the owner who gives its ports away; its claim stays until it gives it back itself. */
  | ({ type: 'claim'; ports: PortRequest[]; avoid: number[]; giver: string | null } & Asker)
  | { type: 'unclaim'; owner: string; ports: ResolvedPort[] };

export type PortsAnswer = { type: 'claimed'; ports: ResolvedPort[] } | { type: 'refused'; fault: Fault };

export const portsMachine = setup({
  types: {
    context: {} as { claims: Claims; cursor: number },
    input: {} as { adopted: Claims },
    events: {} as PortsEvent,
  },
  actions: {
    claim: enqueueActions(({ context, event, enqueue }) => {
      if (event.type !== 'claim') return;
      const { owner, from } = event;
      const { [event.giver ?? '']: _given, ...claims } = context.claims;
      const claim = claimPorts(claims, context.cursor, owner, event.ports, event.avoid);
      if ('fault' in claim) {
        enqueue.sendTo(from, { type: 'refused', fault: claim.fault } satisfies PortsAnswer);
        return;
      }
      const held = context.claims[owner] ?? [];
      enqueue.assign({ claims: { ...context.claims, [owner]: [...held, ...claim.ports] }, cursor: claim.cursor });
      enqueue.sendTo(from, { type: 'claimed', ports: claim.ports } satisfies PortsAnswer);
    }),
    unclaim: assign({
      claims: ({ context, event }) => {
        const { [event.owner]: held = [], ...others } = context.claims;
        const kept = without(held, event.type === 'unclaim' ? event.ports : []);
        return kept.length > 0 ? { ...others, [event.owner]: kept } : others;
      },
    }),
  },
}).createMachine({
  id: 'ports',
  options: { maxIterations: 50 },
  context: ({ input }) => ({ claims: input.adopted, cursor: 65_535 }),
  initial: 'granting',
  states: {
    granting: {
      description: 'Grants and takes back host ports, in the order of asking.',
      on: { claim: { actions: 'claim' }, unclaim: { actions: 'unclaim' } },
    },
  },
});

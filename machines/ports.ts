/**
 * The host ports of one outside namespace, with the owner of each.
 *
 * Guarantees: a port has one owner, because only this machine grants it and handles one event at a time. Nothing is stored:
 * claims are read back from the containers' snapshots at start.
 * Limits: knows only cleat's own ports. The effect that claims a port checks with the kernel if the host listens on it.
 */
import { assign, assertEvent, enqueueActions, setup } from 'xstate';
import type { ResolvedPort, PortRequest } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import type { Requester } from './contract.ts';
import { without } from '../plan/ports/port-list.ts';
import { claimPorts, type Claims } from '../plan/ports/ports.ts';

export type PortsEvent =
  /**
   * `avoid`: host ports that programs other than cleat use. `giver`: the owner that gives its ports away; its claim stays
   * until its own `unclaim`.
   */
  | ({ type: 'claim'; ports: PortRequest[]; avoid: number[]; giver: string | null } & Requester)
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
      assertEvent(event, 'claim');
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
      description: 'Grants and takes back host ports, in the order of the events.',
      on: { claim: { actions: 'claim' }, unclaim: { actions: 'unclaim' } },
    },
  },
});

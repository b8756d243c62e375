/**
 * One network of one container, while it is being made, changed or taken away. At rest an attachment is data in its
 * container; this machine exists only between `planned` and its final state.
 *
 * Guarantees: order link -> addresses on the way in; a failed `attach` takes away what it made before it answers, the
 * verbs that work on something that stands (repair, replace, revise) leave it standing. Idempotent effects: run again
 * from any state after a crash, the outcome is the same.
 * Limits: rules, ports and names are the container's and the network's; nothing here chooses a name.
 */
import { assign, setup } from 'xstate';
import type { Attachment } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import { effect, faultOf } from './contract.ts';

export interface AttachmentInput {
  /**
   * attach, detach: make it, take it away. repair: make what is missing of it, and where there is a predecessor, take away
   * what only that had. replace: a new link in the place of the predecessor's, with its name, addresses and MAC. revise:
   * the same link, with other addresses, routes or MTU.
   */
  verb: 'attach' | 'detach' | 'repair' | 'replace' | 'revise';
  attachment: Attachment;
  /** What stands until now, in whole or in part, where that is something else. */
  predecessor: Attachment | null;
  /** The container's attachments to other networks. Absent in snapshots of before it was known. */
  siblings?: readonly Attachment[];
  /** Path of the container's namespace. */
  netns: string;
  /** The namespace was made by us, with its sysctls set from the start. */
  owned: boolean;
  outside: string | null;
  owner: string;
}

export interface AttachmentOutput {
  outcome: 'attached' | 'detached' | 'stuck';
  fault: Fault | null;
}

interface AttachmentContext extends AttachmentInput {
  outcome: AttachmentOutput['outcome'];
  fault: Fault | null;
}

export const attachmentMachine = setup({
  types: {
    context: {} as AttachmentContext,
    input: {} as AttachmentInput,
    output: {} as AttachmentOutput,
  },
  actors: {
    ensureLink: effect<void, AttachmentInput>('ensureLink'),
    ensureAddresses: effect<void, AttachmentInput>('ensureAddresses'),
    replaceLink: effect<void, AttachmentInput>('replaceLink'),
    reviseLink: effect<void, AttachmentInput>('reviseLink'),
    removeLink: effect<void, AttachmentInput>('removeLink'),
  },
  guards: {
    detaching: ({ context }) => context.verb === 'detach',
    replacing: ({ context }) => context.verb === 'replace',
    revising: ({ context }) => context.verb === 'revise',
    succeeds: ({ context }) => context.verb === 'repair' && context.predecessor !== null,
    stands: ({ context }) => context.verb === 'repair',
  },
  actions: {
    blame: assign({
      fault: ({ context, event }) => context.fault ?? faultOf('error' in event ? event.error : undefined),
    }),
  },
}).createMachine({
  id: 'attachment',
  options: { maxIterations: 50 },
  context: ({ input }) => ({ ...input, outcome: 'detached', fault: null }),
  output: ({ context }) => ({ outcome: context.outcome, fault: context.fault }),
  initial: 'planned',
  states: {
    planned: {
      description: 'Enters when invoked. Owns nothing yet. Leaves at once, by the verb.',
      always: [
        { guard: 'detaching', target: 'unlinking' },
        { guard: 'replacing', target: 'replacing' },
        { guard: 'revising', target: 'revising' },
        { target: 'linking' },
      ],
    },
    linking: {
      description:
        'Owns a veth pair from here on: host end on the bridge, which knows the MAC of the other, in the container. ' +
        'Leaves when both ends are up.',
      invoke: {
        id: 'ensureLink',
        src: 'ensureLink',
        input: ({ context }) => context,
        onDone: 'addressing',
        onError: [
          { guard: 'stands', target: 'stuck', actions: 'blame' },
          { target: 'unlinking', actions: 'blame' },
        ],
      },
    },
    addressing: {
      description: 'Owns addresses, routes and the MAC of the gateway inside. Leaves when the kernel has all of them.',
      invoke: {
        id: 'ensureAddresses',
        src: 'ensureAddresses',
        input: ({ context }) => context,
        onDone: [{ guard: 'succeeds', target: 'revising' }, { target: 'attached' }],
        onError: [
          { guard: 'stands', target: 'stuck', actions: 'blame' },
          { target: 'unlinking', actions: 'blame' },
        ],
      },
    },
    replacing: {
      description:
        'Owns two veth pairs: makes the new one ready, then gives it the name and addresses of the old one and takes ' +
        'that away, in one batch.',
      invoke: {
        id: 'replaceLink',
        src: 'replaceLink',
        input: ({ context }) => context,
        onDone: 'attached',
        onError: { target: 'stuck', actions: 'blame' },
      },
    },
    revising: {
      description: 'Changes MTU, addresses and routes of a link that carries traffic; what stays is not touched.',
      invoke: {
        id: 'reviseLink',
        src: 'reviseLink',
        input: ({ context }) => context,
        onDone: 'attached',
        onError: { target: 'stuck', actions: 'blame' },
      },
    },
    unlinking: {
      description:
        'Takes the veth away, with every address and route, and what the bridge knows of it. Must not answer before the ' +
        'kernel has forgotten it.',
      invoke: {
        id: 'removeLink',
        src: 'removeLink',
        input: ({ context }) => context,
        onDone: 'detached',
        onError: { target: 'stuck', actions: 'blame' },
      },
    },
    attached: {
      type: 'final',
      entry: assign({ outcome: 'attached' }),
      description: 'Everything planned is in the kernel.',
    },
    detached: { type: 'final', description: 'Nothing is left; `fault` says why, when it was meant to be attached.' },
    stuck: {
      type: 'final',
      entry: assign({ outcome: 'stuck' }),
      description: 'The kernel refused, and `fault` says what: the container decides how to go on.',
    },
  },
});

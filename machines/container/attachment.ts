/**
 * The attachment of one container to one network while it is made, changed or removed. At rest an attachment is data in the
 * container's context; this machine exists only between `planned` and its final state.
 *
 * Guarantees: the link is made before its addresses. A failed `attach` removes what it has made before the machine ends; a
 * failed `repair`, `replace` or `revise` leaves the existing link. The effects are idempotent: if they run again from any
 * state after a crash, the outcome is the same.
 * An external attachment is made by a program of others, which knows three words for it: add, check and remove. It is repaired
 * by removing and adding it again if the check fails. If that fails too, nothing of it is left.
 * Limits: the machines of the container and of the network make rules, ports and names. Every name in the input is already
 * decided.
 */
import { assign, setup } from 'xstate';
import type { Attachment } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { Json } from '../../plan/external/conversation.ts';
import { effect, faultOf } from '../contract.ts';

export interface AttachmentInput {
  /**
   * attach, detach: makes or removes the attachment. repair: makes its missing parts; if there is a predecessor, also removes
   * what only the predecessor has. replace: puts a new link in the place of the predecessor's, with its name, addresses and
   * MAC. revise: changes addresses, routes or MTU of the same link.
   */
  verb: 'attach' | 'detach' | 'repair' | 'replace' | 'revise';
  attachment: Attachment;
  /** The attachment that exists until now, in whole or in part, if it differs. Otherwise null. */
  predecessor: Attachment | null;
  /** The container's attachments to other networks. Absent in older snapshots. */
  siblings?: readonly Attachment[];
  /** Path of the container's namespace. */
  netns: string;
  /** True if we made the namespace. Its sysctls are then set from the start. */
  owned: boolean;
  outside: string | null;
  owner: string;
}

export interface AttachmentOutput {
  outcome: 'attached' | 'detached' | 'stuck';
  fault: Fault | null;
  /** Holds the answer of the program that has added an external attachment. Otherwise null. */
  result: Json | null;
}

interface AttachmentContext extends AttachmentInput, AttachmentOutput {}

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
    addExternal: effect<Json, AttachmentInput>('addExternal'),
    /** Does nothing: the answer is on disk when it ends. */
    recordAnswer: effect<void, AttachmentInput>('recordAnswer'),
    checkExternal: effect<void, AttachmentInput>('checkExternal'),
    removeExternal: effect<void, AttachmentInput>('removeExternal'),
  },
  guards: {
    external: ({ context }) => context.attachment.external !== undefined,
    attaching: ({ context }) => context.verb === 'attach',
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
  context: ({ input }) => ({ ...input, outcome: 'detached', fault: null, result: null }),
  output: ({ context: { outcome, fault, result } }) => ({ outcome, fault, result }),
  initial: 'planned',
  states: {
    planned: {
      description: 'Initial state. Owns nothing yet. Leaves at once to the state for the verb.',
      always: [
        { guard: 'external', target: 'choosing' },
        { guard: 'detaching', target: 'unlinking' },
        { guard: 'replacing', target: 'replacing' },
        { guard: 'revising', target: 'revising' },
        { target: 'linking' },
      ],
    },
    linking: {
      description:
        'Owns a veth pair from here on: the host end is on the bridge, which knows the MAC of the end in the container. ' +
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
      description:
        'Owns the addresses, the routes and the MAC entry of the gateway. Leaves when the kernel has all of them.',
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
        'Owns two veth pairs: prepares the new one, then gives it the name and addresses of the old one and removes the ' +
        'old one, in one batch.',
      invoke: {
        id: 'replaceLink',
        src: 'replaceLink',
        input: ({ context }) => context,
        onDone: 'attached',
        onError: { target: 'stuck', actions: 'blame' },
      },
    },
    revising: {
      description:
        'Changes MTU, addresses and routes of a link that carries traffic. Does not touch what stays the same.',
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
        'Removes the veth pair, with its addresses and routes, and its entries in the bridge. Must not leave before the ' +
        'kernel has removed it.',
      invoke: {
        id: 'removeLink',
        src: 'removeLink',
        input: ({ context }) => context,
        onDone: 'detached',
        onError: { target: 'stuck', actions: 'blame' },
      },
    },
    choosing: {
      description: 'Leaves at once to what a program of others does for the verb.',
      always: [
        { guard: 'attaching', target: 'adding' },
        { guard: 'detaching', target: 'removing' },
        { guard: 'replacing', target: 'clearing' },
        { target: 'checking' },
      ],
    },
    checking: {
      description: 'Has the program look whether everything is as it has made it. If not, it is made anew.',
      invoke: {
        id: 'checkExternal',
        src: 'checkExternal',
        input: ({ context }) => context,
        onDone: 'attached',
        onError: 'clearing',
      },
    },
    clearing: {
      description: 'Has the program remove what there is, to make it anew.',
      invoke: {
        id: 'removeExternal',
        src: 'removeExternal',
        input: ({ context }) => context,
        onDone: 'adding',
        onError: { target: 'stuck', actions: 'blame' },
      },
    },
    adding: {
      description:
        'Owns whatever the program makes: links, addresses, leases, rules. Leaves with the answer of the program, which is ' +
        'kept for its removal.',
      invoke: {
        id: 'addExternal',
        src: 'addExternal',
        input: ({ context }) => context,
        onDone: { target: 'recording', actions: assign({ result: ({ event }) => event.output }) },
        onError: { target: 'removing', actions: 'blame' },
      },
    },
    recording: {
      description:
        'The program has answered. Leaves when the answer is on disk: to ask again would be to remove and add everything, ' +
        'perhaps with other addresses.',
      invoke: {
        id: 'recordAnswer',
        src: 'recordAnswer',
        input: ({ context }) => context,
        onDone: 'attached',
        onError: { target: 'removing', actions: 'blame' },
      },
    },
    removing: {
      entry: assign({ result: null }),
      description:
        'Has the program remove everything of the attachment, in whole or in part. Must not leave before it says so.',
      invoke: {
        id: 'removeExternal',
        src: 'removeExternal',
        input: ({ context }) => context,
        onDone: [
          { guard: 'attaching', target: 'detached' },
          { guard: 'detaching', target: 'detached' },
          { target: 'stuck' },
        ],
        onError: { target: 'stuck', actions: 'blame' },
      },
    },
    attached: {
      type: 'final',
      entry: assign({ outcome: 'attached' }),
      description: 'Everything planned is in the kernel.',
    },
    detached: { type: 'final', description: 'Nothing is left. If `attach` has failed, `fault` says why.' },
    stuck: {
      type: 'final',
      entry: assign({ outcome: 'stuck' }),
      description:
        'The kernel or the program refused: `fault` says why. The machine of the container decides how to go on.',
    },
  },
});

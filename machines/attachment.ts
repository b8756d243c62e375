/**
 * One network of one container, while it is being made or taken away. At rest an attachment is data in its container;
 * this machine exists only between `planned` and its final state.
 *
 * Guarantees: order link -> addresses on the way in; a failure on the way in takes away what was made before it
 * answers. Idempotent effects: run again from any state after a crash, the outcome is the same.
 * Limits: rules and ports are the container's and the network's; nothing here chooses a name.
 */
import { assign, setup } from 'xstate';
import type { Attachment } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import { effect, faultOf } from './contract.ts';

export interface AttachmentInput {
  verb: 'attach' | 'detach';
  attachment: Attachment;
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

type LinkInput = AttachmentInput;

export const attachmentMachine = setup({
  types: {
    context: {} as AttachmentContext,
    input: {} as AttachmentInput,
    output: {} as AttachmentOutput,
  },
  actors: {
    ensureLink: effect<void, LinkInput>('ensureLink'),
    ensureAddresses: effect<void, LinkInput>('ensureAddresses'),
    removeLink: effect<void, LinkInput>('removeLink'),
  },
  guards: {
    attaching: ({ context }) => context.verb === 'attach',
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
      always: [{ guard: 'attaching', target: 'linking' }, { target: 'unlinking' }],
    },
    linking: {
      description:
        'Owns a veth pair from here on: host end on the bridge, other end in the container. Leaves when both ends are up.',
      invoke: {
        id: 'ensureLink',
        src: 'ensureLink',
        input: ({ context }) => context,
        onDone: 'addressing',
        onError: { target: 'unlinking', actions: assign({ fault: ({ event }) => faultOf(event.error) }) },
      },
    },
    addressing: {
      description: 'Owns addresses and routes inside the container. Leaves when the kernel has all of them.',
      invoke: {
        id: 'ensureAddresses',
        src: 'ensureAddresses',
        input: ({ context }) => context,
        onDone: 'attached',
        onError: { target: 'unlinking', actions: assign({ fault: ({ event }) => faultOf(event.error) }) },
      },
    },
    unlinking: {
      description:
        'Takes the veth away, and with it every address and route. Must not answer before the kernel has forgotten it.',
      invoke: {
        id: 'removeLink',
        src: 'removeLink',
        input: ({ context }) => context,
        onDone: 'detached',
        onError: {
          target: 'stuck',
          actions: assign({ fault: ({ context, event }) => context.fault ?? faultOf(event.error) }),
        },
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
      description: 'The link could not be removed: the container keeps it as a leftover.',
    },
  },
});

/**
 * The uplink of one container while it is started, repaired or stopped: slirp4netns or pasta. At rest it is a process with
 * a keeper, known by a directory; this machine exists only between `planned` and its final state.
 *
 * Guarantees: a failed start has taken away what it made before it answers; a failed repair leaves what stands. Idempotent
 * effects: run again from any state after a crash, the outcome is the same, and a process that runs well is adopted.
 * Limits: when the process ends later, its keeper's end says so (effects/uplink-process.ts, watchUplink), not this
 * machine. Published ports over the API of slirp4netns are the container's (effects/slirp-forward.ts).
 */
import { assign, setup } from 'xstate';
import type { Fault } from '../state/faults.ts';
import type { UplinkFeatures, UplinkLink, UplinkProgram } from '../state/uplink.ts';
import { effect, faultOf } from './contract.ts';
import {
  planLaunch,
  planVerify,
  type Launch,
  type UplinkInput,
  type UplinkStart,
  type UplinkVerify,
} from './plan/uplink.ts';

export interface UplinkOutput {
  outcome: 'ready' | 'stopped' | 'stuck';
  /** What is in the namespace, once `ready`. */
  link: UplinkLink | null;
  /** Hardening that was asked for and that the executable does not know. */
  missing: string[];
  fault: Fault | null;
}

interface UplinkContext extends UplinkInput, UplinkOutput {
  launch: Launch | null;
}

const NOTHING: Launch = { args: [], missing: [], exitFd: null, readyFd: null, netnsFd: null, hostLoopback: false };

const startOf = (context: UplinkContext): UplinkStart => ({
  ...(context.launch ?? NOTHING),
  program: context.settings.program,
  file: context.settings.file,
  directory: context.directory,
  outside: context.outside,
  netns: context.netns,
  boundTo: context.boundTo,
  verify: planVerify(context),
});

/** What a repair finds stays as it is; what a start has made goes again. */
const back = [
  { guard: 'stands', target: 'stuck', actions: 'blame' },
  { target: 'stopping', actions: 'blame' },
] as const;

export const uplinkMachine = setup({
  types: {
    context: {} as UplinkContext,
    input: {} as UplinkInput,
    output: {} as UplinkOutput,
  },
  actors: {
    probeUplink: effect<UplinkFeatures, { program: UplinkProgram; file: string }>('probeUplink'),
    startUplink: effect<void, UplinkStart>('startUplink'),
    verifyUplink: effect<UplinkLink, UplinkVerify>('verifyUplink'),
    stopUplink: effect<void, { directory: string }>('stopUplink'),
  },
  guards: {
    stopping: ({ context }) => context.verb === 'stop',
    stands: ({ context }) => context.verb === 'repair',
    planned: ({ context }) => context.launch !== null,
  },
  actions: {
    blame: assign({
      fault: ({ context, event }) => context.fault ?? faultOf('error' in event ? event.error : undefined),
    }),
    plan: assign(({ context }, features: UplinkFeatures) => {
      const launch = planLaunch(context, features);
      return 'fault' in launch ? { fault: launch.fault } : { launch, missing: launch.missing };
    }),
  },
}).createMachine({
  id: 'uplink',
  options: { maxIterations: 50 },
  context: ({ input }) => ({ ...input, launch: null, outcome: 'stopped', link: null, missing: [], fault: null }),
  output: ({ context: { outcome, link, missing, fault } }) => ({ outcome, link, missing, fault }),
  initial: 'planned',
  states: {
    planned: {
      description: 'Enters when invoked. Owns nothing yet. Leaves at once, by the verb.',
      always: [{ guard: 'stopping', target: 'stopping' }, { target: 'probing' }],
    },
    probing: {
      description: 'Asks the executable what it can do. Leaves with its answer, from which the arguments are planned.',
      invoke: {
        id: 'probeUplink',
        src: 'probeUplink',
        input: ({ context: { settings } }) => ({ program: settings.program, file: settings.file }),
        onDone: { target: 'deciding', actions: { type: 'plan', params: ({ event }) => event.output } },
        onError: back,
      },
    },
    deciding: {
      description: 'Leaves at once: on when the executable can do what is asked for, else back.',
      always: [{ guard: 'planned', target: 'starting' }, { guard: 'stands', target: 'stuck' }, { target: 'stopping' }],
    },
    starting: {
      description:
        'Owns a directory, a keeper and a program from here on. Leaves when the program says that it is ready; one that ' +
        'runs already as it should is left as it is.',
      invoke: {
        id: 'startUplink',
        src: 'startUplink',
        input: ({ context }) => startOf(context),
        onDone: 'verifying',
        onError: back,
      },
    },
    verifying: {
      description: 'Owns a link in the container. Leaves when the kernel shows it with its addresses.',
      invoke: {
        id: 'verifyUplink',
        src: 'verifyUplink',
        input: ({ context }) => planVerify(context),
        onDone: { target: 'ready', actions: assign({ link: ({ event }) => event.output }) },
        onError: back,
      },
    },
    stopping: {
      description: 'Ends the program and its keeper and removes the directory. Must not answer before they are gone.',
      invoke: {
        id: 'stopUplink',
        src: 'stopUplink',
        input: ({ context: { directory } }) => ({ directory }),
        onDone: 'stopped',
        onError: { target: 'stuck', actions: 'blame' },
      },
    },
    ready: {
      type: 'final',
      entry: assign({ outcome: 'ready' }),
      description: 'The program runs, and what it made is there.',
    },
    stopped: { type: 'final', description: 'Nothing is left; `fault` says why, when it was meant to be ready.' },
    stuck: {
      type: 'final',
      entry: assign({ outcome: 'stuck' }),
      description:
        'It could not be repaired, or not be ended, and `fault` says why: the container decides how to go on.',
    },
  },
});

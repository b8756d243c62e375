/**
 * The uplink of one container (slirp4netns or pasta) while it is started, repaired or stopped. At rest an uplink is a process
 * with a keeper, which the daemon finds by a directory; this machine exists only between `planned` and its final state.
 *
 * Guarantees: a failed start removes what it has made before the machine ends; a failed repair leaves what exists. The effects
 * are idempotent: if they run again from any state after a crash, the outcome is the same, and a healthy process is adopted.
 * Limits: this machine does not notice when the process ends later; the end of its keeper shows that
 * (effects/uplinks/uplink-process.ts, watchUplink). The container's machine publishes ports over the API of slirp4netns
 * (effects/ports/slirp-forward.ts).
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
} from '../plan/uplinks/uplink.ts';

export interface UplinkOutput {
  outcome: 'ready' | 'stopped' | 'stuck';
  /** The link in the namespace, once `ready`. */
  link: UplinkLink | null;
  /** The requested hardening options that the executable does not know. */
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
  ...(context.exit === undefined ? {} : { exit: context.exit }),
  verify: planVerify(context),
});

/** The transitions after a failure: a repair leaves everything as it is; a start removes what it has made. */
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
      description: 'Initial state. Owns nothing yet. Leaves at once to the state for the verb.',
      always: [{ guard: 'stopping', target: 'stopping' }, { target: 'probing' }],
    },
    probing: {
      description: 'Reads the options that the executable supports, and plans its arguments from them.',
      invoke: {
        id: 'probeUplink',
        src: 'probeUplink',
        input: ({ context: { settings } }) => ({ program: settings.program, file: settings.file }),
        onDone: { target: 'deciding', actions: { type: 'plan', params: ({ event }) => event.output } },
        onError: back,
      },
    },
    deciding: {
      description:
        'Leaves at once: to `starting` if the executable supports the request; otherwise start or repair fails.',
      always: [{ guard: 'planned', target: 'starting' }, { guard: 'stands', target: 'stuck' }, { target: 'stopping' }],
    },
    starting: {
      description:
        'Owns a directory, a keeper and a program from here on. Leaves when the program reports that it is ready. A program ' +
        'that already runs as it should is left as it is.',
      invoke: {
        id: 'startUplink',
        src: 'startUplink',
        input: ({ context }) => startOf(context),
        onDone: 'verifying',
        onError: back,
      },
    },
    verifying: {
      description: 'Owns a link in the container. Leaves when the kernel shows the link with its addresses.',
      invoke: {
        id: 'verifyUplink',
        src: 'verifyUplink',
        input: ({ context }) => planVerify(context),
        onDone: { target: 'ready', actions: assign({ link: ({ event }) => event.output }) },
        onError: back,
      },
    },
    stopping: {
      description: 'Ends the program and its keeper, and removes the directory. Must not leave before they are gone.',
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
      description: 'The program runs, and its link is in the container.',
    },
    stopped: { type: 'final', description: 'Nothing is left. If the start has failed, `fault` says why.' },
    stuck: {
      type: 'final',
      entry: assign({ outcome: 'stuck' }),
      description:
        'The program could not be repaired or ended: `fault` says why. The machine of the container decides how to go on.',
    },
  },
});

/**
 * The steps that several operations of a container share: how a change is added, and how it is taken away.
 *
 * Guarantees: a step that has nothing to do is passed over, and its state is not entered. The order of steps is the order of
 * ADDITION_STEPS, TEARDOWN_STEPS and ROLLBACK_STEPS.
 * Limits: these are parts of the machine in container.ts; nothing runs by itself here.
 */
import { exposure } from './plan/change.ts';
import {
  leaseInput,
  releaseInput,
  outerInput,
  nameInput,
  unnameInput,
  filesInput,
  attachmentInput,
  uplinkInput,
} from './container-inputs.ts';
import { setupContainer } from './container-setup.ts';

// --- The way in -------------------------------------------------------------------------------------------------

/** The steps of an addition, each with the guard that says whether it has anything to do. */
const ADDITION_STEPS = [
  { target: 'exposing', guard: 'exposes' },
  { target: 'startingUplink', guard: 'uplinks' },
  { target: 'attaching', guard: 'attaches' },
  { target: 'naming', guard: 'names' },
  { target: 'publishing', guard: 'publishes' },
  { target: 'writingFiles', guard: 'writesFiles' },
] as const;

type AdditionStep = (typeof ADDITION_STEPS)[number]['target'];
type End = 'adopt' | 'clearChange';

/** Transitions to the next step that has something to do, or to the end. */
export const onward = <Action extends string>(
  after: AdditionStep | 'leasing',
  done: string,
  end: End,
  actions: Action[],
) => [
  ...ADDITION_STEPS.slice(ADDITION_STEPS.findIndex(({ target }) => target === after) + 1).map((stage) => ({
    ...stage,
    actions,
  })),
  { target: done, actions: [...actions, end] },
];

/** An addition that fails is blamed; an adjustment is also turned round. */
type Undo = 'revertAll';

export const naming = (done: string, failed: string, end: End, ...undo: Undo[]) =>
  setupContainer.createStateConfig({
    description: 'Owns names. Leaves when the resolver answers each of them with the addresses of the container.',
    invoke: { id: 'name', src: 'name', input: nameInput },
    on: {
      named: onward('naming', done, end, []),
      refused: { target: failed, actions: ['blameRefusal', ...undo] },
    },
  });

export const publishing = (done: string, failed: string, end: End, ...undo: Undo[]) =>
  setupContainer.createStateConfig({
    description:
      'Makes the published ports reachable, and leads those that are there to where the attachments now say, in one ' +
      'firewall transaction.',
    invoke: {
      id: 'publish',
      src: 'publish',
      input: ({ context }) => exposure(context),
      onDone: onward('publishing', done, end, []),
      onError: { target: failed, actions: ['blameError', ...undo] },
    },
  });

export const writingFiles = (done: string, failed: string, end: End, ...undo: Undo[]) =>
  setupContainer.createStateConfig({
    description: "Writes the container's resolv.conf and hosts, in place, so that a bind mount shows them.",
    invoke: {
      id: 'ensureFiles',
      src: 'ensureFiles',
      input: filesInput,
      onDone: onward('writingFiles', done, end, []),
      onError: { target: failed, actions: ['blameError', ...undo] },
    },
  });

/** Lease, expose, attach, name, publish: how a change is added. `done` and failures lead to states of the container itself. */
export const adding = (done: string) =>
  setupContainer.createStateConfig({
    initial: 'leasing',
    states: {
      leasing: {
        description:
          'Asks the networks for addresses and the outside for host ports. Owns nothing in the kernel. ' +
          'Leaves with everything granted and planned, or refused with nothing changed.',
        always: [
          { guard: 'onlyWritesFiles', target: 'writingFiles' },
          { guard: 'nothingToAdd', target: done, actions: 'adopt' },
        ],
        invoke: { id: 'lease', src: 'lease', input: leaseInput },
        on: {
          leased: [
            { guard: 'unplannable', target: '#container.rollingBack', actions: 'blamePlan' },
            { guard: 'portsWithoutNetwork', target: '#container.rollingBack', actions: ['blamePlan', 'plan'] },
            ...onward('leasing', done, 'adopt', ['plan']),
          ],
          refused: { target: '#container.rollingBack', actions: 'blameRefusal' },
        },
      },
      exposing: {
        description: 'Has the outer publisher listen for the host ports, before any network work.',
        invoke: {
          id: 'expose',
          src: 'expose',
          input: outerInput,
          onDone: onward('exposing', done, 'adopt', []),
          onError: { target: '#container.rollingBack', actions: 'blameError' },
        },
      },
      attaching: {
        description:
          'Owns a lease for each network of the change. Their own machines make the attachments, one after another.',
        invoke: {
          id: 'attachment',
          src: 'attachment',
          input: attachmentInput('attach'),
          onDone: [
            { guard: 'notAttached', target: '#container.rollingBack', actions: 'blameOutcome' },
            { guard: 'moreToDo', target: 'attaching', reenter: true, actions: 'nextTodo' },
            ...onward('attaching', done, 'adopt', ['nextTodo']),
          ],
          onError: { target: '#container.rollingBack', actions: 'blameError' },
        },
      },
      startingUplink: {
        description: 'The program that leads out is started, by a machine of its own, and seen to be ready.',
        invoke: {
          id: 'uplink',
          src: 'uplink',
          input: uplinkInput('start'),
          onDone: [
            { guard: 'notReady', target: '#container.rollingBack', actions: 'blameOutcome' },
            { guard: 'portsWithoutNetwork', target: '#container.rollingBack', actions: ['blamePorts', 'noteUplink'] },
            ...onward('startingUplink', done, 'adopt', ['noteUplink']),
          ],
          onError: { target: '#container.rollingBack', actions: 'blameError' },
        },
      },
      naming: naming(done, '#container.rollingBack', 'adopt'),
      publishing: publishing(done, '#container.rollingBack', 'adopt'),
      writingFiles: writingFiles(done, '#container.rollingBack', 'adopt'),
    },
  });

// --- The way out ------------------------------------------------------------------------------------------------

export const unexposing = (next: object) =>
  setupContainer.createStateConfig({
    description:
      'The outer publisher stops to listen. What it cannot be told now, it is told later: nobody waits for it.',
    invoke: { id: 'unexpose', src: 'unexpose', input: outerInput, onDone: next, onError: next },
  });

export const unnaming = (next: object) =>
  setupContainer.createStateConfig({
    description: 'Gives the names of the change back; the resolver forgets them in its own time.',
    invoke: { id: 'unname', src: 'unname', input: unnameInput },
    on: { unnamed: next },
  });

export const detaching = (next: object) =>
  setupContainer.createStateConfig({
    description: 'Takes the attachments of the change away, last made first; goes on when one of them is stuck.',
    invoke: {
      id: 'attachment',
      src: 'attachment',
      input: attachmentInput('detach'),
      onDone: [
        { guard: 'stuckOfMany', target: 'detaching', reenter: true, actions: ['addLeftover', 'nextTodo'] },
        { guard: 'stuck', ...next, actions: ['addLeftover', 'nextTodo'] },
        { guard: 'moreToDo', target: 'detaching', reenter: true, actions: 'nextTodo' },
        { ...next, actions: 'nextTodo' },
      ],
      onError: [
        { guard: 'moreToDo', target: 'detaching', reenter: true, actions: ['addLeftover', 'nextTodo'] },
        { ...next, actions: ['addLeftover', 'nextTodo'] },
      ],
    },
  });

/** Ends the program that leads out. */
export const stoppingUplink = (next: object[], failed: object[]) =>
  setupContainer.createStateConfig({
    description: 'Ends the program that leads out, and everything that it has made goes with it.',
    invoke: { id: 'uplink', src: 'uplink', input: uplinkInput('stop'), onDone: next, onError: failed },
  });

/** The steps of a teardown, and those of a rollback, each with the guard that says whether it has anything to do. */
const TEARDOWN_STEPS = [
  { target: 'unexposing', guard: 'unexposes' },
  { target: 'unpublishing', guard: 'unpublishes' },
  { target: 'unnaming', guard: 'names' },
  { target: 'detaching', guard: 'detachesLinks' },
  { target: 'stoppingUplink', guard: 'hasUplink' },
  { target: 'removingNamespace', guard: 'hasNamespace' },
  { target: 'removingFiles', guard: 'writesFiles' },
] as const;

const ROLLBACK_STEPS = [
  { target: 'unexposing', guard: 'unexposes' },
  { target: 'restoring', guard: 'restores' },
  { target: 'unnaming', guard: 'names' },
  { target: 'detaching', guard: 'attaches' },
  { target: 'stoppingUplink', guard: 'uplinks' },
] as const;

/** Transitions to the next step that has something to do. A step that failed adds its fault to the leftovers. */
const next =
  <Step extends { target: string; guard: string }>(steps: readonly Step[]) =>
  (after: Step['target'] | 'choosing', ...actions: ('addLeftover' | 'addStuckLeftover' | 'forgetUplink')[]) => [
    ...steps.slice(steps.findIndex(({ target }) => target === after) + 1).map((step) => ({ ...step, actions })),
    { target: 'checkingLeftovers', actions },
  ];
export const outward = next(TEARDOWN_STEPS);
export const backward = next(ROLLBACK_STEPS);

/** A disk that is full holds everything back: `failed` says so, and it is tried again from there. */
export const releasing = (
  done: string,
  actions: ('drop' | 'resetAttempts' | 'forgetNetworks')[],
  ...refused: 'forceRetry'[]
) =>
  setupContainer.createStateConfig({
    description: 'The kernel holds nothing of the change: addresses and host ports go back to their owners.',
    invoke: { id: 'release', src: 'release', input: releaseInput('change') },
    on: {
      released: { target: done, actions },
      refused: { target: '#container.failed', actions: [...refused, 'addRefusedLeftover'] },
    },
  });

/** While others use the namespace, its owner's end is only noted. */
export const leavingBehind = [
  { guard: 'hasUsers', actions: ['accept', 'markOwnerGone'] },
  { target: '#container.tearingDown', actions: ['accept', 'beginTeardown'] },
] as const;

/** What every state at rest with a namespace takes, beside its own. */
export const atRest = {
  teardown: leavingBehind,
  'process.exited': leavingBehind,
  resume: { guard: 'ownerGone', actions: ['accept', 'resume'] },
} as const;

/** What a container that is configured takes, also when something of it is missing. */
export const whileConfigured = {
  connect: [
    { guard: 'takesNoNetwork', actions: ['accept', 'blameMode'] },
    { guard: 'attachedAlike', actions: 'accept' },
    { guard: 'attached', actions: ['accept', 'blameConnected'] },
    { target: 'connecting', actions: ['accept', 'beginConnect'] },
  ],
  disconnect: [
    { guard: 'attached', target: 'disconnecting', actions: ['accept', 'beginDisconnect'] },
    { actions: ['accept', 'blameNotConnected'] },
  ],
  publish: [
    { guard: 'sharesNamespace', actions: ['accept', 'blameMode'] },
    { guard: 'portsAreFixed', actions: ['accept', 'blameFixedPorts'] },
    { target: 'publishing', actions: ['accept', 'beginPublish'] },
  ],
  unpublish: [
    { guard: 'portsAreFixed', actions: ['accept', 'blameFixedPorts'] },
    { guard: 'published', target: 'unpublishing', actions: ['accept', 'beginUnpublish'] },
    { actions: ['accept', 'blameNotPublished'] },
  ],
} as const;

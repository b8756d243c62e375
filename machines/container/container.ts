/**
 * The life of one container's network, as a statechart. The machine makes all decisions; effects carry them out.
 *
 * Guarantees:
 * - Names, addresses and ports are in the context, and so on disk, before an effect makes them.
 * - Every operation ends in a state tagged `rest`: as requested, or as before, with the reason in `fault`.
 * - An operation is a `change` (plan/containers/change.ts). It adds networks and ports (lease, expose, attach, name, publish),
 *   or removes them in the reverse order. A failed addition is undone by the removal of the same change.
 * - `leftovers` lists what could not be removed. The removal is tried again with growing pauses until it succeeds.
 * - `teardown` is accepted in every state but the last. While other containers use the namespace, it only sets `ownerGone`,
 *   and the operation under way goes on. Everything that they use stays until the last of them is gone.
 * - `attempts` counts the failures since the container was last complete, and `lastFault` is the last of them. If `attempts`
 *   is not zero, `settling` leads to `degraded`, where everything is checked again. Both stay until the container is complete
 *   (docs/decisions/0041).
 * - A step that has nothing to do is left by `always` as soon as it is entered, so its actor never starts. XState still
 *   makes the actor, which costs six times as much as a state without one (docs/decisions/0047). Where most containers have
 *   nothing to do, a state without an actor therefore decides before the step (`finishing`, `choosing`).
 * Order in: namespace, lease, outer publisher, links, names, ports. Order out: outer publisher, ports, names, links,
 * namespace, lease (netavark#1482: rules go before links, or translated packets leave through the wrong interface).
 * Limits: one operation at a time. Another one meanwhile is refused with the legal events, except teardown. The config is a
 * literal with constants of this file, so that XState's editors read all of it (test/machines/editors.test.ts).
 * Over 400 lines because the statechart of the whole life is one literal, which XState's editors read from one file.
 */
import { assign } from 'xstate';
import {
  assertion,
  diversion,
  exposure,
  reinstatement,
  removal,
  restoration,
  reversal,
  withdrawal,
  type Granted,
} from '../../plan/containers/change.ts';
import { failuresOf } from '../../plan/pauses.ts';
import {
  namespaceInput,
  leaseInput,
  releaseInput,
  outerInput,
  nameInput,
  unnameInput,
  filesInput,
  attachmentInput,
  drainInput,
  uplinkInput,
  verdictInput,
  type In,
} from './container-inputs.ts';
import { setupContainer } from './container-setup.ts';

/** While other containers use the namespace, the end of its owner only sets `ownerGone`. */
const TEARDOWN = [
  { guard: 'hasUsers', actions: ['accept', 'markOwnerGone'] },
  { target: '#container.tearingDown', actions: ['accept', 'beginTeardown'] },
] as const;

/** The events that every state at rest with a namespace accepts. */
const AT_REST = {
  teardown: TEARDOWN,
  'process.exited': TEARDOWN,
  resume: { guard: 'ownerGone', actions: ['accept', 'resume'] },
} as const;

/** The events that a configured container accepts, also if a part of it is missing. */
const WHILE_CONFIGURED = {
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

const granted = ({ event }: { event: { output: Granted } }) => event.output;
const exposureInput = ({ context }: In) => exposure(context);
const assertionInput = ({ context }: In) => assertion(context);

// A type annotation, because XState's editors do not see states behind `as const`.
type States = NonNullable<Parameters<typeof setupContainer.createMachine>[0]['states']>;

/** The states that make an addition. They end in `settling` with the change adopted, or in `rollingBack` with the fault. */
const ADDITION: States = {
  leasing: {
    description:
      'Requests addresses from the networks and host ports from the outside. Owns nothing in the kernel. Leaves with ' +
      'everything granted and planned, or with a refusal and nothing changed.',
    always: { guard: 'nothingToAdd', target: 'finishing' },
    invoke: {
      id: 'lease',
      src: 'lease',
      input: leaseInput,
      onDone: { target: 'checkingPlan', actions: { type: 'plan', params: granted } },
      onError: { target: '#container.rollingBack', actions: 'blameError' },
    },
  },
  checkingPlan: {
    description: 'Refuses a change for which no plan is possible, and ports without a target.',
    always: [
      { guard: 'hasFault', target: '#container.rollingBack' },
      { guard: 'portsWithoutNetwork', target: '#container.rollingBack', actions: 'blamePorts' },
      { guard: 'exposes', target: 'exposing' },
      { target: 'choosingConnection' },
    ],
  },
  exposing: {
    description: 'Has the outer publisher listen for the host ports, before links and rules are made.',
    invoke: {
      id: 'expose',
      src: 'expose',
      input: outerInput,
      onDone: 'choosingConnection',
      onError: { target: '#container.rollingBack', actions: 'blameError' },
    },
  },
  choosingConnection: {
    description: 'An addition brings an uplink, or links to networks. A change of ports alone brings neither.',
    always: [
      { guard: 'startsUplink', target: 'startingUplink' },
      { guard: 'attaches', target: 'attaching' },
      { target: 'finishing' },
    ],
  },
  startingUplink: {
    description: 'The uplink machine starts the program, and waits until it is ready.',
    invoke: {
      id: 'uplink',
      src: 'uplink',
      input: uplinkInput('start'),
      onDone: [
        { guard: 'notReady', target: '#container.rollingBack', actions: 'blameOutcome' },
        { target: 'checkingUplink', actions: 'noteUplink' },
      ],
      onError: { target: '#container.rollingBack', actions: 'blameError' },
    },
  },
  checkingUplink: {
    description: 'Refuses ports for which the uplink has no address of their family.',
    always: [
      { guard: 'portsWithoutNetwork', target: '#container.rollingBack', actions: 'blamePorts' },
      { target: 'finishing' },
    ],
  },
  attaching: {
    description:
      'Owns a lease for each network of the change. The attachment machine makes one attachment after another.',
    invoke: {
      id: 'attachment',
      src: 'attachment',
      input: attachmentInput('attach'),
      onDone: [
        { guard: 'notAttached', target: '#container.rollingBack', actions: 'blameOutcome' },
        { guard: 'moreToDo', target: 'attaching', reenter: true, actions: ['noteResult', 'nextTodo'] },
        { target: 'finishing', actions: ['noteResult', 'nextTodo'] },
      ],
      onError: { target: '#container.rollingBack', actions: 'blameError' },
    },
  },
  finishing: {
    description: 'Leaves at once to the first of `naming`, `publishing` and `writingFiles` that has something to do.',
    always: [
      { guard: 'names', target: 'naming' },
      { guard: 'publishes', target: 'publishing' },
      { guard: 'writesFiles', target: 'writingFiles' },
      { target: '#container.settling', actions: 'adopt' },
    ],
  },
  naming: {
    description: 'Owns names. Leaves when the resolver answers each of them with the addresses of the container.',
    invoke: {
      id: 'name',
      src: 'name',
      input: nameInput,
      onDone: 'publishing',
      onError: { target: '#container.rollingBack', actions: 'blameError' },
    },
  },
  publishing: {
    description:
      'Adds the published ports of the change, and leads existing ones to the address that the attachments now give, in ' +
      'one firewall transaction.',
    always: { guard: 'nothingToPublish', target: 'writingFiles' },
    invoke: {
      id: 'publish',
      src: 'publish',
      input: exposureInput,
      onDone: 'writingFiles',
      onError: { target: '#container.rollingBack', actions: 'blameError' },
    },
  },
  writingFiles: {
    description: "Writes the container's resolv.conf and hosts in place, so that a bind mount shows the change.",
    always: { guard: 'writesNoFiles', target: '#container.settling', actions: 'adopt' },
    invoke: {
      id: 'ensureFiles',
      src: 'ensureFiles',
      input: filesInput,
      onDone: { target: '#container.settling', actions: 'adopt' },
      onError: { target: '#container.rollingBack', actions: 'blameError' },
    },
  },
};

export const containerMachine = setupContainer.createMachine({
  id: 'container',
  version: '3',
  options: { maxIterations: 50 },
  context: ({ input }) => ({
    ...input,
    identity: null,
    attachments: [],
    ports: [],
    nextOrdinal: 0,
    configured: false,
    ownerGone: false,
    change: null,
    operation: { n: 1, type: 'create', network: null },
    fault: null,
    drift: [],
    leftovers: [],
    attempts: 0,
    lastFault: null,
  }),
  initial: 'creating',
  on: {
    teardown: [
      { guard: 'hasUsers', actions: 'markOwnerGone' },
      { target: '.tearingDown', actions: ['accept', 'beginTeardown'] },
    ],
    'process.exited': [
      { guard: 'hasUsers', actions: 'markOwnerGone' },
      { target: '.tearingDown', actions: ['accept', 'beginTeardown'] },
    ],
    lastUserGone: { guard: 'ownerGone', target: '.tearingDown', actions: ['accept', 'beginTeardown'] },
  },
  states: {
    creating: {
      description: 'Initial state. Owns the pinned network namespace from here on. Must not configure anything in it.',
      always: { guard: 'noNamespace', target: 'created' },
      invoke: {
        id: 'ensureNamespace',
        src: 'ensureNamespace',
        input: namespaceInput,
        onDone: { target: 'created', actions: assign({ identity: ({ event }) => event.output }) },
        onError: { target: 'abandoning', actions: 'blameError' },
      },
    },
    abandoning: {
      description: 'The namespace could not be made: removes the parts of it that may exist.',
      invoke: {
        id: 'removeNamespace',
        src: 'removeNamespace',
        input: namespaceInput,
        onDone: 'gone',
        onError: { target: 'teardownFailed', actions: 'addLeftover' },
      },
    },
    created: {
      tags: 'rest',
      description: 'Owns a namespace that has only `lo`. Connect and publish only change the request, for `configure`.',
      on: {
        ...AT_REST,
        configure: { target: 'configuring', actions: ['accept', 'beginConfigure'] },
        connect: [
          { guard: 'takesNoNetwork', actions: ['accept', 'blameMode'] },
          { guard: 'requestedAlike', actions: 'accept' },
          { guard: 'requested', actions: ['accept', 'blameConnected'] },
          { actions: ['accept', 'beginConnect', 'request'] },
        ],
        disconnect: [
          { guard: 'requested', actions: ['accept', 'beginDisconnect', 'forgetNetworks', 'clearChange'] },
          { actions: ['accept', 'blameNotConnected'] },
        ],
        publish: [
          { guard: 'sharesNamespace', actions: ['accept', 'blameMode'] },
          { guard: 'takesOver', actions: ['accept', 'blameNotConfigured'] },
          { actions: ['accept', 'beginPublish', 'request'] },
        ],
        unpublish: [
          { guard: 'requestedPorts', actions: ['accept', 'unrequestPorts'] },
          { actions: ['accept', 'blameNotPublished'] },
        ],
      },
    },
    configuring: {
      description:
        'Makes everything in the request. If a step fails, all of it is undone, which leads back to `created`.',
      initial: 'leasing',
      states: ADDITION,
    },
    up: {
      tags: 'rest',
      description: 'Everything requested is in the kernel. No effect runs here.',
      on: {
        ...AT_REST,
        configure: { actions: 'accept' },
        ...WHILE_CONFIGURED,
        reload: [
          { guard: 'hasUplink', target: 'repairing', actions: ['accept', 'beginRestart'] },
          { guard: 'rebuilds', target: 'rebuilding', actions: ['accept', 'beginRebuild'] },
          { target: 'reloading', actions: ['accept', 'beginReload'] },
        ],
        adjust: { guard: 'attached', target: 'adjusting', actions: ['accept', 'beginAdjust'] },
        drifted: { target: 'repairing', actions: ['accept', 'beginRepair'] },
        lost: [
          { guard: 'endedSoon', target: 'degraded', actions: ['accept', 'noteLost'] },
          { target: 'repairing', actions: ['accept', 'noteLost', 'beginRepair'] },
        ],
        noticed: { actions: 'noteDrift' },
        yield: { guard: 'hasPorts', target: 'yielding', actions: ['accept', 'beginYield'] },
      },
    },
    connecting: {
      description: 'Adds one network to a configured container.',
      initial: 'leasing',
      states: ADDITION,
    },
    publishing: {
      description:
        'Adds published ports to a configured container. Ports that it takes over from another container move in one ' +
        'transaction.',
      initial: 'leasing',
      states: ADDITION,
    },
    reloading: {
      description:
        'Restores what is missing at the outer publisher and in the firewall. Does not touch links and leases. Has programs of ' +
        'others check what they have made.',
      initial: 'choosing',
      states: {
        choosing: {
          description:
            'Leaves at once: to the external attachments if there are any, otherwise to the outer publisher.',
          always: [{ guard: 'attaches', target: 'checking' }, { target: 'exposing' }],
        },
        checking: {
          description: 'Has one external attachment after another checked, and made anew if it is not whole.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('repair'),
            onDone: [
              { guard: 'notAttached', target: '#container.degraded', actions: ['blameOutcome', 'clearChange'] },
              { guard: 'moreToDo', target: 'checking', reenter: true, actions: ['noteResult', 'nextTodo'] },
              { target: 'exposing', actions: ['noteResult', 'nextTodo'] },
            ],
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
        exposing: {
          description: 'Requests all ports from the outer publisher again.',
          always: { guard: 'nothingToExpose', target: 'verifying' },
          invoke: {
            id: 'expose',
            src: 'expose',
            input: outerInput,
            onDone: 'verifying',
            onError: { target: '#container.up', actions: ['blameError', 'clearChange'] },
          },
        },
        verifying: {
          description: 'Has the firewall machine compare its table with what it should be, and repair it.',
          invoke: {
            id: 'verifyFirewall',
            src: 'verifyFirewall',
            input: ({ context }) => ({ outside: context.outside }),
            onDone: { target: '#container.up', actions: 'clearChange' },
            onError: { target: '#container.up', actions: ['blameError', 'clearChange'] },
          },
        },
      },
    },
    rebuilding: {
      description:
        'Replaces each link by a new one with the same name, addresses and MAC, which is prepared before the swap. Then ' +
        'verifies the rules.',
      initial: 'replacing',
      states: {
        replacing: {
          description: 'Replaces one link after another.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('replace'),
            onDone: [
              { guard: 'notAttached', target: 'restoring', actions: ['blameOutcome', 'revertRest'] },
              { guard: 'moreToDo', target: 'replacing', reenter: true, actions: ['noteResult', 'nextTodo'] },
              { guard: 'hasFailures', target: '#container.repairing', actions: ['noteResult', 'beginRepair'] },
              { target: '#container.reloading', actions: ['noteResult', 'beginReload'] },
            ],
            onError: { target: 'restoring', actions: ['blameError', 'revertRest'] },
          },
        },
        restoring: {
          description: 'A swap failed: restores the old link. Links that were replaced before it stay replaced.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('replace'),
            onDone: [
              { guard: 'notAttached', target: '#container.failed', actions: 'addLeftover' },
              { target: '#container.settling', actions: ['noteResult', 'clearChange'] },
            ],
            onError: { target: '#container.failed', actions: 'addLeftover' },
          },
        },
      },
    },
    adjusting: {
      tags: 'passing',
      description: 'Follows a change of a network: MTU, addresses, routes, DNS. If a step fails, everything is undone.',
      initial: 'revising',
      states: {
        revising: {
          description: 'Changes the link, its addresses and its routes.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('revise'),
            onDone: [
              { guard: 'notAttached', target: 'revisingBack', actions: ['blameOutcome', 'revertAll'] },
              { target: 'naming', actions: 'nextTodo' },
            ],
            onError: { target: 'revisingBack', actions: ['blameError', 'revertAll'] },
          },
        },
        naming: {
          description: 'Updates the names to the new addresses.',
          always: { guard: 'nothingToName', target: 'publishing' },
          invoke: {
            id: 'name',
            src: 'name',
            input: nameInput,
            onDone: 'publishing',
            onError: { target: 'revisingBack', actions: ['blameError', 'revertAll'] },
          },
        },
        publishing: {
          description: 'Leads published ports to the new addresses.',
          always: { guard: 'nothingToPublish', target: 'writingFiles' },
          invoke: {
            id: 'publish',
            src: 'publish',
            input: exposureInput,
            onDone: 'writingFiles',
            onError: { target: 'revisingBack', actions: ['blameError', 'revertAll'] },
          },
        },
        writingFiles: {
          description: "Writes the container's resolv.conf and hosts again.",
          always: { guard: 'writesNoFiles', target: '#container.settling', actions: 'clearChange' },
          invoke: {
            id: 'ensureFiles',
            src: 'ensureFiles',
            input: filesInput,
            onDone: { target: '#container.settling', actions: 'clearChange' },
            onError: { target: 'revisingBack', actions: ['blameError', 'revertAll'] },
          },
        },
        revisingBack: {
          description: 'Changes the link back to its former state. Makes it if it does not exist any more.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('repair'),
            onDone: [
              { guard: 'notAttached', target: '#container.failed', actions: 'addLeftover' },
              { target: 'reverting' },
            ],
            onError: { target: '#container.failed', actions: 'addLeftover' },
          },
        },
        reverting: {
          description: 'Leads published ports back to the former addresses.',
          always: { guard: 'nothingToReinstate', target: 'renaming' },
          invoke: {
            id: 'publish',
            src: 'publish',
            input: ({ context }) => reinstatement(context),
            onDone: 'renaming',
            onError: { target: '#container.failed', actions: 'addLeftover' },
          },
        },
        renaming: {
          description: 'Updates the names to the former addresses.',
          always: { guard: 'nothingToName', target: '#container.settling', actions: 'clearChange' },
          invoke: {
            id: 'name',
            src: 'name',
            input: nameInput,
            onDone: { target: '#container.settling', actions: 'clearChange' },
            onError: { target: '#container.failed', actions: 'addLeftover' },
          },
        },
      },
    },
    repairing: {
      tags: 'passing',
      description:
        'Others removed something, or the uplink ended: makes what is missing, and touches nothing else. On reload, the ' +
        'uplink is restarted.',
      initial: 'choosing',
      states: {
        choosing: {
          description: 'Leaves at once: to the links or the uplink if they need repair, otherwise to the ports.',
          always: [
            { guard: 'attaches', target: 'repairingLinks' },
            { guard: 'restarts', target: 'stoppingUplink' },
            { guard: 'repairsUplink', target: 'repairingUplink' },
            { target: 'exposing' },
          ],
        },
        repairingLinks: {
          description: 'Makes the missing parts of one attachment after another.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('repair'),
            onDone: [
              { guard: 'notAttached', target: '#container.degraded', actions: ['blameOutcome', 'clearChange'] },
              { guard: 'moreToDo', target: 'repairingLinks', reenter: true, actions: ['noteResult', 'nextTodo'] },
              { target: 'exposing', actions: 'noteResult' },
            ],
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
        stoppingUplink: {
          description: 'Ends the program of the uplink. Everything that it has made ends with it.',
          invoke: {
            id: 'uplink',
            src: 'uplink',
            input: uplinkInput('stop'),
            onDone: [
              { guard: 'stuck', target: '#container.degraded', actions: ['blameOutcome', 'clearChange'] },
              { target: 'repairingUplink' },
            ],
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
        repairingUplink: {
          description: 'Starts the program of the uplink if it does not run, and passes every port to it again.',
          invoke: {
            id: 'uplink',
            src: 'uplink',
            input: uplinkInput('repair'),
            onDone: [
              { guard: 'notReady', target: '#container.degraded', actions: ['blameOutcome', 'clearChange'] },
              { target: 'exposing', actions: 'noteUplink' },
            ],
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
        exposing: {
          description: 'Requests all ports from the outer publisher again.',
          always: { guard: 'nothingToExpose', target: 'republishing' },
          invoke: {
            id: 'expose',
            src: 'expose',
            input: outerInput,
            onDone: 'republishing',
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
        republishing: {
          description: 'Makes sure that every published port leads to this container.',
          always: { guard: 'nothingToRepublish', target: '#container.up', actions: 'clearDrift' },
          invoke: {
            id: 'publish',
            src: 'publish',
            input: assertionInput,
            onDone: { target: '#container.up', actions: 'clearDrift' },
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
      },
    },
    degraded: {
      tags: 'rest',
      description:
        'A part is missing and could not be made again: `lastFault` is the last failure. Everything is repaired again after ' +
        'a pause, or at once on reload or configure.',
      entry: 'countAttempt',
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: failuresOf(context) }),
        onDone: { target: 'repairing', actions: ['clearFault', 'beginRepair'] },
      },
      on: {
        ...AT_REST,
        configure: { target: 'repairing', actions: ['accept', 'beginRepair'] },
        drifted: { target: 'repairing', actions: ['accept', 'beginRepair'] },
        noticed: { actions: 'noteDrift' },
        lost: {},
        ...WHILE_CONFIGURED,
        reload: [
          { guard: 'hasUplink', target: 'repairing', actions: ['accept', 'beginRestart'] },
          { guard: 'rebuilds', target: 'rebuilding', actions: ['accept', 'beginRebuild'] },
          { target: 'repairing', actions: ['accept', 'beginRepair'] },
        ],
        adjust: { guard: 'attached', target: 'adjusting', actions: ['accept', 'beginAdjust'] },
      },
    },
    yielding: {
      tags: 'passing',
      description:
        'Another container takes ports over. This one owns them until then, and keeps them if the other fails.',
      initial: 'waiting',
      states: {
        waiting: {
          description: 'Waits until the other container is at rest, with or without these ports.',
          invoke: {
            id: 'awaitVerdict',
            src: 'awaitVerdict',
            input: verdictInput,
            onDone: [{ guard: ({ event }) => event.output === 'taken', target: 'releasing' }, { target: 'exposing' }],
          },
        },
        releasing: {
          description: 'The other container has the ports: releases the claim of this one.',
          invoke: {
            id: 'release',
            src: 'release',
            input: releaseInput('ports'),
            onDone: { target: '#container.up', actions: ['forgetPorts', 'drop'] },
          },
        },
        exposing: {
          description:
            'The other container failed and may have removed the ports from the outer publisher: requests them again.',
          always: { guard: 'nothingToExpose', target: 'reclaiming' },
          invoke: {
            id: 'expose',
            src: 'expose',
            input: outerInput,
            onDone: 'reclaiming',
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
        reclaiming: {
          description: 'The other container does not have the ports: makes sure that they lead to this one.',
          invoke: {
            id: 'publish',
            src: 'publish',
            input: assertionInput,
            onDone: { target: '#container.up', actions: 'clearChange' },
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
      },
    },
    disconnecting: {
      description:
        'Removes one network. Ports that led to it lead to the next one, or wait for one. If the link cannot be removed, ' +
        'everything is restored; if that fails too, the removal is tried again until it succeeds.',
      initial: 'diverting',
      states: {
        diverting: {
          description:
            'Leads ports to the attachment that is first without this network, in one transaction. Without any other ' +
            'attachment, removes them.',
          always: { guard: 'nothingToDivert', target: 'unnaming' },
          invoke: {
            id: 'publish',
            src: 'publish',
            input: ({ context }) => diversion(context),
            onDone: 'unnaming',
            onError: [
              { guard: 'forced', target: '#container.failed', actions: 'addLeftover' },
              { target: 'returning', actions: 'blameError' },
            ],
          },
        },
        unnaming: {
          description:
            'Removes the names of the change. The resolver answers at once, and updates its server afterwards.',
          always: { guard: 'nothingToName', target: 'lookingForLink' },
          invoke: { id: 'unname', src: 'unname', input: unnameInput, onDone: 'lookingForLink' },
        },
        lookingForLink: {
          description: 'Skips the detaching if an earlier attempt has already removed the link.',
          always: [{ guard: 'attaches', target: 'detaching' }, { target: 'releasing' }],
        },
        detaching: {
          description: 'Removes the link.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('detach'),
            onDone: [
              { guard: 'stuckForced', target: '#container.failed', actions: 'addLeftover' },
              { guard: 'stuck', target: 'reattaching', actions: 'blameOutcome' },
              { target: 'writingFiles', actions: 'dropLinks' },
            ],
            onError: [
              { guard: 'forced', target: '#container.failed', actions: 'addLeftover' },
              { target: 'reattaching', actions: 'blameError' },
            ],
          },
        },
        writingFiles: {
          description: "Removes the network from the container's resolv.conf and hosts.",
          always: { guard: 'writesNoFiles', target: 'releasing' },
          invoke: {
            id: 'ensureFiles',
            src: 'ensureFiles',
            input: filesInput,
            onDone: 'releasing',
            onError: 'releasing',
          },
        },
        releasing: {
          description:
            'The kernel has nothing of the change any more: releases addresses and host ports. The release is first written ' +
            'to disk: a full disk leads to `failed`, which tries again.',
          invoke: {
            id: 'release',
            src: 'release',
            input: releaseInput('change'),
            onDone: { target: '#container.settling', actions: ['forgetNetworks', 'drop'] },
            onError: { target: '#container.failed', actions: ['forceRetry', 'addLeftover'] },
          },
        },
        reattaching: {
          description: 'The link could not be removed: makes sure that it is complete.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('repair'),
            onDone: [
              { guard: 'notAttached', target: '#container.failed', actions: ['forceRetry', 'addLeftover'] },
              { target: 'renaming', actions: 'noteResult' },
            ],
            onError: { target: '#container.failed', actions: ['forceRetry', 'addLeftover'] },
          },
        },
        renaming: {
          description: 'Adds the names of the network again.',
          always: { guard: 'nothingToName', target: 'returning' },
          invoke: {
            id: 'name',
            src: 'name',
            input: nameInput,
            onDone: 'returning',
            onError: { target: '#container.failed', actions: 'addLeftover' },
          },
        },
        returning: {
          description: 'Leads the ports back to the network.',
          always: { guard: 'nothingToDivert', target: '#container.settling', actions: 'clearChange' },
          invoke: {
            id: 'publish',
            src: 'publish',
            input: ({ context }) => reversal(context),
            onDone: { target: '#container.settling', actions: 'clearChange' },
            onError: { target: '#container.failed', actions: 'addLeftover' },
          },
        },
      },
    },
    unpublishing: {
      description: 'Removes published ports. Connections through them end; others are not touched.',
      initial: 'unpublishing',
      states: {
        unpublishing: {
          description: 'Removes the ports from the firewall in one transaction: all of them, or none.',
          invoke: {
            id: 'unpublish',
            src: 'unpublish',
            input: ({ context }) => withdrawal(context),
            onDone: 'unexposing',
            onError: { target: 'returning', actions: 'blameError' },
          },
        },
        returning: {
          description:
            'The removal failed, and its effect is unknown: makes sure that every port leads to this container.',
          invoke: {
            id: 'publish',
            src: 'publish',
            input: assertionInput,
            onDone: { target: '#container.settling', actions: 'clearChange' },
            onError: { target: '#container.degraded', actions: 'clearChange' },
          },
        },
        unexposing: {
          description:
            'Has the outer publisher stop listening. If it cannot be reached, the next call to it repeats the request.',
          always: { guard: 'nothingToExpose', target: 'releasing' },
          invoke: { id: 'unexpose', src: 'unexpose', input: outerInput, onDone: 'releasing', onError: 'releasing' },
        },
        releasing: {
          description: 'The host ports lead nowhere any more: releases them.',
          invoke: {
            id: 'release',
            src: 'release',
            input: releaseInput('ports'),
            onDone: { target: '#container.settling', actions: ['forgetPorts', 'drop'] },
          },
        },
      },
    },
    rollingBack: {
      description: 'An addition failed: `fault` says why. Removes every part of it that may exist, in reverse order.',
      entry: 'beginRollback',
      initial: 'unexposing',
      states: {
        unexposing: {
          description:
            'Has the outer publisher stop listening. If it cannot be reached, the next call to it repeats the request.',
          always: { guard: 'nothingToExpose', target: 'restoring' },
          invoke: { id: 'unexpose', src: 'unexpose', input: outerInput, onDone: 'restoring', onError: 'restoring' },
        },
        restoring: {
          description:
            'Leads ports back to where they led before, and removes new ones. Must come before the removal of links.',
          always: { guard: 'nothingToRestore', target: 'unnaming' },
          invoke: {
            id: 'publish',
            src: 'publish',
            input: ({ context }) => restoration(context),
            onDone: 'unnaming',
            onError: { target: 'unnaming', actions: 'addLeftover' },
          },
        },
        unnaming: {
          description:
            'Removes the names of the change. The resolver answers at once, and updates its server afterwards.',
          always: { guard: 'nothingToName', target: 'choosingConnection' },
          invoke: { id: 'unname', src: 'unname', input: unnameInput, onDone: 'choosingConnection' },
        },
        choosingConnection: {
          description: 'The change may have made links, or an uplink, or neither.',
          always: [
            { guard: 'attaches', target: 'detaching' },
            { guard: 'startsUplink', target: 'stoppingUplink' },
            { target: 'checkingLeftovers' },
          ],
        },
        detaching: {
          description: 'Removes the attachments of the change, the newest first. Goes on if one of them is stuck.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('detach'),
            onDone: [
              { guard: 'stuckOfMany', target: 'detaching', reenter: true, actions: ['addLeftover', 'nextTodo'] },
              { guard: 'stuck', target: 'checkingLeftovers', actions: ['addLeftover', 'nextTodo'] },
              { guard: 'moreToDo', target: 'detaching', reenter: true, actions: 'nextTodo' },
              { target: 'checkingLeftovers', actions: 'nextTodo' },
            ],
            onError: [
              { guard: 'moreToDo', target: 'detaching', reenter: true, actions: ['addLeftover', 'nextTodo'] },
              { target: 'checkingLeftovers', actions: ['addLeftover', 'nextTodo'] },
            ],
          },
        },
        stoppingUplink: {
          description: 'Ends the program of the uplink. Everything that it has made ends with it.',
          invoke: {
            id: 'uplink',
            src: 'uplink',
            input: uplinkInput('stop'),
            onDone: { target: 'checkingLeftovers', actions: ['addStuckLeftover', 'forgetUplink'] },
            onError: { target: 'checkingLeftovers', actions: 'addLeftover' },
          },
        },
        checkingLeftovers: {
          description: 'If leftovers still use the addresses and ports, these are not released yet.',
          always: [
            { guard: 'leftovers', target: '#container.failed' },
            { target: 'releasing', actions: 'dropLinks' },
          ],
        },
        releasing: {
          description:
            'The kernel has nothing of the change any more: releases addresses and host ports. The release is first written ' +
            'to disk: a full disk leads to `failed`, which tries again.',
          invoke: {
            id: 'release',
            src: 'release',
            input: releaseInput('change'),
            onDone: { target: '#container.settling', actions: ['drop', 'resetAttempts'] },
            onError: { target: '#container.failed', actions: 'addLeftover' },
          },
        },
      },
    },
    settling: {
      description: 'Leaves at once: to `up` or `degraded` if the container is configured, otherwise to `created`.',
      always: [
        { guard: 'hasFailures', target: 'degraded' },
        { guard: 'configured', target: 'up' },
        { target: 'created' },
      ],
    },
    failed: {
      tags: 'rest',
      description: 'A change could neither be made nor undone: `leftovers` has the faults. Retries after a pause.',
      entry: 'countAttempt',
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: [
          { guard: 'wasRebuilding', target: 'rebuilding.restoring', actions: 'tryAgain' },
          { guard: 'wasAdjusting', target: 'adjusting.revisingBack', actions: 'tryAgain' },
          { guard: 'forced', target: 'disconnecting', actions: 'beginRollback' },
          { guard: 'wasDisconnecting', target: 'disconnecting.reattaching', actions: 'tryAgain' },
          { target: 'rollingBack' },
        ],
      },
      on: { teardown: TEARDOWN, 'process.exited': TEARDOWN },
    },
    tearingDown: {
      description: 'Removes everything. A step that fails does not stop the others.',
      initial: 'choosing',
      on: {
        teardown: { actions: 'accept' },
        'process.exited': {},
      },
      states: {
        choosing: {
          description: 'Leaves at once to the first step that has something to do.',
          always: [
            { guard: 'exposes', target: 'unexposing' },
            { guard: 'unpublishes', target: 'unpublishing' },
            { guard: 'names', target: 'unnaming' },
            { target: 'choosingConnection' },
          ],
        },
        unexposing: {
          description:
            'Has the outer publisher stop listening. If it cannot be reached, the next call to it repeats the request.',
          invoke: {
            id: 'unexpose',
            src: 'unexpose',
            input: outerInput,
            onDone: 'unpublishing',
            onError: 'unpublishing',
          },
        },
        unpublishing: {
          description: 'Removes every published port from the firewall. Must come before the removal of links.',
          always: { guard: 'nothingToUnpublish', target: 'unnaming' },
          invoke: {
            id: 'unpublish',
            src: 'unpublish',
            input: ({ context }) => removal(context),
            onDone: 'unnaming',
            onError: { target: 'unnaming', actions: 'addLeftover' },
          },
        },
        unnaming: {
          description: 'Removes the names. The resolver answers at once, and updates its server afterwards.',
          always: { guard: 'nothingToName', target: 'choosingConnection' },
          invoke: { id: 'unname', src: 'unname', input: unnameInput, onDone: 'choosingConnection' },
        },
        choosingConnection: {
          description:
            'Chooses the next step: links on parents or in a namespace of others, the uplink, or the namespace with its links.',
          always: [
            { guard: 'detachesLinks', target: 'detaching' },
            { guard: 'hasUplink', target: 'stoppingUplink' },
            { target: 'removingNamespace' },
          ],
        },
        detaching: {
          description: 'Removes the attachments, the newest first. Goes on if one of them is stuck.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('detach'),
            onDone: [
              { guard: 'stuckOfMany', target: 'detaching', reenter: true, actions: ['addLeftover', 'nextTodo'] },
              { guard: 'stuck', target: 'removingNamespace', actions: ['addLeftover', 'nextTodo'] },
              { guard: 'moreToDo', target: 'detaching', reenter: true, actions: 'nextTodo' },
              { target: 'removingNamespace', actions: 'nextTodo' },
            ],
            onError: [
              { guard: 'moreToDo', target: 'detaching', reenter: true, actions: ['addLeftover', 'nextTodo'] },
              { target: 'removingNamespace', actions: ['addLeftover', 'nextTodo'] },
            ],
          },
        },
        stoppingUplink: {
          description: 'Ends the program of the uplink. Everything that it has made ends with it.',
          invoke: {
            id: 'uplink',
            src: 'uplink',
            input: uplinkInput('stop'),
            onDone: { target: 'removingNamespace', actions: 'addStuckLeftover' },
            onError: { target: 'removingNamespace', actions: 'addLeftover' },
          },
        },
        removingNamespace: {
          description:
            'Unpins the namespace. If it is ours, its links end with it. From here on, nothing leads to the container any more.',
          always: { guard: 'noNamespace', target: 'lookingForFiles' },
          invoke: {
            id: 'removeNamespace',
            src: 'removeNamespace',
            input: namespaceInput,
            onDone: 'lookingForFiles',
            onError: { target: 'lookingForFiles', actions: 'addLeftover' },
          },
        },
        lookingForFiles: {
          description: 'Skips `removingFiles` for a container without files of its own.',
          always: [{ guard: 'writesFiles', target: 'removingFiles' }, { target: 'checkingLeftovers' }],
        },
        removingFiles: {
          description: "Removes the container's resolv.conf and hosts.",
          invoke: {
            id: 'removeFiles',
            src: 'removeFiles',
            input: ({ context }) => ({ id: context.id }),
            onDone: 'checkingLeftovers',
            onError: { target: 'checkingLeftovers', actions: 'addLeftover' },
          },
        },
        checkingLeftovers: {
          description:
            'Decides what comes next: a retry for leftovers, waiting for links that the kernel reaps, or the end.',
          always: [
            { guard: 'leftovers', target: '#container.teardownFailed' },
            { guard: 'nothingLeased', target: '#container.gone' },
            { guard: 'noLinks', target: '#container.releasing' },
            { guard: 'noPorts', target: '#container.draining' },
            { target: 'releasingPorts' },
          ],
        },
        releasingPorts: {
          description: 'Host ports lead nowhere any more, so they are released before the links are gone.',
          invoke: { id: 'release', src: 'release', input: releaseInput('ports'), onDone: '#container.draining' },
        },
      },
    },
    draining: {
      tags: 'rest',
      description:
        'The teardown is complete, but the kernel still reaps the links. Keeps the addresses until then, so that no other ' +
        'container gets an address that is still in use.',
      invoke: {
        id: 'awaitLinksGone',
        src: 'awaitLinksGone',
        input: drainInput,
        onDone: { target: 'releasing', actions: 'dropLinks' },
        onError: { target: 'teardownFailed', actions: 'addLeftover' },
      },
      on: { teardown: { actions: 'accept' }, 'process.exited': {} },
    },
    releasing: {
      tags: 'rest',
      description: 'The kernel has nothing of the container any more: releases addresses and host ports.',
      invoke: {
        id: 'release',
        src: 'release',
        input: releaseInput('container'),
        onDone: { target: 'gone', actions: 'drop' },
        onError: { target: 'teardownFailed', actions: 'addLeftover' },
      },
      on: { teardown: { actions: 'accept' }, 'process.exited': {} },
    },
    teardownFailed: {
      tags: 'rest',
      description:
        'Something could not be removed: `leftovers` has the faults. Retries after a pause, or at once on teardown.',
      entry: 'countAttempt',
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts }),
        onDone: { target: 'tearingDown', actions: 'beginTeardown' },
      },
      on: {
        teardown: { target: 'tearingDown', actions: ['accept', 'beginTeardown'] },
        'process.exited': {},
      },
    },
    gone: { type: 'final', description: 'Nothing of the container is left. Its snapshot is removed.' },
  },
});

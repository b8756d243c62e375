/**
 * The life of one container's network: the machine that decides, for everything else to obey.
 *
 * Guarantees:
 * - Names, addresses and ports are in the context, and so on disk, before an effect makes them.
 * - Every operation ends in a state tagged `rest`: as asked for, or as before with `fault` saying why.
 * - An operation is a `change` (plan/change.ts): networks and ports that are added (lease, expose, attach, name,
 *   publish) or taken away in the reverse order. Undoing a failed addition is taking the same change away again.
 * - What cannot be taken away is listed in `leftovers`, tried again with growing pauses, and never forgotten.
 * - `teardown` is accepted in every state but the last. While others use the namespace it only notes `ownerGone`, and what
 *   is under way goes on: what they use stays until the last of them is gone.
 * - `attempts` counts what failed since all was well, and `lastFault` says what: as long as it is not zero, settling leads
 *   to `degraded`, where everything is looked at again. Until all is well these stay (docs/decisions/0041).
 * Order in: namespace, lease, outer publisher, links, names, ports. Order out: outer publisher, ports, names, links,
 * namespace, lease (netavark#1482: rules go before links, or translated packets leave by the wrong door).
 * Limits: one operation at a time; another meanwhile is refused with the legal events, except teardown.
 * Over 400 lines because the whole life is one picture, and a picture is not cut in two.
 */
import { assign } from 'xstate';
import {
  assertion,
  changeOf,
  diversion,
  reinstatement,
  removal,
  restoration,
  reversal,
  withdrawal,
} from './plan/change.ts';
import {
  namespaceInput,
  releaseInput,
  outerInput,
  nameInput,
  filesInput,
  attachmentInput,
  drainInput,
  uplinkInput,
} from './container-inputs.ts';
import {
  onward,
  naming,
  publishing,
  writingFiles,
  adding,
  unexposing,
  unnaming,
  detaching,
  stoppingUplink,
  outward,
  backward,
  releasing,
  leavingBehind,
  atRest,
  whileConfigured,
} from './container-steps.ts';
import { setupContainer } from './container-setup.ts';

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
      description:
        'Enters on create. Owns the pinned network namespace from here on. Must not configure anything in it.',
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
      description: 'The namespace could not be made: takes away what there may be of it. Leaves to gone.',
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
      description: 'Owns a namespace with nothing in it but lo. Connect and publish change what configure will do.',
      on: {
        ...atRest,
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
      description: 'Makes everything the request asks for. Fails as a whole: back to created with nothing made.',
      ...adding('#container.up'),
    },
    up: {
      tags: 'rest',
      description: 'Everything requested is in the kernel. No effect runs here.',
      on: {
        ...atRest,
        configure: { actions: 'accept' },
        ...whileConfigured,
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
        noticed: { actions: 'notice' },
        yield: { guard: 'has', target: 'yielding', actions: ['accept', 'beginYield'] },
      },
    },
    connecting: {
      description: 'Adds one network to a container that is configured.',
      ...adding('#container.settling'),
    },
    publishing: {
      description:
        'Adds published ports to a container that is configured; those of another container change hands in one transaction.',
      ...adding('#container.settling'),
    },
    reloading: {
      description: 'Has everything outside put back if it is missing; links and leases are not touched.',
      initial: 'exposing',
      states: {
        exposing: {
          description: 'Reminds the outer publisher.',
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
          description: 'The firewall compares its rules with what should be, and puts back what is missing.',
          invoke: {
            id: 'verifyFirewall',
            src: 'verifyFirewall',
            input: ({ context }) => ({ outside: context.outside }),
          },
          on: {
            verified: { target: '#container.up', actions: 'clearChange' },
            refused: { target: '#container.up', actions: ['blameRefusal', 'clearChange'] },
          },
        },
      },
    },
    rebuilding: {
      description:
        'Puts a new link in the place of each, with the same name, addresses and MAC: made ready first, then swapped. ' +
        'Then the rules.',
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
              { guard: 'moreToDo', target: 'replacing', reenter: true, actions: 'nextTodo' },
              { guard: 'hasFailures', target: '#container.repairing', actions: 'beginRepair' },
              { target: '#container.reloading', actions: 'beginReload' },
            ],
            onError: { target: 'restoring', actions: ['blameError', 'revertRest'] },
          },
        },
        restoring: {
          description: 'The swap failed: puts the old link back in its place. Links replaced before it stay replaced.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('replace'),
            onDone: [
              { guard: 'notAttached', target: '#container.failed', actions: 'addLeftover' },
              { target: '#container.settling', actions: 'clearChange' },
            ],
            onError: { target: '#container.failed', actions: 'addLeftover' },
          },
        },
      },
    },
    adjusting: {
      tags: 'passing',
      description: 'Follows a change of its network: MTU, addresses, routes, DNS. All of it, or back to what was.',
      initial: 'revising',
      states: {
        revising: {
          description: 'Changes the link and what is on it.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('revise'),
            onDone: [
              { guard: 'notAttached', target: 'revisingBack', actions: ['blameOutcome', 'revertAll'] },
              ...onward('attaching', '#container.settling', 'clearChange', ['nextTodo']),
            ],
            onError: { target: 'revisingBack', actions: ['blameError', 'revertAll'] },
          },
        },
        naming: naming('#container.settling', 'revisingBack', 'clearChange', 'revertAll'),
        publishing: publishing('#container.settling', 'revisingBack', 'clearChange', 'revertAll'),
        writingFiles: writingFiles('#container.settling', 'revisingBack', 'clearChange', 'revertAll'),
        revisingBack: {
          description: 'Changes the link back to what it was; makes it, if it is not there at all.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('repair'),
            onDone: [
              { guard: 'notAttached', target: '#container.failed', actions: 'addLeftover' },
              { guard: 'keepsPorts', target: 'renaming' },
              { target: 'reverting' },
            ],
            onError: { target: '#container.failed', actions: 'addLeftover' },
          },
        },
        reverting: {
          description: 'Leads published ports back to where they led.',
          invoke: {
            id: 'publish',
            src: 'publish',
            input: ({ context }) => reinstatement(context),
            onDone: 'renaming',
            onError: { target: '#container.failed', actions: 'addLeftover' },
          },
        },
        renaming: {
          description: 'Gives the names back the addresses they had.',
          always: { guard: 'nameless', target: '#container.settling', actions: 'clearChange' },
          invoke: { id: 'name', src: 'name', input: nameInput },
          on: {
            named: { target: '#container.settling', actions: 'clearChange' },
            refused: { target: '#container.failed', actions: 'addRefusedLeftover' },
          },
        },
      },
    },
    repairing: {
      tags: 'passing',
      description:
        'Others took something away, or the uplink ended: makes what is missing, and touches nothing else. On reload the ' +
        'uplink is started anew.',
      initial: 'choosing',
      states: {
        choosing: {
          description: 'Links first, if any of ours are meant; then the outer publisher and ports.',
          always: [
            { guard: 'attaches', target: 'repairingLinks' },
            { guard: 'restarts', target: 'stoppingUplink' },
            { guard: 'repairsUplink', target: 'repairingUplink' },
            { guard: 'exposes', target: 'exposing' },
            { guard: 'republishes', target: 'republishing' },
            { target: '#container.up', actions: 'clearDrift' },
          ],
        },
        repairingLinks: {
          description: 'Makes what is missing of one attachment after another.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('repair'),
            onDone: [
              { guard: 'notAttached', target: '#container.degraded', actions: ['blameOutcome', 'clearChange'] },
              { guard: 'moreToDo', target: 'repairingLinks', reenter: true, actions: 'nextTodo' },
              { guard: 'exposes', target: 'exposing' },
              { guard: 'republishes', target: 'republishing' },
              { target: '#container.up', actions: 'clearDrift' },
            ],
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
        stoppingUplink: stoppingUplink(
          [
            { guard: 'stuck', target: '#container.degraded', actions: ['blameOutcome', 'clearChange'] },
            { target: 'repairingUplink' },
          ],
          [{ target: '#container.degraded', actions: ['blameError', 'clearChange'] }],
        ),
        repairingUplink: {
          description: 'Has the program that leads out run, as far as it does not; every port is given to it again.',
          invoke: {
            id: 'uplink',
            src: 'uplink',
            input: uplinkInput('repair'),
            onDone: [
              { guard: 'notReady', target: '#container.degraded', actions: ['blameOutcome', 'clearChange'] },
              { guard: 'exposes', target: 'exposing', actions: 'noteUplink' },
              { guard: 'republishes', target: 'republishing', actions: 'noteUplink' },
              { target: '#container.up', actions: ['noteUplink', 'clearDrift'] },
            ],
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
        exposing: {
          description: 'Reminds the outer publisher.',
          invoke: {
            id: 'expose',
            src: 'expose',
            input: outerInput,
            onDone: 'republishing',
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
        republishing: {
          description: 'Makes sure that every published port leads here.',
          invoke: {
            id: 'publish',
            src: 'publish',
            input: ({ context }) => assertion(context),
            onDone: { target: '#container.up', actions: 'clearDrift' },
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
      },
    },
    degraded: {
      tags: 'rest',
      description:
        'Something is missing and could not be made again: `lastFault` says what failed last. All of it is tried again by ' +
        'itself, and at once on reload or configure.',
      entry: 'countAttempt',
      invoke: {
        id: 'backOff',
        src: 'backOff',
        input: ({ context }) => ({ attempt: context.attempts + Math.max(0, (context.uplink?.endedSoon ?? 0) - 2) }),
      },
      on: {
        ...atRest,
        retry: { target: 'repairing', actions: ['forgive', 'beginRepair'] },
        configure: { target: 'repairing', actions: ['accept', 'beginRepair'] },
        drifted: { target: 'repairing', actions: ['accept', 'beginRepair'] },
        noticed: { actions: 'notice' },
        lost: {},
        ...whileConfigured,
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
      description: 'Another container takes ports over. Owns them until that one has them, and again if it fails.',
      initial: 'waiting',
      states: {
        waiting: {
          description: 'Waits until the other container is at rest, with these ports or without.',
          invoke: {
            id: 'awaitVerdict',
            src: 'awaitVerdict',
            input: ({ context }) => ({ taker: changeOf(context).taker ?? '', ports: changeOf(context).ports }),
          },
          on: {
            taken: 'releasing',
            kept: [{ guard: 'exposes', target: 'exposing' }, { target: 'reclaiming' }],
          },
        },
        releasing: {
          description: 'The ports are the other one’s: forgets its own claim to them.',
          invoke: { id: 'release', src: 'release', input: releaseInput('ports') },
          on: { released: { target: '#container.up', actions: ['forgetPorts', 'drop'] } },
        },
        exposing: {
          description: 'The other one, when it failed, had the outer publisher stop to listen for them.',
          invoke: {
            id: 'expose',
            src: 'expose',
            input: outerInput,
            onDone: 'reclaiming',
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
        reclaiming: {
          description: 'The other one does not have them: makes sure that they lead here.',
          invoke: {
            id: 'publish',
            src: 'publish',
            input: ({ context }) => assertion(context),
            onDone: { target: '#container.up', actions: 'clearChange' },
            onError: { target: '#container.degraded', actions: ['blameError', 'clearChange'] },
          },
        },
      },
    },
    disconnecting: {
      description:
        'Takes one network away; ports that led to it lead to the next, now or when there is one. If it is stuck, all is as ' +
        'before; if that cannot be either, it is tried again until it is gone.',
      initial: 'choosing',
      states: {
        choosing: {
          description:
            'Ports first, if any led there; then names, then the link. What is gone already is only given back.',
          always: [
            { guard: 'diverts', target: 'diverting' },
            { guard: 'names', target: 'unnaming' },
            { guard: 'attaches', target: 'detaching' },
            { target: 'releasing' },
          ],
        },
        diverting: {
          description:
            'Leads ports to what is now the first attachment, in one transaction; with none left they lead nowhere.',
          invoke: {
            id: 'publish',
            src: 'publish',
            input: ({ context }) => diversion(context),
            onDone: [
              { guard: 'names', target: 'unnaming' },
              { guard: 'attaches', target: 'detaching' },
              { target: 'releasing' },
            ],
            onError: [
              { guard: 'forced', target: '#container.failed', actions: 'addLeftover' },
              { target: 'returning', actions: 'blameError' },
            ],
          },
        },
        unnaming: unnaming({ target: 'detaching' }),
        detaching: {
          description: 'Takes the link away.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('detach'),
            onDone: [
              { guard: 'stuckForced', target: '#container.failed', actions: 'addLeftover' },
              { guard: 'stuck', target: 'reattaching', actions: 'blameOutcome' },
              { guard: 'writesFiles', target: 'writingFiles', actions: 'dropLinks' },
              { target: 'releasing', actions: 'dropLinks' },
            ],
            onError: [
              { guard: 'forced', target: '#container.failed', actions: 'addLeftover' },
              { target: 'reattaching', actions: 'blameError' },
            ],
          },
        },
        writingFiles: {
          description: "Takes the network out of the container's resolv.conf and hosts.",
          invoke: {
            id: 'ensureFiles',
            src: 'ensureFiles',
            input: filesInput,
            onDone: 'releasing',
            onError: 'releasing',
          },
        },
        releasing: releasing('#container.settling', ['forgetNetworks', 'drop'], 'forceRetry'),
        reattaching: {
          description: 'The link could not be taken away: makes sure that it is whole.',
          invoke: {
            id: 'attachment',
            src: 'attachment',
            input: attachmentInput('repair'),
            onDone: [
              { guard: 'notAttached', target: '#container.failed', actions: ['forceRetry', 'addLeftover'] },
              { guard: 'names', target: 'renaming' },
              { guard: 'diverts', target: 'returning' },
              { target: '#container.settling', actions: 'clearChange' },
            ],
            onError: { target: '#container.failed', actions: ['forceRetry', 'addLeftover'] },
          },
        },
        renaming: {
          description: 'Gives it its names again.',
          invoke: { id: 'name', src: 'name', input: nameInput },
          on: {
            named: [
              { guard: 'diverts', target: 'returning' },
              { target: '#container.settling', actions: 'clearChange' },
            ],
            refused: { target: '#container.failed', actions: 'addRefusedLeftover' },
          },
        },
        returning: {
          description: 'Leads the ports back to it.',
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
      description: 'Takes published ports away. Connections through them end; others are not touched.',
      initial: 'unpublishing',
      states: {
        unpublishing: {
          description: 'Takes the ports out of the firewall in one transaction: all of them, or none.',
          invoke: {
            id: 'unpublish',
            src: 'unpublish',
            input: ({ context }) => withdrawal(context),
            onDone: [{ guard: 'unexposes', target: 'unexposing' }, { target: 'releasing' }],
            onError: { target: 'returning', actions: 'blameError' },
          },
        },
        returning: {
          description: 'It failed, and what of it has happened is not known: makes sure that every port leads here.',
          invoke: {
            id: 'publish',
            src: 'publish',
            input: ({ context }) => assertion(context),
            onDone: { target: '#container.settling', actions: 'clearChange' },
            onError: { target: '#container.degraded', actions: 'clearChange' },
          },
        },
        unexposing: unexposing({ target: 'releasing' }),
        releasing: {
          description: 'Nothing leads there any more: the host ports go back to their owner.',
          invoke: { id: 'release', src: 'release', input: releaseInput('ports') },
          on: { released: { target: '#container.settling', actions: ['forgetPorts', 'drop'] } },
        },
      },
    },
    rollingBack: {
      description: 'An addition failed (`fault`): takes away what of it there may be, in reverse order.',
      entry: 'beginRollback',
      initial: 'choosing',
      states: {
        choosing: {
          description: 'To the first step back that has something to do.',
          always: backward('choosing'),
        },
        unexposing: unexposing(backward('unexposing')),
        restoring: {
          description: 'Ports lead where they led before; those of the change go. Must not touch a link before.',
          invoke: {
            id: 'publish',
            src: 'publish',
            input: ({ context }) => restoration(context),
            onDone: backward('restoring'),
            onError: backward('restoring', 'addLeftover'),
          },
        },
        unnaming: unnaming(backward('unnaming')),
        detaching: detaching({ target: 'checkingLeftovers' }),
        stoppingUplink: stoppingUplink(
          backward('stoppingUplink', 'addStuckLeftover', 'forgetUplink'),
          backward('stoppingUplink', 'addLeftover'),
        ),
        checkingLeftovers: {
          description: 'What could not be taken away keeps its address and ports: nothing is given back before.',
          always: [
            { guard: 'leftovers', target: '#container.failed' },
            { target: 'releasing', actions: 'dropLinks' },
          ],
        },
        releasing: releasing('#container.settling', ['drop', 'resetAttempts']),
      },
    },
    settling: {
      description: 'Comes to rest where the container was: up (or degraded) when it was configured, else created.',
      always: [
        { guard: 'hasFailures', target: 'degraded' },
        { guard: 'configured', target: 'up' },
        { target: 'created' },
      ],
    },
    failed: {
      tags: 'rest',
      description: 'A change could neither be made nor undone: `leftovers` says what is left. Tried again by itself.',
      entry: 'countAttempt',
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: {
        teardown: leavingBehind,
        'process.exited': leavingBehind,
        retry: [
          { guard: 'wasRebuilding', target: 'rebuilding.restoring', actions: 'tryAgain' },
          { guard: 'wasAdjusting', target: 'adjusting.revisingBack', actions: 'tryAgain' },
          { guard: 'forced', target: 'disconnecting', actions: 'beginRollback' },
          { guard: 'wasDisconnecting', target: 'disconnecting.reattaching', actions: 'tryAgain' },
          { target: 'rollingBack' },
        ],
      },
    },
    tearingDown: {
      description: 'Takes everything away. A step that fails does not stop the others.',
      initial: 'choosing',
      on: {
        teardown: { actions: 'accept' },
        'process.exited': {},
      },
      states: {
        choosing: {
          description: 'To the first step that has something to do.',
          always: outward('choosing'),
        },
        unexposing: unexposing(outward('unexposing')),
        unpublishing: {
          description: 'Takes every published port out of the firewall. Must not touch a link before.',
          invoke: {
            id: 'unpublish',
            src: 'unpublish',
            input: ({ context }) => removal(context),
            onDone: outward('unpublishing'),
            onError: outward('unpublishing', 'addLeftover'),
          },
        },
        unnaming: unnaming(outward('unnaming')),
        detaching: detaching({ target: 'removingNamespace' }),
        stoppingUplink: stoppingUplink(
          outward('stoppingUplink', 'addStuckLeftover'),
          outward('stoppingUplink', 'addLeftover'),
        ),
        removingNamespace: {
          description:
            'Unpins the namespace: links in one of ours go with it. From here on nothing leads to the container any more.',
          invoke: {
            id: 'removeNamespace',
            src: 'removeNamespace',
            input: namespaceInput,
            onDone: outward('removingNamespace'),
            onError: outward('removingNamespace', 'addLeftover'),
          },
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
          description: 'Decides what is left to wait for: leftovers, links that the kernel still reaps, or nothing.',
          always: [
            { guard: 'leftovers', target: '#container.teardownFailed' },
            { guard: 'nothingLeased', target: '#container.gone' },
            { guard: 'noLinks', target: '#container.releasing' },
            { guard: 'noPorts', target: '#container.draining' },
            { target: 'releasingPorts' },
          ],
        },
        releasingPorts: {
          description: 'Host ports lead nowhere since the rules went: whoever wants one next need not wait for links.',
          invoke: { id: 'release', src: 'release', input: releaseInput('ports') },
          on: { released: '#container.draining' },
        },
      },
    },
    draining: {
      tags: 'rest',
      description:
        'Torn down, as far as anyone can tell: the kernel still reaps the links. Holds the addresses until it has, ' +
        'so that no one else answers to them before.',
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
      ...releasing('gone', ['drop']),
      invoke: { id: 'release', src: 'release', input: releaseInput('container') },
      on: {
        released: { target: 'gone', actions: 'drop' },
        refused: { target: 'teardownFailed', actions: 'addRefusedLeftover' },
        teardown: { actions: 'accept' },
        'process.exited': {},
      },
    },
    teardownFailed: {
      tags: 'rest',
      description:
        'Something could not be taken away: `leftovers` says what and why. Tried again by itself, or on teardown.',
      entry: 'countAttempt',
      invoke: { id: 'backOff', src: 'backOff', input: ({ context }) => ({ attempt: context.attempts }) },
      on: {
        retry: { target: 'tearingDown', actions: 'beginTeardown' },
        teardown: { target: 'tearingDown', actions: ['accept', 'beginTeardown'] },
        'process.exited': {},
      },
    },
    gone: { type: 'final', description: 'Nothing of the container is left anywhere. Its snapshot is removed.' },
  },
});

/**
 * Has the sentences for the states of machines: what a container does at each step, and how a shared machine is.
 *
 * Guarantees: pure. Every state of the machines has a sentence (test/plan/why-states.test.ts walks them), so that a new state
 * cannot be forgotten here.
 */
import { topState } from '../states.ts';
import type { Condition } from '../../state/answers/container/why.ts';

/** Says what is being done to a container, by the outer state. States at rest are not here. */
const UNDER_WAY: Readonly<Record<string, string>> = {
  creating: 'being created',
  abandoning: 'being removed, because its namespace could not be made',
  configuring: 'being configured',
  connecting: 'being connected to a network',
  publishing: 'being given published ports',
  reloading: 'being reloaded',
  rebuilding: 'being given new links',
  adjusting: 'following a change of its network',
  repairing: 'being repaired',
  yielding: 'giving ports away to another container',
  disconnecting: 'being disconnected from a network',
  unpublishing: 'losing published ports',
  rollingBack: 'being put back to how it was, because a step failed',
  settling: 'coming to rest',
  tearingDown: 'being torn down',
  draining: 'being torn down',
  releasing: 'being torn down',
};

/** Says what the machine does in a step, by the last part of the state's name: "making a link". */
const STEP: Readonly<Record<string, string>> = {
  creating: 'making its namespace',
  abandoning: 'removing what exists of its namespace',
  leasing: 'asking for its addresses and host ports',
  checkingPlan: 'planning what it was granted',
  exposing: 'asking the outer publisher to listen for its ports',
  unexposing: 'asking the outer publisher to stop listening for its ports',
  choosingConnection: 'choosing the next step',
  startingUplink: 'starting its uplink',
  checkingUplink: 'checking the addresses of its uplink',
  stoppingUplink: 'ending its uplink',
  repairingUplink: 'starting its uplink again',
  attaching: 'making a link',
  detaching: 'removing a link',
  replacing: 'replacing a link',
  restoring: 'putting back what was changed',
  revising: 'changing a link',
  revisingBack: 'changing a link back',
  repairingLinks: 'making the missing parts of a link',
  reattaching: 'making a link again',
  lookingForLink: 'choosing the next step',
  finishing: 'choosing the next step',
  choosing: 'choosing the next step',
  settling: 'choosing the next state',
  naming: 'having the resolver answer its names',
  renaming: 'having the resolver answer its names again',
  unnaming: 'removing its names',
  publishing: 'publishing its ports',
  unpublishing: 'removing its ports',
  republishing: 'publishing its ports again',
  diverting: 'leading its ports to another network',
  returning: 'leading its ports back',
  reverting: 'leading its ports back',
  reclaiming: 'leading its ports back',
  waiting: 'waiting for the container that takes its ports over',
  checking: 'having the program of a network check what it has made',
  verifying: 'having the firewall compared with what it should be',
  writingFiles: 'writing its resolv.conf and hosts',
  removingFiles: 'removing its resolv.conf and hosts',
  lookingForFiles: 'choosing the next step',
  removingNamespace: 'removing its namespace',
  checkingLeftovers: 'counting what is left',
  releasingPorts: 'giving its host ports back',
  draining: 'waiting until the kernel has removed its links, whose addresses are kept until then',
  releasing: 'giving back what it was granted',
};

/** Returns what is being done to a container in this state; undefined if it is at rest. */
export const underWay = (state: string): string | undefined => UNDER_WAY[topState({ value: state })];

/** Returns what the machine does in this state, as the subject of a sentence: "making a link". */
export const stepOf = (state: string): string => STEP[state.split('.').at(-1) ?? ''] ?? 'being at work';

/** Says how a shared machine is, for a container that depends on it. */
interface Meaning {
  condition: Condition;
  text: string;
}
export type Meanings = Readonly<Record<string, Meaning>>;

const is = (condition: Condition, text: string): Meaning => ({ condition, text });

export const UNUSED = is('ok', 'has no bridge now, because no container is on it: the first one raises it');

export const NETWORK: Meanings = {
  deciding: is('waiting', 'is being started'),
  down: UNUSED,
  securing: is('waiting', 'waits for the firewall before it raises its bridge'),
  raising: is('waiting', 'is raising its bridge'),
  up: is('ok', 'is up'),
  programming: is('waiting', 'is being given the other hosts of its overlay'),
  revising: is('waiting', 'is being changed'),
  propagating: is('waiting', 'is passing a change on to its containers'),
  recordingRollback: is('waiting', 'takes a change back that a container could not follow'),
  reverting: is('waiting', 'takes a change back that a container could not follow'),
  restoring: is('waiting', 'takes a change back that a container could not follow'),
  outOfSync: is('wrong', 'does not follow its definition'),
  repairing: is('waiting', 'is being repaired'),
  repairFailed: is('wrong', 'could not be repaired'),
  lowering: is('waiting', 'is removing its bridge; who needs it waits until that is done'),
  releasingFirewall: is(
    'waiting',
    'has removed its bridge, and waits for the firewall; who needs it waits until that is done',
  ),
  lowerFailed: is('wrong', 'could not be lowered'),
  error: is('wrong', 'has been stopped by a defect in cleat, and is started again within a second'),
};

export const OVERLAY: Meanings = {
  claiming: is('waiting', 'is claiming a share for this host; nothing is attached to it until it has one'),
  identifying: is('waiting', 'takes another host id, because another host has this one'),
  unclaimed: is('wrong', 'has no share for this host, and nothing is attached to it'),
  'holding.leased': is('ok', 'is open'),
  'holding.renumbering': is('waiting', 'is giving its containers addresses of another share'),
  'holding.renumberFailed': is('wrong', 'could not give its containers addresses of another share'),
  fenced: is('wrong', "is fenced: nothing is attached to it until its share is proven to be this host's"),
  releasing: is('waiting', 'is giving its share back'),
  released: is('waiting', 'has given its share back'),
  absent: is('wrong', 'takes no new containers, because the daemon was started without --etcd'),
  error: is('wrong', 'has been stopped by a defect in cleat'),
};

export const FIREWALL: Meanings = {
  deciding: is('waiting', 'is being started'),
  down: is('ok', 'has no table now, because nothing needs one: the first network or uplink raises it'),
  reading: is('waiting', 'is being raised'),
  raising: is('waiting', 'is being raised'),
  up: is('ok', 'is up'),
  opening: is('waiting', 'is being opened for the first network'),
  verifying: is('ok', 'is up, and is just being compared with what it should be'),
  verifyFailed: is('wrong', 'could not be read or repaired'),
  restoring: is('ok', 'is up, and forwarding is being switched back'),
  restoreFailed: is('wrong', 'is up, but could not switch forwarding back'),
  lowering: is('waiting', 'is being removed; who needs it waits until that is done'),
  lowerFailed: is('wrong', 'could not be removed'),
  error: is('wrong', 'has been stopped by a defect in cleat, and is started again within a second'),
};

export const ROOTLESS: Meanings = {
  deciding: is('waiting', 'is being started'),
  down: is('ok', 'does not run, because no container is on a network'),
  raising: is('waiting', 'is being started'),
  up: is('ok', 'leads out of the namespace that rootless networks are in'),
  repairing: is('waiting', 'is being looked at, and repaired where it has to be'),
  replacing: is('waiting', 'is being replaced'),
  failed: is('wrong', 'does not run, so the networks lead nowhere'),
  lowering: is('waiting', 'is being ended; who needs it waits until that is done'),
  lowerFailed: is('wrong', 'could not be ended'),
  error: is('wrong', 'has been stopped by a defect in cleat, and is started again within a second'),
};

export const RESOLVER: Meanings = {
  deciding: is('waiting', 'is being started'),
  idle: is('ok', 'does not run, because no container has names'),
  writing: is('ok', 'is being told of new names'),
  starting: is('ok', 'is being told of new names'),
  asking: is('ok', 'is being asked for new names'),
  serving: is('ok', 'answers'),
  steadying: is('ok', 'answers again, after a failure'),
  restarting: is('wrong', 'does not answer'),
  stopping: is('waiting', 'is being stopped'),
  stopFailed: is('wrong', 'could not be stopped'),
  error: is('wrong', 'has been stopped by a defect in cleat, and is started again within a second'),
};

export const FIREWALLD: Meanings = {
  deciding: is('waiting', 'is being looked at'),
  idle: is('ok', 'knows the bridges, if it runs'),
  looking: is('ok', 'is being looked at'),
  changing: is('waiting', 'is being told of the bridges'),
  refused: is('wrong', 'has not taken the bridges into its trusted zone'),
  error: is('wrong', 'is not told of bridges, because of a defect in cleat, and is told within a second'),
};

/**
 * The events with which the network's machine is walked: two definitions, two containers, an update, and each possible
 * request in scenarios of their own; and all the resulting walks.
 *
 * Limits: containers follow or do not, all at once.
 */
import { networkMachine, type NetworkInput } from '../../machines/network.ts';
import { grantLease, NO_LEASES, type Leases } from '../../plan/networks/lease.ts';
import { NO_WAY_OUT, withMtu, type WayOut } from '../../plan/networks/way-out.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Peer } from '../../state/overlay.ts';
import { definition } from './fixtures.ts';
import { answersIn, asker, walksOf, type AnySnapshot, type Event } from './shared-driver.ts';

export const WEB = definition('web', '10.89.0.0/24', '10.89.0.1');
/** The same with IPv6 and another MTU. */
export const SIX: NetworkDefinition = {
  ...WEB,
  subnets: [...WEB.subnets, { subnet: 'fd00:89::/64', gateway: 'fd00:89::1' }],
  options: { mtu: '1400' },
};
const granted = grantLease(WEB, NO_LEASES, {}, 'a', { static_ips: ['10.89.0.7'] });
if ('fault' in granted) throw new Error(granted.fault.message);
const ADOPTED: Leases = new Map([['a', granted.lease]]);
const input = (more: Partial<NetworkInput>): NetworkInput => ({
  definition: WEB,
  previous: null,
  outside: null,
  wayOut: NO_WAY_OUT,
  bridge: null,
  peers: [],
  adopted: NO_LEASES,
  recovering: true,
  ...more,
});
export const askers = { a: asker(), b: asker(), u: asker() };
const users = (['a', 'b'] as const).flatMap((owner): Event[] => [
  { type: 'join', owner, options: {}, from: askers[owner].ref },
  { type: 'leave', owner, from: askers[owner].ref },
]);
export const update: Event = { type: 'update', definition: SIX, insist: false, owner: 'u', from: askers.u.ref };
const back: Event = { ...update, definition: WEB, insist: true };
const drifted: Event = { type: 'drifted' };
/** A tunnel became the way out. */
const TUNNEL: WayOut = { 4: 1400, 6: 1400 };
const narrow: Event = { type: 'wayOut', wayOut: TUNNEL };
/** Another host has joined. */
const PEERS: readonly Peer[] = [
  { host: 'b'.repeat(32), address: '192.0.2.2', mac: '02:00:00:00:00:02', subnets: ['10.128.2.0/24'] },
];
const peers: Event = { type: 'peers', peers: PEERS };
/** The expected MTU of bridge and containers of WEB by then. */
export const NARROW = withMtu(WEB, TUNNEL);
const [joinA, leaveA, joinB, leaveB] = users as [Event, Event, Event, Event];

/** Each scenario has only the requests that belong to it. */
const SCENARIOS: Record<string, { input: NetworkInput; questions: Event[] }> = {
  fresh: { input: input({ recovering: false }), questions: users },
  adopted: { input: input({ adopted: ADOPTED }), questions: users },
  recovering: { input: input({}), questions: users },
  drift: { input: input({ adopted: ADOPTED }), questions: [drifted, leaveA, joinB, leaveB] },
  'another way out': { input: input({ adopted: ADOPTED }), questions: [narrow, drifted, leaveA, joinB] },
  'another way out, on the way up and down': {
    input: input({ recovering: false }),
    questions: [narrow, joinA, leaveA],
  },
  'other hosts': { input: input({ adopted: ADOPTED }), questions: [peers, drifted, leaveA, joinB] },
  'other hosts, on the way up and down': { input: input({ recovering: false }), questions: [peers, joinA, leaveA] },
  'update at rest': { input: input({ adopted: ADOPTED }), questions: [update, leaveA, joinB] },
  'update and back': { input: input({ adopted: ADOPTED }), questions: [update, back, drifted] },
  'update on the way up and down': { input: input({ recovering: false }), questions: [update, joinA, leaveA] },
  // A crash in the middle of an update; and a file that somebody has edited.
  interrupted: { input: input({ adopted: ADOPTED, definition: SIX, previous: WEB }), questions: [leaveA, joinB, back] },
  edited: { input: input({ adopted: ADOPTED, definition: SIX }), questions: [leaveA, joinB, drifted] },
};

interface Facts {
  leases: Leases;
  waiting: { owner: string }[];
  definition: NetworkDefinition;
  wayOut: WayOut;
  remeasured: boolean;
  peers: readonly Peer[];
  repeered: boolean;
  asked: { definition: NetworkDefinition } | null;
  revision: { from: unknown; back: unknown; asker: unknown; fault: unknown } | null;
  recovering: boolean;
  fault: unknown;
  attempts: number;
}
export const factsOf = (state: AnySnapshot): Facts => state.context as unknown as Facts;
const keyOf = (state: AnySnapshot): string => {
  const {
    leases,
    waiting,
    recovering,
    fault,
    definition: now,
    asked,
    revision,
    attempts,
    wayOut,
    remeasured,
    peers,
    repeered,
  } = factsOf(state);
  return JSON.stringify([
    state.value,
    [...leases.keys()].sort(),
    waiting.map(({ owner }) => owner).sort(),
    recovering,
    fault !== null,
    now === SIX,
    asked === null ? null : asked.definition === SIX,
    revision === null ? null : [revision.back !== null, revision.asker !== null, revision.fault !== null],
    attempts > 0,
    wayOut === NO_WAY_OUT,
    remeasured,
    peers.length,
    repeered,
  ]);
};

export const WALKS = Object.entries(SCENARIOS).map(([name, { input, questions }]) => ({
  name,
  input,
  walks: walksOf(networkMachine, input, (state) => [...answersIn(state, {}), ...questions], keyOf),
}));

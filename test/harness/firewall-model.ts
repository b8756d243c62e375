/**
 * The events with which the firewall's machine is walked: two networks and an uplink that hold it and a requester that
 * verifies it, in scenarios of their own; and all the resulting walks.
 *
 * Limits: of the switches, only one initial value is walked: off.
 */
import { firewallMachine } from '../../machines/firewall.ts';
import { answersIn, asker, walksOf, type AnySnapshot, type Event } from './shared-driver.ts';

export const FOUND = { 'net/ipv4/ip_forward': '0' };
const INPUTS = {
  fresh: { outside: null, adopted: [], uplinks: [], found: null, recorded: false },
  adopted: { outside: null, adopted: ['a'], uplinks: [], found: FOUND, recorded: true },
  'adopted for an uplink': { outside: null, adopted: [], uplinks: ['u'], found: null, recorded: true },
  'left behind': { outside: null, adopted: [], uplinks: [], found: FOUND, recorded: true },
  'left behind by an uplink': { outside: null, adopted: [], uplinks: [], found: null, recorded: true },
};

/** u: an uplink, which needs no forwarding. */
export const askers = { a: asker(), b: asker(), u: asker(), v: asker() };
const questions: Event[] = (['a', 'b'] as const).flatMap((owner) => [
  { type: 'hold', owner, from: askers[owner].ref },
  { type: 'release', owner, from: askers[owner].ref },
]);
const uplink: Event[] = [
  { type: 'hold', uplink: true, owner: 'u', from: askers.u.ref },
  { type: 'release', owner: 'u', from: askers.u.ref },
];
const verify: Event = { type: 'verify', owner: 'v', from: askers.v.ref };
export const CLEAN = { repaired: [], left: [] };

interface Facts {
  holders: string[];
  uplinks: string[];
  waiting: { owner: string }[];
  found: unknown;
  verifiers: unknown[];
  next: unknown[] | null;
  fault: unknown;
}
export const factsOf = (state: AnySnapshot): Facts => state.context as unknown as Facts;
const keyOf = (state: AnySnapshot): string => {
  const { holders, uplinks, waiting, found, fault, verifiers, next } = factsOf(state);
  return JSON.stringify([
    state.value,
    [...holders].sort(),
    uplinks.length,
    waiting.map(({ owner }) => owner).sort(),
    found !== null,
    fault !== null,
    Math.min(verifiers.length, 1),
    next === null ? null : Math.min(next.length, 1),
  ]);
};

const SCENARIOS: [name: string, input: (typeof INPUTS)[keyof typeof INPUTS], questions: Event[]][] = [
  ['fresh', INPUTS.fresh, questions],
  ['adopted', INPUTS.adopted, questions],
  ['left behind', INPUTS['left behind'], questions],
  ['left behind by an uplink', INPUTS['left behind by an uplink'], [...questions.slice(0, 2), ...uplink]],
  ['for an uplink', INPUTS.fresh, [...questions.slice(0, 2), ...uplink]],
  ['adopted for an uplink', INPUTS['adopted for an uplink'], [...questions.slice(0, 2), ...uplink]],
  ['verified for an uplink', INPUTS['adopted for an uplink'], [...questions.slice(0, 1), uplink[1]!, verify]],
  // One holder is enough for these: it may come and go meanwhile.
  ['verified', INPUTS.adopted, [...questions.slice(1, 3), verify, { type: 'verify' }]],
  ['verified from the beginning', INPUTS.fresh, [...questions.slice(0, 2), verify]],
];
export const WALKS = SCENARIOS.map(([name, input, asked]) => ({
  name,
  input,
  walks: walksOf(
    firewallMachine,
    input,
    (state) => [...answersIn(state, { readSwitches: FOUND, repairRuleset: CLEAN }), ...asked],
    keyOf,
  ),
}));

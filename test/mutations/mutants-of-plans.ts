/**
 * Defects planted on purpose in plans: in what they foresee, in what they leave alone, and in what is compared when they are
 * applied.
 */
import type { Mutant } from './mutants.ts';

const PLANS = { test: 'service/plans.test' };
const SHADOW = { file: 'service/plans/shadow.ts', test: 'service/plan-paths' };

export const mutantsOfPlans: Mutant[] = [
  {
    ...SHADOW,
    name: 'the shadow of a machine answers those who asked the machine',
    find: 'if (this.#askers.delete(to)) to.send(event);',
    replace: 'to.send(event);',
    seen: /FAIL +plan-paths +"a shadow neither touches the machine nor answers/,
  },
  {
    ...SHADOW,
    name: 'the shadow of an attachment goes on when its container has left it',
    find: "signal.addEventListener('abort', () => shadow.stop(), { once: true });",
    replace: '',
    seen: /FAIL +plan-paths +"a container of the kind/,
  },
  {
    name: 'the effect of an uplink succeeds with another answer than its program gives',
    file: 'service/plans/successes.ts',
    find: 'addresses: brings?.addresses ?? OF_THE_HOST,',
    replace: 'addresses: [],',
    ...PLANS,
    seen: /FAIL +plans +"a container behind slirp4netns/,
  },
  {
    name: 'a giver of ports is asked itself when it is planned to ask it',
    file: 'service/plans/foresight.ts',
    find: 'shadow.send(asked);',
    replace: 'shadow.send(asked); actor.send(asked);',
    ...PLANS,
    seen: /FAIL +plans +"(?:a plan changes nothing|a container ports that go)/,
  },
  {
    name: 'another address than promised is granted',
    file: 'effects/lease.ts',
    find: 'if (promised === null) return;',
    replace: 'if (promised === null || owner !== "") return;',
    ...PLANS,
    seen: /FAIL +plans +"of two plans that are applied at the same moment/,
  },
  {
    name: 'what a plan has promised is lost on the way to the machine',
    file: 'machines/container/container-setup.ts',
    find: "...('promised' in event && event.promised !== undefined ? { promised: event.promised } : {}),",
    replace: '',
    ...PLANS,
    seen: /FAIL +plans +"(?:of two plans that are applied|a daemon that is killed keeps)/,
  },
  {
    name: 'the container is not compared once more when it gets the event of a plan',
    file: 'service/containers/containers.ts',
    find: 'applied?.verify(before);',
    replace: '',
    ...PLANS,
    seen: /FAIL +plans +"of two plans that are applied at the same moment/,
  },
  {
    name: 'what a network grants is not compared when a plan is applied',
    file: 'service/plans/basis.ts',
    find: 'lines.push([`what ${network} grants`',
    replace: 'if (mac === "") lines.push([`what ${network} grants`',
    ...PLANS,
    seen: /FAIL +plans +"a plan is refused when what it rests on has moved/,
  },
  {
    name: 'a plan to tear down one container takes away another one that it does not name',
    file: 'service/plans/basis.ts',
    find: 'if (around.follower !== null)',
    replace: 'if (around.follower === "")',
    ...PLANS,
    seen: /FAIL +plans +"a plan is refused when its container is left/,
  },
  {
    name: 'a plan is found by everybody',
    file: 'service/plans/plan-store.ts',
    find: 'const keyOf = (uid: number, hash: string): string => `${uid} ${hash}`;',
    replace: 'const keyOf = (_uid: number, hash: string): string => hash;',
    test: 'service/plan-store',
    seen: /FAIL +kept plans +"a plan is found by its user alone/,
  },
  {
    name: 'a plan can be applied twice',
    file: 'service/plans/plan-store.ts',
    find: 'const plan = this.get(uid, hash);',
    replace: 'return this.get(uid, hash); const plan = this.get(uid, hash);',
    test: 'service/plan-store',
    seen: /FAIL +kept plans +"a plan is found by its user alone/,
  },
  {
    name: 'a misspelt dry_run is done',
    file: 'service/http/route-rules.ts',
    find: 'operation === undefined ? null : whyNot',
    replace: 'operation !== null ? null : whyNot',
    ...PLANS,
    seen: /FAIL +plans +"a parameter that nobody knows is refused/,
  },
];

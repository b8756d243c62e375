// proving: 600
/**
 * Every edge of the resolver's machine, pure and driven: a requester that got `named` has names and a server that
 * answers, a refused one has none, a server that ends comes back, and it goes with the last name.
 */
import { suite } from 'uvu';
import type { NameEntry, Names } from '../../plan/names/names.ts';
import { resolverMachine, type ResolverInput } from '../../machines/resolver.ts';
import {
  answersIn,
  asker,
  Driven,
  judged,
  titleOf,
  walksOf,
  type AnySnapshot,
  type Event,
  type Step,
} from '../harness/shared-driver.ts';
import { oneOfEach } from '../harness/cover.ts';
import { assertNone } from '../harness/machines.ts';

const entry = (name: string): NameEntry => ({
  network: 'n',
  internal: false,
  listen: ['10.89.0.1'],
  servers: [],
  addresses: ['10.89.0.2'],
  names: [name],
  netns: `/run/netns/${name}`,
});

const fresh: ResolverInput = { outside: null, adopted: {}, recovering: false };
const adopted: ResolverInput = { outside: null, adopted: { a: [entry('a')] }, recovering: true };
const leftBehind: ResolverInput = { outside: null, adopted: {}, recovering: true };

const askers = { a: asker(), b: asker() };
const reviser = asker();
const questions = (['a', 'b'] as const).flatMap((owner): Event[] => [
  { type: 'register', owner, networks: [entry(owner)], from: askers[owner].ref },
  { type: 'unregister', owner, networks: ['n'], from: askers[owner].ref },
]);
const facts: Event[] = [
  { type: 'revise', owner: 'c', network: 'n', listen: ['10.89.0.1'], servers: ['9.9.9.9'], from: reviser.ref },
  { type: 'refresh', from: null },
  { type: 'remote', network: 'n', entries: [{ owner: 'far', addresses: ['10.89.7.2'], names: ['far'] }], from: null },
  { type: 'resolver.exited', from: null },
];

interface Pending {
  kind: string;
  owner: string;
}
interface Facts {
  names: Names;
  waiting: Pending[];
  round: Pending[];
  dirty: boolean;
  reload: boolean;
  died: boolean;
  fault: unknown;
  attempts: number;
}
const factsOf = (state: AnySnapshot): Facts => state.context as unknown as Facts;
const keyOf = (state: AnySnapshot): string => {
  const { names, waiting, round, dirty, reload, died, fault, attempts } = factsOf(state);
  const servers = Object.entries(names).map(([owner, [first]]) => `${owner} ${first?.servers.join()}`);
  const owners = (pending: Pending[]) => [...new Set(pending.map(({ owner }) => owner))].sort();
  return JSON.stringify([
    state.value,
    servers.sort(),
    owners(waiting),
    owners(round),
    [dirty, reload, died, fault !== null, attempts > 0],
  ]);
};

const OUTPUTS = { writeZones: { changed: true }, askNames: { silent: [] } };
const SILENT: Event = {
  type: 'xstate.done.actor.askNames',
  actorId: 'askNames',
  output: { silent: [{ owner: 'a', said: 'nothing' }] },
};

/** Two owners that come and go; and one, with every other event. Both at once would be a hundred times as many. */
const of = (...owners: string[]) => questions.filter(({ owner }) => owners.includes(String(owner)));
const CASES = [
  { name: 'two, fresh', input: fresh, happens: of('a', 'b') },
  { name: 'two, one adopted', input: adopted, happens: of('a', 'b') },
  { name: 'one, fresh', input: fresh, happens: [...of('a'), ...facts] },
  { name: 'one, adopted', input: adopted, happens: [...of('a'), ...facts.slice(1)] },
  { name: 'one, and something left behind', input: leftBehind, happens: of('a') },
];
const WALKS = CASES.map(({ name, input, happens }) => ({
  name,
  input,
  walks: walksOf(
    resolverMachine,
    input,
    (state) => [...answersIn(state, OUTPUTS), ...(state.value === 'asking' ? [SILENT] : []), ...happens],
    keyOf,
    50_000,
  ),
}));

/** How a walk ends: the state before, the event, the state after. */
const endOf = (steps: Step[]) => {
  const [before, last] = steps.slice(-2);
  if (before === undefined || last === undefined) return '';
  const { names, waiting, round, dirty, reload, died } = factsOf(before.state);
  const counts = [Object.keys(names).length, waiting.length, round.length, dirty, reload, died];
  return JSON.stringify([before.state.value, counts, last.event.type, last.event['owner'], last.state.value]);
};

const paths = suite('resolver paths');

const UNDER_WAY = ['writing', 'starting', 'asking'];
const SERVES = ['serving', 'steadying'];
const isIn = (state: AnySnapshot, states: string[]) => states.includes(state.value);

const INVARIANTS: Record<string, (state: AnySnapshot) => boolean> = {
  'is never in error': ({ status }) => status === 'active',
  'who waits to be named has an entry': (state) =>
    [...factsOf(state).waiting, ...factsOf(state).round].every(
      ({ kind, owner }) => kind !== 'register' || factsOf(state).names[owner] !== undefined,
    ),
  'a round has somebody only while it is under way': (state) =>
    factsOf(state).round.length === 0 || isIn(state, UNDER_WAY),
  'serving: nobody waits, and all is told': (state) =>
    !isIn(state, SERVES) ||
    (factsOf(state).waiting.length === 0 && !factsOf(state).dirty && !factsOf(state).reload && !factsOf(state).died),
  'serving: there are names': (state) => !isIn(state, SERVES) || Object.keys(factsOf(state).names).length > 0,
  'idle: nothing': (state) =>
    state.value !== 'idle' || (Object.keys(factsOf(state).names).length === 0 && factsOf(state).waiting.length === 0),
  'nobody waits for a pause': (state) =>
    !isIn(state, ['restarting', 'stopFailed']) || factsOf(state).waiting.length === 0,
};

judged(paths, resolverMachine, WALKS, INVARIANTS);

for (const { name, input, walks } of WALKS) {
  paths(`every driven walk keeps the invariants: ${name}`, async () => {
    const objections: string[] = [];
    for (const steps of oneOfEach(walks, endOf)) {
      let files = input.recovering;
      let server = input.recovering;
      for (const { answers } of [...Object.values(askers), reviser]) answers.length = 0;
      const driven = new Driven(resolverMachine, input, {
        happens: (id) => {
          if (id === 'writeZones') files = true;
          if (id === 'ensureResolver') {
            if (!files) driven.objections.push('started without files');
            server = true;
          }
          if (id === 'stopResolver') files = server = false;
          return OUTPUTS[id as keyof typeof OUTPUTS];
        },
      });
      await driven.walk(steps);
      await driven.rest();
      const { names } = factsOf(driven.state);
      for (const [owner, { answers }] of Object.entries(askers)) {
        const asked = steps.filter(({ event }) => event['owner'] === owner).map(({ event }) => event.type);
        const last = answers.findLast(({ type }) => type !== 'unnamed')?.type;
        if (answers.filter(({ type }) => type === 'unnamed').length !== asked.filter((t) => t === 'unregister').length)
          driven.objections.push(`${owner} was not told that it is unnamed`);
        if (asked.at(-1) === 'unregister' && names[owner] !== undefined) driven.objections.push(`${owner} is kept`);
        if (asked.at(-1) !== 'register') continue;
        if (last === undefined) driven.objections.push(`${owner} was not answered`);
        if ((names[owner] !== undefined) !== (last === 'named'))
          driven.objections.push(`${owner} was told ${last}, and has ${names[owner] === undefined ? 'no' : 'a'} name`);
        if (last === 'named' && !server) driven.objections.push('named, and there is no server');
      }
      if (steps.some(({ event }) => event.type === 'revise') && reviser.answers.length === 0)
        driven.objections.push('the revision was not answered');
      for (const [owner, { ref }] of Object.entries(askers))
        driven.actor.send({ type: 'unregister', owner, networks: ['n'], from: ref });
      await driven.rest();
      if (files || server) driven.objections.push('something is left');
      driven.actor.stop();
      objections.push(...driven.objections.map((text) => `${text}\n${titleOf(steps)}`));
    }
    assertNone(objections);
  });
}

paths.run();

/**
 * The questions about names, against the machine that answers them: one answer each, nothing asked for nothing, and what
 * is abandoned is given back.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, fromCallback, fromPromise, setup, type AnyActorRef, type EventObject } from 'xstate';
import { name, unname, type Directory } from '../../effects/ask.ts';
import type { NameEntry } from '../../machines/plan/names.ts';
import { resolverMachine, type AskOutput } from '../../machines/resolver.ts';
import { settled } from '../harness/world.ts';

const entry: NameEntry = {
  network: 'n',
  internal: false,
  listen: ['10.89.0.1'],
  servers: [],
  addresses: ['10.89.0.2'],
  names: ['web'],
  netns: '/run/netns/web',
};
const OWNER = 'web:1';

/** A resolver whose server says this about everybody; 'silent' is refused, 'never' is not answered. */
function resolverThat(says: 'answers' | 'silent' | 'never') {
  const well = (output: unknown) => fromPromise(() => Promise.resolve(output)) as never;
  const silent = says === 'silent' ? [{ owner: OWNER, said: 'nothing' }] : [];
  const resolver = createActor(
    resolverMachine.provide({
      actors: {
        writeZones: well({ changed: true }),
        ensureResolver: well(undefined),
        askNames:
          says === 'never' ? (fromPromise(() => new Promise(() => {})) as never) : well({ silent } satisfies AskOutput),
        stopResolver: well(undefined),
        backOff: fromCallback(() => {}) as never,
      },
    }),
    { input: { outside: null, adopted: {}, recovering: false } },
  );
  resolver.start();
  return resolver;
}

async function converse(resolver: AnyActorRef, kind: 'name' | 'unname', entries: NameEntry[]) {
  const directory: Directory = {
    network: () => null,
    firewall: () => resolver,
    firewalld: () => resolver,
    ports: () => resolver,
    resolver: () => resolver,
  };
  const answers: EventObject[] = [];
  const remember = { actions: ({ event }: { event: EventObject }) => answers.push(event) };
  const asker = setup({ actors: { name: name(directory), unname: unname(directory) } }).createMachine({
    initial: 'asking',
    states: {
      asking: {
        invoke:
          kind === 'name'
            ? { src: 'name', input: { owner: OWNER, outside: null, entries } }
            : {
                src: 'unname',
                input: { owner: OWNER, outside: null, networks: entries.map(({ network }) => network) },
              },
        on: { named: remember, refused: remember, unnamed: remember, away: 'elsewhere' },
      },
      elsewhere: {},
    },
  });
  const actor = createActor(asker);
  actor.start();
  for (let i = 0; i < 20; i++) await settled();
  actor.send({ type: 'away' });
  for (let i = 0; i < 20; i++) await settled();
  return answers;
}

const questions = suite('the questions about names');

questions('named, once, and kept when the question is over', async () => {
  const resolver = resolverThat('answers');
  assert.equal(await converse(resolver as AnyActorRef, 'name', [entry]), [{ type: 'named' }]);
  assert.equal(Object.keys(resolver.getSnapshot().context.names), [OWNER]);
  assert.equal(await converse(resolver as AnyActorRef, 'unname', [entry]), [{ type: 'unnamed' }]);
  assert.ok(resolver.getSnapshot().matches('idle'));
});

questions('refused, with the container by its id', async () => {
  const resolver = resolverThat('silent');
  const [answer] = (await converse(resolver as AnyActorRef, 'name', [entry])) as { fault?: { message: string } }[];
  assert.is(answer?.fault?.message, 'the resolver does not answer for web: nothing');
  assert.equal(resolver.getSnapshot().context.names, {});
});

questions('abandoned before the answer, the name is given back', async () => {
  const resolver = resolverThat('never');
  assert.equal(await converse(resolver as AnyActorRef, 'name', [entry]), []);
  assert.equal(resolver.getSnapshot().context.names, {});
});

questions('nothing to name is named, and the resolver does not hear of it', async () => {
  const deaf = createActor(fromCallback(() => {}));
  assert.equal(await converse(deaf as AnyActorRef, 'name', []), [{ type: 'named' }]);
  assert.equal(await converse(deaf as AnyActorRef, 'unname', []), [{ type: 'unnamed' }]);
});

questions.run();

/**
 * The requests for names, against the resolver's machine: one answer each, no request without names, and an abandoned
 * request removes its names.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, fromCallback, fromPromise, type AnyActorRef } from 'xstate';
import { name, unname, type Directory } from '../../effects/ask.ts';
import type { Fault, FaultError } from '../../state/faults.ts';
import type { NameEntry } from '../../plan/names/names.ts';
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

/** A resolver whose server gives this answer for every name; 'silent' is refused, 'never' is not answered. */
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
        backOff: fromPromise(() => new Promise(() => {})) as never,
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
    rootless: () => null,
  };
  const answers: { type: string; fault?: Fault }[] = [];
  const networks = entries.map(({ network }) => network);
  const actor: AnyActorRef =
    kind === 'name'
      ? createActor(name(directory), { input: { owner: OWNER, outside: null, entries } })
      : createActor(unname(directory), { input: { owner: OWNER, outside: null, networks } });
  actor.subscribe({
    complete: () => {
      if ((actor.getSnapshot() as { status: string }).status === 'done') answers.push({ type: `${kind}d` });
    },
    error: (error: unknown) => answers.push({ type: 'refused', fault: (error as FaultError).fault }),
  });
  actor.start();
  for (let i = 0; i < 20; i++) await settled();
  (actor as unknown as { stop(): void }).stop();
  for (let i = 0; i < 20; i++) await settled();
  return answers;
}

const questions = suite('the questions about names');

questions('a container is named once, and its names stay when the request is over', async () => {
  const resolver = resolverThat('answers');
  assert.equal(await converse(resolver as AnyActorRef, 'name', [entry]), [{ type: 'named' }]);
  assert.equal(Object.keys(resolver.getSnapshot().context.names), [OWNER]);
  assert.equal(await converse(resolver as AnyActorRef, 'unname', [entry]), [{ type: 'unnamed' }]);
  assert.ok(resolver.getSnapshot().matches('idle'));
});

questions('a refusal names the container by its id', async () => {
  const resolver = resolverThat('silent');
  const [answer] = (await converse(resolver as AnyActorRef, 'name', [entry])) as { fault?: { message: string } }[];
  assert.is(answer?.fault?.message, 'the resolver does not answer for web: nothing');
  assert.equal(resolver.getSnapshot().context.names, {});
});

questions('a request that is abandoned before the answer removes the name', async () => {
  const resolver = resolverThat('never');
  assert.equal(await converse(resolver as AnyActorRef, 'name', [entry]), []);
  assert.equal(resolver.getSnapshot().context.names, {});
});

questions('a request without names succeeds, and the resolver gets no event', async () => {
  const deaf = createActor(fromCallback(() => {}));
  assert.equal(await converse(deaf as AnyActorRef, 'name', []), [{ type: 'named' }]);
  assert.equal(await converse(deaf as AnyActorRef, 'unname', []), [{ type: 'unnamed' }]);
});

questions.run();

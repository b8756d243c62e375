// timeout: 600
// proving: 300
/**
 * Nothing is left out: every effect of every machine that is shipped, and every kind of file that is written, is passed by
 * a scenario of scenarios.ts, at each of its failpoints. What is built later fails here until a scenario has it.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AnyStateMachine } from 'xstate';
import { effectNames } from '../../effects/effect.ts';
import { provideContainer, provideShared } from '../../service/actors.ts';
import { DefinitionStore } from '../../state/definitions.ts';
import { ExposedStore } from '../../state/exposed.ts';
import { SnapshotStore } from '../../state/store.ts';
import { fileNames } from '../../state/whole-file.ts';
import { CrashTest } from '../harness/crash.ts';
import { Life } from '../harness/life.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { proved } from '../harness/proof.ts';
import { scenarios } from './scenarios.ts';

requirePrivateNamespace();

/** Actors that are no effects: they speak with other machines, or wait, and change nothing outside. */
const CONVERSATIONS = [
  'attachment',
  'awaitVerdict',
  'backOff',
  'fanOut',
  'holdFirewall',
  'lease',
  'name',
  'release',
  'releaseFirewall',
  'unname',
  'uplink',
  'verifyFirewall',
];

const nothing = () => {
  throw new Error('asked for while there is no daemon');
};
const runner = { failpoint: () => {}, commit: () => Promise.resolve() };
const none = {} as never;
const container = provideContainer(runner, none, none, {
  exposed: none,
  places: none,
  neighbours: nothing,
  ensureFiles: none,
  removeFiles: none,
});
const shared = provideShared(runner, none, none, {
  runDir: tmpdir(),
  containers: nothing,
  record: nothing,
  policies: none,
  forwardOthers: false,
});

/** Names of the actors of a machine and of the machines that it invokes. */
function actorsOf(machine: AnyStateMachine): string[] {
  const actors = Object.entries(machine.implementations.actors as Record<string, unknown>);
  return actors.flatMap(([name, logic]) => {
    const inner = logic as Partial<AnyStateMachine> | undefined;
    return inner?.implementations === undefined ? [name] : [name, ...actorsOf(inner as AnyStateMachine)];
  });
}

const points = suite('failpoints');

points('every actor of every machine is an effect with failpoints, or known to change nothing', () => {
  const all = [container, ...Object.values(shared)].flatMap((machine) => actorsOf(machine as AnyStateMachine));
  const others = all.filter((name) => !effectNames.has(name));
  assert.equal([...new Set(others)].sort(), CONVERSATIONS);
  assert.ok(effectNames.size > 20);
});

points('every failpoint of every effect and of every kind of file is passed by a scenario', async () => {
  const passed = new Set<string>();
  let count = 0;
  for (const scenario of Object.values(scenarios)) {
    const life = await Life.start(scenario);
    try {
      const seen = await new CrashTest(life).pass();
      count += seen.length;
      for (const point of seen) passed.add(point.replace(/#\d+$/, ''));
      await life.end();
    } catch (error) {
      await life.abandon();
      throw error;
    }
  }
  const directory = mkdtempSync(join(tmpdir(), 'files-'));
  for (const Store of [DefinitionStore, ExposedStore]) new Store(directory, () => {});
  for (const name of ['containers', 'outsides']) new SnapshotStore(join(directory, name), () => {});
  const wanted = [
    ...[...effectNames].flatMap((name) => ['before', 'durable', 'after'].map((when) => `${name}:${when}`)),
    ...[...fileNames].flatMap((name) => ['before', 'written', 'after'].map((when) => `${name}.write:${when}`)),
    ...[...fileNames, 'journal'].flatMap((name) => [`${name}.remove:before`, `${name}.remove:after`]),
    'journal.append:before',
    'journal.append:after',
  ];
  assert.equal(
    wanted.filter((name) => !passed.has(name)),
    [],
  );
  assert.equal(
    [...passed].filter((name) => !wanted.includes(name)),
    [],
  );
  proved(`failpoints passed in ${Object.keys(scenarios).length} scenarios, of ${passed.size} kinds`, count);
});

points.run();

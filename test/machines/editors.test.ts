/**
 * XState's editors read machines from their source, without running it: they see every state of every machine, as the
 * daemon runs it. @xstate/machine-extractor is what Stately's VS Code extension and CLI read with. It takes the names of actions
 * from XState 4, which is bundled with it here under a name of its own.
 */
import { mkdtempSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { build } from 'esbuild';
import type * as Extractor from '@xstate/machine-extractor';
import { MACHINES, statesOf } from '../harness/machines.ts';
import { ROOT } from '../harness/references.ts';

/** The extractor as one file. */
async function extractor(): Promise<typeof Extractor> {
  const outfile = join(mkdtempSync(join(tmpdir(), 'extractor-')), 'extractor.cjs');
  const stdin = { contents: `module.exports = require('@xstate/machine-extractor')`, resolveDir: ROOT };
  await build({ stdin, outfile, bundle: true, platform: 'node', alias: { xstate: 'xstate4' }, logLevel: 'error' });
  return createRequire(import.meta.url)(outfile) as typeof Extractor;
}
const { extractMachinesFromFile } = await extractor();

interface Config {
  states?: Record<string, Config>;
}

const IN_A_ROOM = new Set(['container', 'attachment']);
const fileOf = (name: string) => join(ROOT, 'machines', IN_A_ROOM.has(name) ? 'container' : '', `${name}.ts`);

const pathsIn = (config: Config, above = ''): string[] =>
  Object.entries(config.states ?? {}).flatMap(([name, state]) => [
    `${above}${name}`,
    ...pathsIn(state, `${above}${name}.`),
  ]);

/** The states that an editor sees in a source. */
function seenIn(source: string): string[] {
  const machines = extractMachinesFromFile(source)?.machines ?? [];
  return machines.flatMap((machine) => pathsIn((machine?.toConfig() ?? {}) as Config)).sort();
}

const editors = suite("XState's editors");

for (const [name, machine] of Object.entries(MACHINES)) {
  editors(`see every state of ${name}`, () => {
    const states = statesOf(machine.root).map((node) => node.path.join('.'));
    assert.equal(seenIn(readFileSync(fileOf(name), 'utf8')), states.sort());
  });
}

editors('do not see what a function returns, which is why no state of ours comes from one', () => {
  const source = `import { make } from './elsewhere.ts';
    export const machine = setup({}).createMachine({ states: { seen: {}, unseen: make('x') } });`;
  assert.equal(seenIn(source), ['seen']);
});

editors.run();

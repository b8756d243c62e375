/**
 * The documents made from the code agree with the code: the ones in the repository, and the check that compares them.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { eventName } from '../../inspector/page/charts/event-name.ts';
import { containerMachine } from '../../machines/container/container.ts';
import { compactDiagram, documents, stale, stateDiagram, withDiagrams } from '../../scripts/diagrams.ts';
import { FAULTS } from '../../state/faults.ts';
import { MACHINES, statesOf } from '../harness/machines.ts';

const ROOT = resolve(import.meta.dirname, '../../..');

const diagrams = suite('documents made from the code');

diagrams('the documents agree with the code (npm run docs)', () => {
  assert.equal(stale(ROOT), []);
});

diagrams('a document that was changed, or is missing, is named', () => {
  const copy = mkdtempSync(join(tmpdir(), 'docs-'));
  mkdirSync(join(copy, 'docs'));
  cpSync(join(ROOT, 'docs/diagrams'), join(copy, 'docs/diagrams'), { recursive: true });
  writeFileSync(join(copy, 'docs/diagrams/ports.md'), 'something else');
  writeFileSync(join(copy, 'README.md'), '# x\n<!-- diagram:container -->\nold\n<!-- /diagram -->\n');
  assert.equal(stale(copy), ['docs/diagrams/ports.md', 'docs/errors.md', 'README.md']);
});

diagrams('events have readable names', () => {
  assert.is(eventName('xstate.done.actor.ensureLink'), 'done(ensureLink)');
  assert.is(eventName('xstate.error.actor.0.container.up'), 'failed(container.up)');
  assert.is(eventName('xstate.done.state.container.configuring'), 'done');
  assert.is(eventName(''), 'always');
  assert.is(eventName('teardown'), 'teardown');
});

diagrams('every state of every machine is drawn and described', () => {
  for (const [name, machine] of Object.entries(MACHINES)) {
    const page = documents(ROOT).get(`docs/diagrams/${name}.md`) ?? '';
    for (const node of statesOf(machine.root)) {
      if (name !== 'ports') assert.match(page, new RegExp(`(--> |state .* as )${node.path.join('_')}\\b`));
      assert.ok(page.includes(`| \`${node.path.join('.')}\``), `${name}: ${node.path.join('.')}`);
    }
  }
});

diagrams('Mermaid is well formed: boxes close, and an id never is a path', () => {
  for (const machine of Object.values(MACHINES)) {
    const lines = stateDiagram(machine)
      .split('\n')
      .map((line) => line.trim());
    const opened = lines.filter((line) => line.endsWith('{')).length;
    assert.is(lines.filter((line) => line === '}').length, opened);
    const arrow = /^(\[\*\]|\w+) --> (\[\*\]|\w+)(: .+)?$/;
    const known = /^(stateDiagram-v2|state "\w+" as \w+|state \w+ \{|\})$/;
    assert.equal(
      lines.filter((line) => !arrow.test(line) && !known.test(line)),
      [],
    );
  }
});

diagrams('the diagram of the README has the states at the top, and the markers stay', () => {
  const picture = compactDiagram(containerMachine);
  for (const state of Object.keys(containerMachine.root.states)) assert.match(picture, new RegExp(`\\b${state}\\b`));
  const open = '<!-- diagram:container -->\n';
  const readme = withDiagrams(`# x\n${open}old\n<!-- /diagram -->\nafter\n`);
  assert.ok(readme.includes(picture));
  assert.is(withDiagrams(readme), readme);
  assert.match(readme, /<!-- \/diagram -->\nafter\n$/);
  assert.is(withDiagrams('<!-- diagram:nothing -->\n<!-- /diagram -->'), '<!-- diagram:nothing -->\n<!-- /diagram -->');
});

diagrams('docs/errors.md has every code with its status', () => {
  const page = readFileSync(join(ROOT, 'docs/errors.md'), 'utf8');
  for (const [code, [status]] of Object.entries(FAULTS))
    assert.match(page, new RegExp(`\\| \`${code}\` +\\| ${status} `));
});

diagrams.run();

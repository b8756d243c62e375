/**
 * The linter enforces the import rule of the folders: in a copy of the configuration, each rule is broken once, in every form of
 * import, and must be named; allowed imports must pass. That the repository itself passes is `npm run check:lint`, which is a
 * part of npm test.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const ROOT = resolve(import.meta.dirname, '../../..');

interface Finding {
  code: string;
  message: string;
  help?: string;
  filename: string;
}

/** A line that must be refused, its file, the rule, and a part of the explanation. */
type Bad = [file: string, line: string, rule: string, said: RegExp];

const IMPORTS = 'eslint(no-restricted-imports)';

const BAD: Bad[] = [
  ['machines/a.ts', `export * from 'node:fs';`, IMPORTS, /machines\/ imports xstate, plan\//],
  ['machines/b.ts', `export type { Stats } from 'node:fs';`, IMPORTS, /machines\/ imports xstate/],
  ['machines/c.ts', `export * from 'eventemitter3';`, IMPORTS, /machines\/ imports xstate/],
  ['machines/d.ts', `export * from 'zod';`, IMPORTS, /machines\/ imports xstate/],
  ['machines/e.ts', `export { value } from '../state/thing.ts';`, IMPORTS, /`import type` from state\//],
  ['machines/f.ts', `export * from 'ipaddr.js';`, IMPORTS, /machines\/ imports xstate/],
  ['plan/a.ts', `export { value } from '../state/thing.ts';`, IMPORTS, /`import type` from state\//],
  ['plan/names/b.ts', `export type { Thing } from '../../machines/thing.ts';`, IMPORTS, /plan\/ imports/],
  ['plan/c.ts', `export * from 'xstate';`, IMPORTS, /plan\/ imports/],
  ['plan/d.ts', `export const now = () => Date.now();`, 'eslint(no-restricted-globals)', /no clock/],
  ['service/one/e.ts', `export * from './f.ts';`, 'import(no-cycle)', /ycle/],
  ['service/one/f.ts', `export type { A } from '../two/g.ts';`, 'import(no-cycle)', /ycle/],
  ['service/two/g.ts', `export type { B } from '../one/e.ts';`, 'import(no-cycle)', /ycle/],
  ['machines/g.ts', `export type { Thing } from '../effects/thing.ts';`, IMPORTS, /machines\/ imports/],
  ['machines/h.ts', `export const load = () => import('../effects/thing.ts');`, IMPORTS, /machines\/ imports/],
  ['machines/i.ts', `export type { Thing } from '../native/thing.ts';`, IMPORTS, /machines\/ imports/],
  ['machines/j.ts', `export { createMachine } from 'xstate';`, IMPORTS, /setup\(\)\.createMachine\(\)/],
  ['machines/k.ts', `export const now = () => Date.now();`, 'eslint(no-restricted-globals)', /no clock/],
  ['machines/l.ts', `export const pid = process.pid;`, 'eslint(no-restricted-globals)', /no process/],
  ['machines/m.ts', `export const dice = () => Math.random();`, 'eslint(no-restricted-properties)', /randomness/],
  [
    'machines/n.ts',
    `export const later = (f: () => void) => setTimeout(f, 1);`,
    'eslint(no-restricted-globals)',
    /clock/,
  ],
  ['effects/a.ts', `export { value } from '../state/thing.ts';`, IMPORTS, /`import type` from state\/, machines\//],
  ['effects/names/a.ts', `export { value } from '../../state/thing.ts';`, IMPORTS, /`import type` from state\//],
  ['effects/b.ts', `export { value } from '../machines/thing.ts';`, IMPORTS, /`import type` from state\//],
  ['effects/c.ts', `export type { Thing } from '../service/thing.ts';`, IMPORTS, /effects\/ imports native\//],
  ['effects/d.ts', `import '../cli/thing.ts';`, IMPORTS, /effects\/ imports native\//],
  ['native/a.ts', `export type { Thing } from '../state/thing.ts';`, IMPORTS, /native\/ imports nothing of ours/],
  ['native/b.ts', `export { value } from '../effects/thing.ts';`, IMPORTS, /native\/ imports nothing of ours/],
  ['state/a.ts', `export type { Thing } from '../plan/thing.ts';`, IMPORTS, /state\/ imports nothing of ours/],
  ['state/b.ts', `export { value } from '../native/thing.ts';`, IMPORTS, /state\/ imports nothing of ours/],
  ['service/a.ts', `export { value } from '../cli/thing.ts';`, IMPORTS, /service\/ imports machines\//],
  [
    'service/api/b.ts',
    `export type { Thing } from '../../inspector/thing.ts';`,
    IMPORTS,
    /service\/ imports machines\//,
  ],
  ['service/c.ts', `export * from '../test/thing.ts';`, IMPORTS, /service\/ imports machines\//],
  ['service/d.ts', `export { createMachine as make } from 'xstate';`, IMPORTS, /setup\(\)\.createMachine\(\)/],
  ['cli/a.ts', `export { value } from '../state/thing.ts';`, IMPORTS, /`import type` from state\//],
  ['cli/b.ts', `export { value } from '../service/thing.ts';`, IMPORTS, /client of the API/],
  ['cli/c.ts', `export * from 'xstate';`, IMPORTS, /client of the API/],
  ['client/a.ts', `export { value } from '../state/thing.ts';`, IMPORTS, /`import type` from state\//],
  ['client/b.ts', `export type { Thing } from '../service/thing.ts';`, IMPORTS, /client\/ imports Node/],
  ['client/c.ts', `export type { Thing } from '../cli/thing.ts';`, IMPORTS, /client\/ imports Node/],
  ['client/d.ts', `export * from 'zod';`, IMPORTS, /`import type` from zod/],
  ['client/e.ts', `export * from 'commander';`, IMPORTS, /client\/ imports Node/],
  ['client/f.ts', `export { paths } from '../service/http/openapi/openapi.ts';`, IMPORTS, /`import type`/],
  ['service/h.ts', `export { value } from '../client/thing.ts';`, IMPORTS, /service\/ imports machines\//],
  ['inspector/a.ts', `export { value } from '../state/thing.ts';`, IMPORTS, /`import type` from state\//],
  ['inspector/b.ts', `export type { Thing } from '../plan/thing.ts';`, IMPORTS, /client of the API/],
  ['test/a.ts', `export { createMachine } from 'xstate';`, IMPORTS, /setup\(\)\.createMachine\(\)/],
  [
    'effects/e.ts',
    `export type T = import('../service/thing.ts').Thing;`,
    'typescript(consistent-type-imports)',
    /import/,
  ],
  ['effects/f.ts', `export const load = (p: string) => import(p);`, 'import(no-dynamic-require)', /./],
  ['effects/g.ts', `void 0; (async () => 1)();`, 'typescript(no-floating-promises)', /await/],
  ['effects/h.ts', `[1].forEach(async (n) => console.error(n));`, 'typescript(no-misused-promises)', /[Pp]romise/],
  ['effects/i.ts', `export const x: any = 1;`, 'typescript(no-explicit-any)', /any/],
  ['effects/j.ts', `console.log(1);`, 'eslint(no-console)', /console/],
  ['effects/k.ts', `export const y = (s?: string) => s!.length;`, 'typescript(no-non-null-assertion)', /non-null/i],
];

const GOOD: [file: string, line: string][] = [
  ...['machines', 'plan', 'effects', 'native', 'state', 'service', 'client', 'cli', 'inspector', 'test'].map(
    (folder): [string, string] => [`${folder}/thing.ts`, `export const value = 1;\nexport type Thing = 1;`],
  ),
  ['machines/good.ts', `export { setup } from 'xstate';`],
  ['plan/good.ts', `export { parse } from 'ipaddr.js';`],
  [
    'machines/good2.ts',
    `import type { Thing } from '../state/thing.ts';\nexport { value } from '../plan/thing.ts';\nexport type A = Thing;`,
  ],
  ['plan/names/good.ts', `export { value } from '../thing.ts';\nexport { type Thing } from '../../state/thing.ts';`],
  [
    'effects/good.ts',
    `export { fromPromise } from 'xstate';\nexport * from 'node:fs';\nexport { value } from '../native/thing.ts';`,
  ],
  [
    'effects/good2.ts',
    `export type { Thing } from '../state/thing.ts';\nexport type { Thing as Context } from '../machines/thing.ts';\nexport { value } from '../plan/thing.ts';`,
  ],
  ['state/faults.ts', `export const value = 1;`],
  ['effects/names/good.ts', `export { value } from '../../state/faults.ts';`],
  ['state/good.ts', `export * from 'zod';\nexport { value } from './thing.ts';`],
  [
    'service/good.ts',
    ['machines', 'plan', 'effects', 'native', 'state']
      .map((f, i) => `export { value as v${i} } from '../${f}/thing.ts';`)
      .join('\n'),
  ],
  ['cli/good.ts', `export * from 'node:fs/promises';\nexport * from 'commander';\nexport * from './thing.ts';`],
  ['inspector/page/good.ts', `export { value } from '../../plan/journal/thing.ts';`],
  ['plan/journal/thing.ts', `export const value = 1;`],
  ['cli/good3.ts', `export { value } from '../client/thing.ts';`],
  ['service/http/openapi/openapi.ts', `export const paths = 1;\nexport type Paths = 1;`],
  [
    'client/good.ts',
    `export * from 'node:http';\nexport type { z } from 'zod';\nexport type { Paths } from '../service/http/openapi/openapi.ts';`,
  ],
  ['cli/good2.ts', `export type { Thing } from '../state/thing.ts';`],
  ['test/good.ts', `export { value } from '../cli/thing.ts';\nexport { value as other } from '../service/thing.ts';`],
];

function lint(folder: string): { findings: Finding[]; status: number | null; text: string } {
  const oxlint = join(ROOT, 'node_modules/oxlint/bin/oxlint');
  const argv = [oxlint, '--type-aware', '--deny-warnings', '--format', 'json'];
  const { stdout, stderr, status } = spawnSync(process.execPath, argv, {
    cwd: folder,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  const text = stdout + stderr;
  try {
    return { findings: (JSON.parse(stdout) as { diagnostics: Finding[] }).diagnostics, status, text };
  } catch {
    throw new Error(`oxlint says no JSON: ${text}`);
  }
}

const imports = suite('import rule');

imports('each broken rule is named, and allowed imports pass', () => {
  const copy = mkdtempSync(join(tmpdir(), 'imports-'));
  for (const name of ['.oxlintrc.json', 'tsconfig.json', 'package.json']) cpSync(join(ROOT, name), join(copy, name));
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  for (const [file, line] of [...BAD, ...GOOD]) {
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    writeFileSync(join(copy, file), `${line}\n`);
  }
  const { findings, status, text } = lint(copy);
  assert.is(status, 1, text);
  for (const [file, line, rule, said] of BAD) {
    const here = findings.filter(({ filename }) => filename === file);
    const named = here.find(({ code, message, help }) => code === rule && said.test(`${message} ${help ?? ''}`));
    assert.ok(named, `${file} with ${line} must break ${rule}, but: ${JSON.stringify(here)}`);
  }
  const good = new Set(GOOD.map(([file]) => file));
  assert.equal(
    findings.filter(({ filename }) => good.has(filename)).map(({ filename, message }) => `${filename}: ${message}`),
    [],
  );
});

imports.run();

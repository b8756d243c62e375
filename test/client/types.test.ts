/**
 * The types of `cleat/client` as a program of others gets them: through the package's `exports`, in a strict project of its own.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const ROOT = resolve(import.meta.dirname, '../../..');
const types = suite('types of the client');

const PROGRAM = `
import { Cleat, CleatError, type AnswerTo } from 'cleat/client';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

const cleat = new Cleat({ socket: '/run/cleat/cleat.sock', patienceMs: 0 });
const container = await cleat.container('web');
export const known: [
  Same<typeof container.state, string>,
  Same<(typeof container.NetworkSettings.Ports)[string][number]['HostPort'], string>,
  Same<AnswerTo<'GET /v1/doctor'>['checks'][number]['ok'], boolean>,
] = [true, true, true];
export const warnings: string[] | undefined = (await cleat.event({ type: 'configure', id: 'web' })).warnings;
for await (const event of cleat.notifications()) if (event.type === 'daemon') event.action satisfies 'started' | 'stopping';
export const owner = (error: unknown): string | undefined => (error instanceof CleatError ? error.owner : undefined);
`;

const WRONG: [code: string, said: RegExp][] = [
  [`await cleat.call('GET /v1/container', {});`, /"GET \/v1\/container"' is not assignable/],
  [`await cleat.call('GET /v1/containers/{id}');`, /Expected 2-3 arguments/],
  [
    `await cleat.call('GET /v1/containers/{id}', { id: 'web', wait: 7 });`,
    /'number' is not assignable to type 'string/,
  ],
  [`await cleat.event({ type: 'configure', id: 'web', what: 1 });`, /'what' does not exist/],
  [`(await cleat.call('GET /v1/version')).nothing;`, /'nothing' does not exist/],
  [`await cleat.lines('GET /v1/version', {});`, /is not assignable to parameter/],
];

/** Returns what the compiler says of a program, and of every declaration that it refers to. */
function compile(code: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'consumer-'));
  mkdirSync(join(directory, 'node_modules/@types'), { recursive: true });
  symlinkSync(ROOT, join(directory, 'node_modules/cleat'));
  symlinkSync(join(ROOT, 'node_modules/@types/node'), join(directory, 'node_modules/@types/node'));
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(directory, 'program.ts'), code);
  const options = ['--strict', '--noEmit', '--module', 'nodenext', '--target', 'es2022', '--types', 'node'];
  const argv = [join(ROOT, 'node_modules/typescript/bin/tsc'), ...options, 'program.ts'];
  return spawnSync(process.execPath, argv, { cwd: directory, encoding: 'utf8' }).stdout;
}

types('a program that uses them compiles, but for what the API does not have', () => {
  const stdout = compile(PROGRAM + WRONG.map(([code]) => `${code}\n`).join(''));
  const found = stdout.split('\n').filter((line) => line.includes('error TS'));
  assert.is(found.length, WRONG.length, stdout);
  for (const [i, [code, said]] of WRONG.entries()) assert.match(found[i] ?? '', said, `${code} ${found[i]}`);
});

types.run();

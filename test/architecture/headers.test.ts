/** Every source file begins with its purpose, and a long one says why it is long. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const ROOT = resolve(import.meta.dirname, '../../..');
const FOLDERS = ['machines', 'plan', 'effects', 'native', 'state', 'service', 'client', 'cli', 'launch', 'inspector'];
const LONG = 400;

function sources(): string[] {
  return FOLDERS.filter((folder) => existsSync(join(ROOT, folder)))
    .flatMap((folder) => readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && /\.(ts|cc|c|h)$/.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
}

/** The text of the first comment, without its marks; empty when the file begins with something else. */
export function openingComment(source: string): string {
  const text = source.replace(/^#!.*\n/, '').trimStart();
  const block = /^\/\*[\s\S]*?\*\//.exec(text)?.[0];
  const lines = /^(?:\/\/.*\n)+/.exec(text)?.[0];
  return (block ?? lines ?? '')
    .replace(/^\s*(?:\/\*+|\*\/|\*|\/\/)/gm, '')
    .replace(/\*\/\s*$/, '')
    .trim();
}

/** Returns what is wrong with a file's header, or undefined. */
export function objection(source: string): string | undefined {
  const words = openingComment(source);
  if (words.length < 80 && words.split('\n').length < 2) {
    return 'opens without saying what it is for (a comment of two lines or 80 characters)';
  }
  const lines = source.trimEnd().split('\n').length;
  if (lines > LONG && !words.includes(`Over ${LONG} lines because`)) {
    return `has ${lines} lines and its header does not say "Over ${LONG} lines because"`;
  }
  return undefined;
}

const headers = suite('headers');

headers('every source file has a header', () => {
  const files = sources();
  assert.ok(files.length > 0, 'no source found: the test looks in the wrong place');
  const wrong = files
    // A .cc file with a header file of the same name is described there.
    .filter((path) => !(path.endsWith('.cc') && existsSync(join(ROOT, path.replace(/cc$/, 'h')))))
    .map((path) => [path, objection(readFileSync(join(ROOT, path), 'utf8'))] as const);
  assert.equal(
    wrong.filter(([, why]) => why !== undefined).map(([path, why]) => `${path} ${why}`),
    [],
  );
});

headers('the check finds a missing header', () => {
  const good = '/**\n * What it is for.\n * What it guarantees.\n */\n';
  assert.is(objection(`${good}export {};\n`), undefined);
  assert.is(objection(`// ${'x'.repeat(80)}\n#pragma once\n`), undefined);
  assert.match(objection(`export {};\n${good}`) ?? '', /opens without/);
  assert.match(objection('// short\nint x;\n') ?? '', /opens without/);
  const long = 'x();\n'.repeat(LONG);
  assert.match(objection(good + long) ?? '', /has 404 lines/);
  assert.is(objection(`/**\n * A table.\n * Over 400 lines because it is one.\n */\n${long}`), undefined);
});

headers.run();

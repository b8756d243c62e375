/**
 * Checks docs/behaviours.md: every row is there once and in its place, every file and name exists, and every test. Then
 * the check itself: each kind of mistake is made once.
 *
 * Limits: only readers can tell that a test shows what its row says.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cellsOf, ROOT, tests, whereabouts } from '../harness/references.ts';

const PAGE = readFileSync(join(ROOT, 'docs/behaviours.md'), 'utf8');

const count = (letter: string, from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => `${letter}${from + i}`);

/** The first row of each section, and the one after the last. */
const FIRSTS = [1, 15, 19, 31, 37, 55, 58, 62, 69, 90, 91, 107, 112, 117, 127, 130, 134, 135, 147];
const SECTIONS: Record<string, string[]> = {
  ...Object.fromEntries(
    FIRSTS.slice(0, -1).map((first, i) => [
      String.fromCharCode('A'.charCodeAt(0) + i),
      count('B', first, (FIRSTS[i + 1] ?? 0) - 1),
    ]),
  ),
  S: count('D', 1, 81),
};

/** A cell of a row that is not open: a file, or the reason why there is none. */
const PLACE = /^differently: .|`[a-z]+\/[^`]+`/;

/** What is wrong with a page: an objection each, none when all is well. */
function objections(page: string): string[] {
  const wrong: string[] = [];
  const found: Record<string, string[]> = {};
  let section = '';
  for (const line of page.split('\n')) {
    section = /^## ([A-Z])\. ./.exec(line)?.[1] ?? section;
    if (!/^\| *[BD]\d/.test(line)) continue;
    const [row = '', ...cells] = cellsOf(line);
    (found[section] ??= []).push(row);
    if (cells.length !== 3 || cells.includes('')) wrong.push(`${row}: a cell is empty, or one too many`);
    const [, where = '', shown = ''] = cells;
    wrong.push(...[...whereabouts(where), ...tests(shown)].map((text) => `${row}: ${text}`));
    if (!PLACE.test(where) && !shown.includes('open: ')) wrong.push(`${row}: neither a file nor a difference`);
  }
  for (const name of new Set([...Object.keys(SECTIONS), ...Object.keys(found)])) {
    const [is, should] = [found[name] ?? [], SECTIONS[name] ?? []];
    if (is.join(' ') !== should.join(' ')) wrong.push(`section ${name}: ${is.join(' ')}, not ${should.join(' ')}`);
  }
  return wrong;
}

const behaviours = suite('docs/behaviours.md');

behaviours('every row is there, and everything that it names exists', () => {
  assert.is(objections(PAGE).join('\n'), '');
});

behaviours('each kind of mistake in a page is found', () => {
  const lineOf = (row: string) => PAGE.split('\n').find((line) => line.startsWith(`| ${row} `)) ?? '';
  const [first, other] = [lineOf('B1'), lineOf('B82')];
  assert.match(first, 'test/service/lifecycle.test.ts');
  // A row that is not built yet says why: no test shows it.
  const open = `${other.split('|').slice(0, -2).join('|')}| open: its reason |`;
  assert.is(objections(PAGE.replace(other, open)).join('\n'), '');
  const changes: [string, string, RegExp][] = [
    [`${first}\n`, '', /^section A: B2 /m],
    [first, `${first}\n${first}`, /^section A: B1 B1 B2 /m],
    [`${other}\n`, '', /^section I: .* B81 B83 /m],
    ['## S. ', '## R. ', /^section S: , not D1 /m],
    ['`service/events/creation.ts`', '`service/kreation.ts`', /^B1: there is no service\/kreation\.ts/m],
    ['`planContainer`', '`planKontainer`', /^B1: planKontainer is not in service\/events\/creation\.ts/m],
    ['test/service/lifecycle.test.ts', 'test/service/life.test.ts', /^B1: there is no test\/service\/life\.test\.ts/m],
    ['"netns new: a namespace of', '"netns new: a name of', /^B1: no test in \S+ begins with "netns new: a name of/m],
    [first, first.replace(/"netns new: [^"]+"/, '"netns"'), /^B1: several tests in \S+ begin with "netns"/m],
    [other, open.replace(/open: .*\|$/, 'open |'), /^B82: neither a test nor open with the reason: open/m],
    [other, open.replace(/\| [^|]+\| open/, '| | open'), /^B82: a cell is empty/m],
    [first, first.replace(/`service[^|]*/, 'somewhere '), /^B1: neither a file nor a difference/m],
    [first, first.replace(/ \|$/, ' | more |'), /^B1: a cell is empty, or one too many/m],
  ];
  for (const [was, is, expected] of changes) {
    const page = PAGE.replace(was, is);
    assert.is.not(page, PAGE, `nothing changed: ${was}`);
    assert.match(objections(page).join('\n'), expected);
  }
});

behaviours.run();

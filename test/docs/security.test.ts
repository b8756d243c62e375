/**
 * Checks docs/security.md: rows are numbered without a gap, each is complete, every file exists, and every test
 * (references.ts, which behaviours.test.ts breaks on purpose). And the page names every file of test/security.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cellsOf, ROOT, tests, whereabouts } from '../harness/references.ts';

const PAGE = readFileSync(join(ROOT, 'docs/security.md'), 'utf8');

function objections(page: string): string[] {
  const rows = page.split('\n').filter((line) => /^\| *S\d/.test(line));
  return rows.flatMap((line, i) => {
    const [row = '', ...cells] = cellsOf(line);
    const [, what = '', shown = ''] = cells;
    const wrong = [...whereabouts(what), ...tests(shown)];
    if (row !== `S${i + 1}`) wrong.push(`not S${i + 1}`);
    if (cells.length !== 3 || cells.includes('')) wrong.push('a cell is empty, or one too many');
    if (!/`(plan|effects|native|service|state|machines|cli|docs)\/[^`]+`/.test(what) && !shown.startsWith('open: ')) {
      wrong.push('no file that does it');
    }
    return wrong.map((text) => `${row}: ${text}`);
  });
}

const security = suite('docs/security.md');

security('every row is complete, and everything that it names exists', () => {
  assert.ok((PAGE.match(/^\| *S\d/gm) ?? []).length > 20);
  assert.is(objections(PAGE).join('\n'), '');
});

security('a row with a mistake is found', () => {
  const row = PAGE.split('\n').find((line) => line.startsWith('| S1 ')) ?? '';
  for (const [was, is, expected] of [
    ['| S1 ', '| S7 ', /not S1/],
    ['`effects/', '`effekts/', /no file that does it/],
    ['test/security/', 'test/sekurity/', /there is no test\/sekurity/],
    [/\| `test.*$/, '| |', /neither a test nor open/],
  ] as const) {
    assert.is.not(row.replace(was, is), row, String(was));
    assert.match(objections(row.replace(was, is)).join('\n'), expected);
  }
});

security('every file of test/security is named', () => {
  for (const file of readdirSync(join(ROOT, 'test/security'))) assert.match(PAGE, `test/security/${file}`);
});

security.run();

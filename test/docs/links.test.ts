/**
 * Everything that pages and sources refer to exists: each decision by its number, each page and heading that a page
 * links to.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FOLDERS, ROOT } from '../harness/references.ts';

const DECISIONS = readdirSync(join(ROOT, 'docs/decisions')).sort();
const NUMBERS = new Set(DECISIONS.map((file) => file.slice(0, 4)));

const files = [
  'README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  ...FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)),
  ),
].filter((file) => /\.(?:ts|mjs|cc|h|md)$/.test(file));
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

/** Numbers of decisions that a text names and that do not exist. */
const unknownDecisions = (text: string): string[] =>
  [...text.matchAll(/docs\/decisions\/(\d{4})/g)].map(([, number = '']) => number).filter((one) => !NUMBERS.has(one));

/**
 * The anchors that GitHub makes of headings: in lower case, spaces as hyphens, nothing but letters, digits, hyphens,
 * underscores.
 */
const anchorsOf = (page: string): string[] =>
  [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

/** Links of a page that lead nowhere. */
function deadLinks(file: string, text: string): string[] {
  const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  return targets.filter((target) => {
    if (/^[a-z]+:/.test(target)) return false;
    const [path = '', anchor] = target.split('#');
    const to = path === '' ? file : join(dirname(file), path);
    if (!existsSync(join(ROOT, to))) return true;
    return anchor !== undefined && !anchorsOf(to === file ? text : read(to)).includes(anchor);
  });
}

const links = suite('references of pages and sources');

links('every decision that a file refers to exists', () => {
  const unknown = files.flatMap((file) => unknownDecisions(read(file)).map((number) => `${file}: ${number}`));
  assert.equal(
    unknown.filter((one) => !one.startsWith('test/docs/links')),
    [],
  );
  assert.ok(files.some((file) => read(file).includes(`docs/decisions/${DECISIONS.at(-1)?.slice(0, 4)}`)));
  assert.equal(unknownDecisions('docs/decisions/0001 and docs/decisions/9999'), ['9999']);
});

links('decisions are numbered without a gap, also in their titles', () => {
  DECISIONS.forEach((file, i) => {
    assert.match(file, new RegExp(`^${String(i + 1).padStart(4, '0')}-`));
    assert.match(read(join('docs/decisions', file)), new RegExp(`^# ${i + 1}\\. `), file);
  });
});

links('every link of a page leads to a page and a heading', () => {
  const pages = files.filter((file) => file.endsWith('.md'));
  assert.equal(
    pages.flatMap((file) => deadLinks(file, read(file)).map((target) => `${file}: ${target}`)),
    [],
  );
  const sample =
    '# A `b`, c\n[1](#a-b-c) [2](#a) [3](docs/cli.md) [4](docs/none.md) [5](docs/cli.md#none) [6](https://x.y/z)';
  assert.equal(deadLinks('README.md', sample), ['#a', 'docs/none.md', 'docs/cli.md#none']);
});

links.run();

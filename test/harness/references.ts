/**
 * The things that a page of the documentation refers to: files, names in them, and tests by their titles.
 *
 * Guarantees: an objection for each reference that does not exist, or is ambiguous.
 * Limits: only readers can tell that a test shows what a page says.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '../../..');

/** The folders of the repository that hold sources or pages. */
export const FOLDERS = [
  'machines',
  'plan',
  'effects',
  'native',
  'state',
  'service',
  'client',
  'cli',
  'launch',
  'inspector',
  'bench',
  'scripts',
  'test',
  'docs',
];

const PATH = new RegExp(`^(${FOLDERS.join('|')})(\\/[\\w.-]+)+$`);
const NAME = /^#?[A-Za-z_]\w*$/;
const TEST = /^`(test\/[\w./-]+\.test\.ts)`: "(.+)"$/;

const sources = new Map<string, string>();
function sourceOf(path: string): string | null {
  const file = join(ROOT, path);
  if (!existsSync(file)) return null;
  const known = sources.get(path) ?? (statSync(file).isFile() ? readFileSync(file, 'utf8') : '');
  sources.set(path, known);
  return known;
}

/** The cells of a row of a table. */
export function cellsOf(line: string): string[] {
  return line
    .slice(1, line.lastIndexOf('|'))
    .split(' | ')
    .map((cell) => cell.trim());
}

/** Checks that paths exist, and that names are in one of the files named beside them. */
export function whereabouts(cell: string): string[] {
  const quoted = [...cell.matchAll(/`([^`]+)`/g)].map(([, text = '']) => text);
  const paths = quoted.filter((text) => PATH.test(text));
  const texts = paths.map(sourceOf);
  const missing = paths.filter((_, i) => texts[i] === null).map((path) => `there is no ${path}`);
  if (paths.length === 0) return missing;
  const unknown = quoted.filter((text) => NAME.test(text) && !texts.some((source) => source?.includes(text)));
  return [...missing, ...unknown.map((name) => `${name} is not in ${paths.join(', ')}`)];
}

/** Tests with their titles, or the beginnings of them; or `open` and why. */
export function tests(cell: string): string[] {
  return cell.split('; ').flatMap((part) => {
    if (/^open: \S.*\w/.test(part)) return [];
    const [, path = '', title = ''] = TEST.exec(part) ?? [];
    if (path === '') return [`neither a test nor open with the reason: ${part}`];
    const source = sourceOf(path);
    if (source === null) return [`there is no ${path}`];
    const titles = [...source.matchAll(/\(\s*(['"`])((?:\\.|(?!\1).)+)\1/g)].map(([, , text = '']) => text);
    const begin = titles.filter((text) => text.startsWith(title));
    if (begin.length === 0) return [`no test in ${path} begins with "${title}"`];
    return begin.length > 1 && !begin.includes(title) ? [`several tests in ${path} begin with "${title}"`] : [];
  });
}

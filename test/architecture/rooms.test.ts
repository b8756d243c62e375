/**
 * The rooms of each folder (its subfolders) form layers: no circle of imports ties two of them together. A folder with more
 * than a dozen files has rooms, so that a reader finds one subject in each.
 *
 * Limits: circles of single files are found by the linter (import/no-cycle); main.ts, daemon.ts and actors.ts put the rooms
 * together and count as rooms of their own.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const ROOT = resolve(import.meta.dirname, '../../..');
const FOLDERS = ['machines', 'plan', 'effects', 'native', 'state', 'service', 'client', 'cli', 'launch', 'inspector'];
/** The most subjects that one folder may hold; a .cc and its header are one. */
const MANY = 14;
const TOP = new Set(['service/main.ts', 'service/daemon.ts', 'service/actors.ts', 'cli/main.ts']);

const sources = FOLDERS.flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)),
).filter((file) => /\.(?:ts|cc|h)$/.test(file));

const roomOf = (file: string): string => (TOP.has(file) ? file : dirname(file));

/** Which rooms each room imports from. */
function arrowsOf(files: readonly string[], read: (file: string) => string): Map<string, Set<string>> {
  const arrows = new Map<string, Set<string>>();
  for (const file of files.filter((name) => name.endsWith('.ts'))) {
    for (const [, path = ''] of read(file).matchAll(/from '(\.[^']+)'/g)) {
      const [from, to] = [roomOf(file), roomOf(join(dirname(file), path))];
      if (from !== to) arrows.set(from, (arrows.get(from) ?? new Set()).add(to));
    }
  }
  return arrows;
}

/** The rooms that can be reached from themselves. */
function circles(arrows: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
    [...(arrows.get(from) ?? [])].some((next) => {
      if (next === to) return true;
      if (seen.has(next)) return false;
      seen.add(next);
      return reaches(next, to, seen);
    });
  return [...arrows.keys()].filter((room) => reaches(room, room));
}

const rooms = suite('rooms');

rooms('no room imports, by whatever way, from one that imports from it', () => {
  const arrows = arrowsOf(sources, (file) => readFileSync(join(ROOT, file), 'utf8'));
  assert.ok(arrows.size > 20, 'hardly an import was found: the test looks in the wrong place');
  assert.equal(circles(arrows), []);
});

rooms('a circle is found', () => {
  const files: Record<string, string> = {
    'service/one/a.ts': `import type { B } from '../two/b.ts';`,
    'service/two/b.ts': `export { c } from '../three/c.ts';`,
    'service/three/c.ts': `import { a } from '../one/a.ts';`,
    'service/four/d.ts': `import { a } from '../one/a.ts';`,
  };
  const found = circles(arrowsOf(Object.keys(files), (file) => files[file] ?? ''));
  assert.equal(found.sort(), ['service/one', 'service/three', 'service/two']);
});

rooms('no room holds more than a person can take in', () => {
  const subjects = new Map<string, Set<string>>();
  for (const file of sources) {
    const room = dirname(file);
    subjects.set(room, (subjects.get(room) ?? new Set()).add(relative(room, file).replace(/\.\w+$/, '')));
  }
  assert.equal(
    [...subjects].filter(([, held]) => held.size > MANY).map(([room, held]) => `${room}: ${held.size}`),
    [],
  );
});

rooms.run();

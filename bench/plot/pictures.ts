/**
 * The pictures of docs/performance.md, from the data of the run that drew them (curves.json).
 *
 * Guarantees: the pictures in the repository are those of the data in the repository (test/bench/pictures.test.ts).
 * Limits: no curve of memory for the peers: they have no process that stays.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Machine } from '../inside.ts';
import type { Growth } from './growth.ts';
import { picture, type Panel } from './svg.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const CURVES = 'bench/plot/curves.json';
const NAMES = ['floor', 'cleat', 'netavark', 'CNI'];

/** A growth is drawn with this title, and x counts this. */
const TITLES: Record<string, [title: string, x: string]> = {
  containers: ['One more container', 'containers that stand'],
  ports: ['One more container with a port', 'ports that are published'],
  networks: ['One more network with its first container', 'networks with a container each'],
};

export interface Curves {
  recorded: string;
  machine: Machine;
  growths: Growth[];
}

/** Maps each path in the repository to the picture. */
export function pictures({ recorded, machine, growths }: Curves): Map<string, string> {
  const about = `create + configure, p50; ${machine.cpus} CPUs, Linux ${machine.kernel}, Node ${machine.node.slice(1)}, load ${machine.load.split(' ')[0]}, ${recorded}`;
  return new Map(
    growths.map(({ of, curves }) => {
      const [title = of, x = of] = TITLES[of] ?? [];
      const time: Panel = {
        title: 'time, ms',
        x,
        y: 'log',
        series: curves.map(({ name, points }) => ({ name, points: points.map(({ at, ms }) => [at, ms]) })),
      };
      const memory: Panel = {
        title: 'memory of the daemon, MB',
        x,
        y: 'linear',
        series: curves.flatMap(({ name, points }) => {
          const known = points.flatMap(({ at, kb }): [number, number][] => (kb === null ? [] : [[at, kb / 1024]]));
          return known.length === 0 ? [] : [{ name, points: known }];
        }),
      };
      return [`docs/images/growth-${of}.svg`, picture(title, about, [time, memory], NAMES)];
    }),
  );
}

export function readCurves(root = ROOT): Curves {
  return JSON.parse(readFileSync(join(root, CURVES), 'utf8')) as Curves;
}

/** Writes the data and its pictures; returns the paths. */
export function writePictures(curves: Curves, root = ROOT): string[] {
  const data = curvesText(curves);
  // The data is taken as it is kept, which is rounded.
  const files = [...pictures(JSON.parse(data) as Curves), [CURVES, `${data}\n`] as const];
  for (const [path, content] of files) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return files.map(([path]) => path);
}

/** Writes JSON as prettier does: a point in one line. */
function curvesText(curves: Curves): string {
  const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(4)) : value);
  return JSON.stringify(curves, rounded, 2).replace(
    /\{\s+"at": (\S+),\s+"ms": (\S+),\s+"kb": (\S+)\s+\}/g,
    '{ "at": $1, "ms": $2, "kb": $3 }',
  );
}

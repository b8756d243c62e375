/**
 * The last recorded figures (record.json), which quick runs are compared with.
 *
 * Guarantees: the file says on which machine and when it was made, and has each turn's value, so that what is noise can be told
 * from it. Whoever commits it commits figures that can be read, one to a line.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { FIGURES, type FigureName } from '../budgets.ts';
import type { Machine } from '../inside.ts';
import type { Figures } from './compare.ts';

export const RECORD = fileURLToPath(new URL('../../../bench/record/record.json', import.meta.url));

export interface Record {
  recorded: string;
  machine: Machine;
  figures: Figures;
}

/** Returns null when nothing has been recorded. */
export function readRecord(file = RECORD): Record | null {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record) : null;
}

export function writeRecord(record: Record, file = RECORD): void {
  writeFileSync(file, `${recordText(record)}\n`);
}

/** Writes JSON as prettier does: the values of a figure in one line, in the order of the table. */
function recordText({ recorded, machine, figures }: Record): string {
  const rounded = (Object.keys(FIGURES) as FigureName[]).flatMap((name) => {
    const values = figures[name]?.map((value) => Number(value.toPrecision(4)));
    return values === undefined ? [] : [`    ${JSON.stringify(name)}: [${values.join(', ')}]`];
  });
  const about = JSON.stringify({ recorded, machine }, null, 2).slice(0, -2);
  return `${about},\n  "figures": {\n${rounded.join(',\n')}\n  }\n}`;
}

/** Names what makes the figures of two machines hard to compare; empty: nothing does. */
export function differences(now: Machine, then: Machine): string[] {
  const same: (keyof Machine)[] = ['kernel', 'cpus', 'cpu', 'node'];
  return same.filter((what) => now[what] !== then[what]).map((what) => `${what} ${then[what]}, now ${now[what]}`);
}

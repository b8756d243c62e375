/**
 * Compares the figures of a quick run with those of the last record (docs/decisions/0068).
 *
 * Guarantees: a figure has moved when its turns and the recorded turns do not overlap, and their middles differ by more than a
 * tenth. What moves by less, or within what the turns differ by among themselves, is noise. Three turns on each side are apart by
 * chance once in ten times; that they are apart by a tenth as well is rare where nothing has changed.
 * Limits: a machine with other work moves figures that are not ratios, and, because a daemon has more processes than the floor,
 * ratios too.
 */
import { FIGURES, type FigureName } from '../budgets.ts';
import { p50, verdict } from '../report.ts';

/** The values that a figure had in the turns of a run. */
export type Figures = Partial<Record<FigureName, number[]>>;

const NOISE = 0.1;

export interface Comparison {
  figure: FigureName;
  /** The middle of the turns. */
  now: number;
  turns: number[];
  /** null: it was not recorded. */
  before: number | null;
  /** The change, as a part of the recorded value; null if that was not recorded. */
  change: number | null;
  moved: 'better' | 'worse' | null;
}

export function compare(now: Figures, record: Figures): Comparison[] {
  return (Object.keys(FIGURES) as FigureName[]).flatMap((figure): Comparison[] => {
    const [turns, recorded] = [now[figure], record[figure]];
    if (turns === undefined || turns.length === 0) return [];
    const middle = p50(turns);
    if (recorded === undefined || recorded.length === 0) {
      return [{ figure, now: middle, turns, before: null, change: null, moved: null }];
    }
    const before = p50(recorded);
    const change = middle === before ? 0 : middle / before - 1;
    const apart = Math.min(...turns) > Math.max(...recorded) || Math.max(...turns) < Math.min(...recorded);
    const better = change < 0 === (FIGURES[figure].better === 'less');
    const moved = apart && Math.abs(change) > NOISE ? (better ? 'better' : 'worse') : null;
    return [{ figure, now: middle, turns, before, change, moved }];
  });
}

const COLUMNS = ['', 'now', 'its turns', 'recorded', 'change', 'budget', ''];

export function comparisonRows(comparisons: Comparison[]): { columns: string[]; rows: string[][] } {
  const rows = comparisons.map(({ figure, now, turns, before, change, moved }) => {
    const { budget, better, show } = FIGURES[figure];
    const met = budget === null ? null : better === 'less' ? now <= budget : now >= budget;
    return [
      figure,
      show(now),
      `${show(Math.min(...turns))} to ${show(Math.max(...turns))}`,
      before === null ? '-' : show(before),
      change === null ? '-' : `${signed(change)}${moved === null ? '' : `, ${moved}`}`,
      budget === null ? '' : `${better === 'less' ? '<=' : '>='} ${show(budget)}`,
      verdict(met),
    ];
  });
  return { columns: COLUMNS, rows };
}

export function verdictOf(comparisons: Comparison[]): string {
  if (comparisons.every(({ before }) => before === null)) return 'nothing is recorded to compare with';
  const moved = comparisons.filter((one) => one.moved !== null);
  if (moved.length === 0) return 'nothing moved more than noise';
  const all = moved.map(({ figure, change, moved: where }) => `${figure} (${signed(change ?? 0)}, ${where})`);
  return `moved more than noise: ${all.join('; ')}`;
}

const signed = (change: number): string =>
  Number.isFinite(change) ? `${change > 0 ? '+' : ''}${(change * 100).toFixed(0)} %` : 'from nothing';

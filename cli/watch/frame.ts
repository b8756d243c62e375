/**
 * Makes the lines of a screen that shows a table: the heading, as many rows as fit, and a line that says what is not shown.
 *
 * Guarantees: pure. As many lines as the screen has, each as long as it is wide; the rows that are shown exist.
 * Limits: a character counts as one column; the terminal cuts what is wider.
 */
export interface Size {
  rows: number;
  columns: number;
}

/** Two lines are no rows: the heading and the status. */
const FRAME = 2;

/** Returns how many rows fit. */
export const roomFor = ({ rows }: Size): number => Math.max(0, rows - FRAME);

/** Returns the first row that is shown, when `wanted` is the one that the reader has scrolled to. */
export const firstRow = (wanted: number, rows: number, size: Size): number =>
  Math.max(0, Math.min(wanted, rows - roomFor(size)));

/** Returns the lines of the screen. The first of `lines` is the heading; `status` is said below the rows. */
export function frameOf(lines: readonly string[], first: number, status: string, size: Size): string[] {
  const [heading = '', ...rows] = lines;
  const room = roomFor(size);
  const shown = rows.slice(first, first + room);
  const more = rows.length > room ? `rows ${first + 1}-${first + shown.length} of ${rows.length}; arrows scroll; ` : '';
  const blank = Array.from({ length: room - shown.length }, () => '');
  const all = [heading, ...shown, ...blank, `${more}${status}`];
  return all.slice(0, size.rows).map((line) => {
    const seen = Array.from(line).slice(0, size.columns);
    return seen.join('') + ' '.repeat(size.columns - seen.length);
  });
}

/**
 * Prints tables as docker and podman do: columns without lines.
 *
 * Guarantees: no space at line ends, nothing cut off, and colours on a terminal alone, so that awk and grep can parse it. The lines
 * are printable.
 * Limits: for people; programs use --format json.
 */
import { painted, printable } from './terminal.ts';

/** Matches text of which each character takes one column. */
const PLAIN = /^[ -~]*$/;

/**
 * Returns the lines of a table, headings first, if there are any. What knows how wide other characters are (cli-table3) takes ten
 * milliseconds to load and to start, so it is loaded if there is one, or if there are colours.
 */
export async function table(headings: string[] | null, rows: string[][]): Promise<string[]> {
  // Made printable before the width is measured.
  const cells = rows.map((row) => row.map((cell, i) => painted(headings?.[i] ?? '', printable(cell))));
  if (cells.every((row) => row.every((cell) => PLAIN.test(cell)))) {
    return aligned(headings === null ? cells : [headings, ...cells]);
  }
  const { default: Table } = await import('cli-table3');
  const lines = new Table({
    head: headings ?? [],
    chars: {
      top: '',
      'top-mid': '',
      'top-left': '',
      'top-right': '',
      bottom: '',
      'bottom-mid': '',
      'bottom-left': '',
      'bottom-right': '',
      left: '',
      'left-mid': '',
      mid: '',
      'mid-mid': '',
      right: '',
      'right-mid': '',
      middle: '   ',
    },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  lines.push(...cells);
  return lines
    .toString()
    .split('\n')
    .map((line) => line.trimEnd());
}

/**
 * Returns rows as lines of such a table, if a character takes one column. The columns are as wide as these rows need, unless `widths`
 * says.
 */
export function aligned(rows: readonly string[][], widths = widthsOf(rows)): string[] {
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('   ')
      .trimEnd(),
  );
}

export function widthsOf(rows: readonly string[][]): number[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return widths;
}

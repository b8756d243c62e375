/**
 * Prints tables as docker and podman do: columns without lines.
 *
 * Guarantees: no space at line ends, nothing cut off, and colours on a terminal alone, so that awk and grep can parse it. The lines
 * are printable.
 * Limits: for people; programs use --format json.
 */
import { painted, printable } from './terminal.ts';

/**
 * Returns the lines of a table, headings first, if there are any. Loads cli-table3 here, so that only commands that print a table wait for it.
 */
export async function table(headings: string[] | null, rows: string[][]): Promise<string[]> {
  if (headings === null && rows.length === 0) return [];
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
  // Before the width is measured.
  for (const row of rows) lines.push(row.map((cell, i) => painted(headings?.[i] ?? '', printable(cell))));
  return lines
    .toString()
    .split('\n')
    .map((line) => line.trimEnd());
}

/**
 * Prints tables as docker and podman do: columns without lines.
 *
 * Guarantees: no colours, no space at line ends, and nothing cut off, so that awk and grep can parse it.
 * Limits: for people; programs use --format json.
 */
import { printable } from './terminal.ts';

/**
 * Returns the lines of a table, headings first. Loads cli-table3 here, so that only commands that print a table wait for it.
 */
export async function table(headings: string[], rows: string[][]): Promise<string[]> {
  const { default: Table } = await import('cli-table3');
  const lines = new Table({
    head: headings,
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
  for (const row of rows) lines.push(row.map(printable)); // before the width is measured
  return lines
    .toString()
    .split('\n')
    .map((line) => line.trimEnd());
}

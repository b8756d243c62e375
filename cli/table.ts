/**
 * Tables as docker and podman print them: columns, no lines.
 *
 * Guarantees: no colours, no space at line ends, and nothing cut off, so that awk and grep can be trusted with it.
 * Limits: for people; programs ask for --format json.
 */
import { printable } from './terminal.ts';

/** The lines of a table, headings first. cli-table3 is loaded here, so that only those who print a table wait for it. */
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
  for (const row of rows) lines.push(row.map(printable)); // before it is measured
  return lines
    .toString()
    .split('\n')
    .map((line) => line.trimEnd());
}

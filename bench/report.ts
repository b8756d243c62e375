/**
 * The findings of a scenario, and how they are printed.
 *
 * Guarantees: a budget is judged by the number that is printed beside it; "not measured" is never "met".
 * Limits: printing only; no exit code depends on it.
 */
import Table from 'cli-table3';

export interface Check {
  budget: string;
  measured: string;
  /** null: not measured. */
  met: boolean | null;
}

export interface Report {
  title: string;
  columns: string[];
  rows: string[][];
  checks: Check[];
  notes: string[];
}

export function emptyReport(title: string, columns: string[]): Report {
  return { title, columns, rows: [], checks: [], notes: [] };
}

export function quantile(samples: number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1));
  return sorted[at] ?? Number.NaN;
}

export function p50(samples: number[] | undefined): number {
  return quantile(samples ?? [], 0.5);
}

export function ms(value: number): string {
  if (!Number.isFinite(value)) return '-';
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ms`;
}

export function times(value: number): string {
  return Number.isFinite(value) ? `${value >= 10 ? value.toFixed(0) : value.toFixed(2)}x` : '-';
}

/** A budget on a number: met when it is at most (or, with `atLeast`, at least) the limit. */
export function check(
  budget: string,
  value: number,
  limit: number,
  show: (value: number) => string,
  atLeast = false,
): Check {
  if (!Number.isFinite(value)) return { budget, measured: 'not measured', met: null };
  return { budget, measured: show(value), met: atLeast ? value >= limit : value <= limit };
}

function grid(head: string[], rows: string[][]): string {
  const table = new Table({ head, style: { head: [], border: [], compact: true } });
  table.push(...rows);
  return table.toString();
}

export function render(report: Report): string {
  const parts = [`\n${report.title}`, grid(report.columns, report.rows)];
  if (report.checks.length > 0) {
    const verdict = (met: boolean | null): string => (met === null ? '-' : met ? 'met' : 'NOT met');
    const rows = report.checks.map(({ budget, measured, met }) => [budget, measured, verdict(met)]);
    parts.push(grid(['budget', 'measured', ''], rows));
  }
  return [...parts, ...report.notes.map((note) => `  ${note}`)].join('\n');
}

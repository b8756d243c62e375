/**
 * The findings of a scenario, and how they are printed.
 *
 * Guarantees: a budget is judged by the number that is printed beside it; "not measured" is never "met".
 * Limits: printing only; whether a run failed is said by `failures`, and by no number.
 */
import Table from 'cli-table3';
import type { Growth } from './plot/growth.ts';

/** A figure, and its budget's verdict. */
export interface Check {
  figure: string;
  /** null: not measured. */
  value: number | null;
  measured: string;
  /** Empty: it has none. */
  budget: string;
  /** null: not measured, or no budget. */
  met: boolean | null;
}

export interface Report {
  title: string;
  columns: string[];
  rows: string[][];
  checks: Check[];
  notes: string[];
  /** Says what of the floor and of cleat could not be measured, and why. A peer that fails is a note. */
  failures: string[];
  /** Holds what is drawn of it. */
  growth?: Growth;
}

export function emptyReport(title: string, columns: string[]): Report {
  return { title, columns, rows: [], checks: [], notes: [], failures: [] };
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

export const perSecond = (value: number): string => (Number.isFinite(value) ? `${value.toFixed(0)}/s` : '-');
export const percent = (value: number): string => `${value.toFixed(2)} %`;
export const kb = (value: number): string => `${value.toFixed(value < 100 ? 1 : 0)} KB`;
export const mb = (value: number): string => `${(value / 1024).toFixed(1)} MB`;

export const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

interface Limit {
  better: 'less' | 'more';
  /** null: there is none. */
  budget: number | null;
  show: (value: number) => string;
}

export function check(figure: string, value: number, { better, budget, show }: Limit): Check {
  const said = budget === null ? '' : `${better === 'less' ? '<=' : '>='} ${show(budget)}`;
  if (!Number.isFinite(value)) return { figure, value: null, measured: 'not measured', budget: said, met: null };
  const met = budget === null ? null : better === 'less' ? value <= budget : value >= budget;
  return { figure, value, measured: show(value), budget: said, met };
}

export const verdict = (met: boolean | null): string => (met === null ? '' : met ? 'met' : 'NOT met');

export function grid(head: string[], rows: string[][]): string {
  const table = new Table({ head, style: { head: [], border: [], compact: true } });
  table.push(...rows);
  return table.toString();
}

export function render(report: Report): string {
  const parts = [`\n${report.title}`, grid(report.columns, report.rows)];
  if (report.checks.length > 0) {
    const rows = report.checks.map((one) => [one.figure, one.measured, one.budget, verdict(one.met)]);
    parts.push(grid(['figure', 'measured', 'budget', ''], rows));
  }
  return [
    ...parts,
    ...report.notes.map((note) => `  ${note}`),
    ...report.failures.map((why) => `  FAILED: ${why}`),
  ].join('\n');
}

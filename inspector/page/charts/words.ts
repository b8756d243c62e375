/**
 * Puts a chart in words: for a reader who does not see it, and below the chart for everybody.
 *
 * Guarantees: pure; says the state, what it means, and where each event leads from there.
 */
import type { Chart } from './chart.ts';
import { linesFrom, nodeOf } from './lit.ts';

export interface Way {
  /** The state that it leads to. */
  target: string;
  /** The events that lead there. */
  events: string[];
}

export interface Account {
  state: string;
  description: string;
  invokes: string[];
  ways: Way[];
}

export function accountOf(chart: Chart, state: string): Account {
  const node = nodeOf(chart, state);
  const ways = linesFrom(chart, state).map(({ target, labels }) => ({ target, events: labels }));
  const anywhere = chart.anywhere
    .filter(({ target }) => !ways.some((way) => way.target === target))
    .map(({ target, labels }) => ({ target, events: labels }));
  return {
    state,
    description: node?.description ?? '',
    invokes: node?.invoke ?? [],
    ways: node?.type === 'final' ? [] : [...ways, ...anywhere],
  };
}

export function sentence({ state, description, ways }: Account): string {
  const where = ways.map(({ target, events }) => `${events.join(' or ')} leads to ${target}`).join('; ');
  return `Now ${state}. ${description}${where === '' ? '' : ` From here: ${where}.`}`;
}

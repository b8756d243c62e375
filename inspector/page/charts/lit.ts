/**
 * Finds what is lit in a chart: the state that the machine is in, with everything around it, and the lines that were taken.
 *
 * Guarantees: pure. A state or a transition that the chart does not have (another version) lights nothing.
 */
import type { Chart, ChartEdge, ChartNode, Drawing } from './chart.ts';

/** "configuring.attaching" lights configuring and configuring.attaching. */
export function litNodes(state: string): string[] {
  const parts = state === '' ? [] : state.split('.');
  return parts.map((_, i) => parts.slice(0, i + 1).join('.'));
}

/** Returns the indexes of the lines that carry these transitions. */
export function linesOf(chart: Pick<Drawing, 'edges'>, transitions: readonly string[]): number[] {
  const taken = new Set(transitions);
  return chart.edges.flatMap(({ ids }, index) => (ids.some((id) => taken.has(id)) ? [index] : []));
}

export const nodeOf = (chart: Drawing, state: string): ChartNode | undefined =>
  chart.nodes.find(({ id }) => id === state);

/** Returns the lines that lead away from a state or from one around it, and can be taken from there. */
export function linesFrom(chart: Chart, state: string): ChartEdge[] {
  const around = new Set(litNodes(state));
  return chart.edges.filter(({ ids }) => ids.some((id) => around.has(id.slice(0, id.indexOf('|')))));
}

/** Returns the machines that a state invokes and that have charts of their own. */
export function invokedCharts(chart: Chart, state: string, known: Readonly<Record<string, unknown>>): string[] {
  return (nodeOf(chart, state)?.invoke ?? []).filter((id) => Object.hasOwn(known, id));
}

/** Returns the states in which an operation has ended. */
export const restStates = (chart: Chart): ReadonlySet<string> =>
  new Set(chart.nodes.filter(({ tags }) => tags.includes('rest')).map(({ id }) => id));

/** Returns the transitions by which a machine may have come from one state to the next, where nobody wrote down which it was. */
export function likely(chart: Pick<Drawing, 'edges'>, from: string, event: string): string[] {
  const beginnings = [...litNodes(from), ''].map((source) => `${source}|${event}|`);
  return chart.edges.flatMap(({ ids }) => ids.filter((id) => beginnings.some((beginning) => id.startsWith(beginning))));
}

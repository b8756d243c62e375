/**
 * Asks the page server for its source, the charts, and the daemon's answers.
 *
 * Guarantees: a refusal is an error whose message is in the daemon's own words, with the hint.
 */
import type { Charts } from '../charts/chart.ts';
import { parseExport } from '../model/exported.ts';
import type { Line, MachineSnapshot } from '../model/wire.ts';
import { refusalOf } from './refusal.ts';

export type Source = { kind: 'daemon' } | { kind: 'file'; name: string };

async function getText(path: string): Promise<string> {
  const answer = await fetch(path, { cache: 'no-store' });
  if (!answer.ok) throw new Error(await refusalOf(answer));
  return answer.text();
}
const getJson = async (path: string): Promise<unknown> => JSON.parse(await getText(path)) as unknown;

const at = (id: string, what: string): string => `/v1/containers/${encodeURIComponent(id)}/${what}`;

export const source = async (): Promise<Source> => (await getJson('/source.json')) as Source;
export const charts = async (): Promise<Charts> => (await getJson('/machines.json')) as Charts;
export const journalOf = async (id: string): Promise<Line[]> => parseExport(await getText(at(id, 'export'))).lines;
export const machineOf = async (id: string): Promise<MachineSnapshot> =>
  (await getJson(at(id, 'machine'))) as MachineSnapshot;
export const file = async (): Promise<string> => getText('/file.json');

/** Returns the state that the container is in afterwards, and the warnings. */
export async function send(event: Record<string, unknown>): Promise<{ state: string; warnings: string[] }> {
  const answer = await fetch('/v1/events', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(event),
  });
  if (!answer.ok) throw new Error(await refusalOf(answer));
  const { state, warnings = [] } = (await answer.json()) as { state: string; warnings?: string[] };
  return { state, warnings };
}

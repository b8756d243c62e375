/**
 * Shows a journal from a file, which `cleat export` has written, in place of a daemon.
 *
 * Guarantees: a file that is cut off or damaged is shown as far as it goes, and the page says so.
 */
import { parseExport } from '../model/exported.ts';
import { file } from './api.ts';
import { pastFailure, showFile } from './past.ts';
import { route } from './store.ts';

export async function openFile(): Promise<void> {
  const { id, lines, problem } = parseExport(await file());
  if (lines.length === 0) throw new Error(problem ?? 'The journal has no lines.');
  const name = id ?? 'container';
  route.value = { place: 'containers', id: name };
  showFile(name, lines);
  pastFailure.value = problem;
}

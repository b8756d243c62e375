/**
 * Reads an exported journal: its first line about itself, the lines, and the last one, which shows that nothing is cut off.
 *
 * Guarantees: pure. What can be read is read; what is wrong with the rest is said in a sentence.
 * Limits: does not check every line against its schema: a line that leads nowhere is left out, with all that come after it.
 */
import { moments } from '../../../plan/journal/moments.ts';
import type { Line } from './wire.ts';

/** The version that this page can read (state/answers/container/history.ts). */
const VERSION = 1;
const KINDS: ReadonlySet<string> = new Set([
  'start',
  'event',
  'effect',
  'passage',
  'change',
  'note',
  'gap',
] satisfies Line['kind'][]);

export interface Exported {
  id: string | null;
  lines: Line[];
  /** Null: all of it was read. */
  problem: string | null;
}

interface Header {
  journal?: unknown;
  id?: unknown;
}

export function parseExport(text: string): Exported {
  const [first = '', ...rest] = text.split('\n').filter((line) => line.trim() !== '');
  const header = parsed(first) as Header | undefined;
  if (typeof header !== 'object' || header === null || typeof header.journal !== 'number')
    return { id: null, lines: [], problem: 'This is no exported journal: its first line does not say so.' };
  const id = typeof header.id === 'string' ? header.id : null;
  if (header.journal !== VERSION) {
    const problem = `This journal has version ${header.journal} of the format, and this page reads version ${VERSION}. Use the cleat that wrote it.`;
    return { id, lines: [], problem };
  }
  const lines: Line[] = [];
  let whole = false;
  /** The index of the first line that is no line of a journal. */
  let unread = -1;
  for (const [index, line] of rest.map(parsed).entries()) {
    const kind = (line as { kind?: string } | undefined)?.kind ?? '';
    if (kind === 'end') whole = (line as { lines?: unknown }).lines === lines.length;
    else if (KINDS.has(kind)) lines.push(line as Line);
    else {
      unread = index;
      break;
    }
  }
  const good = led(lines);
  const said = (problem: string | null): Exported => ({ id, lines: good, problem });
  if (good.length < lines.length)
    return said(`Line ${good.length + 2} leads nowhere: the file is damaged, and this is what comes before.`);
  if (unread !== -1 && unread < rest.length - 1)
    return said(`Line ${unread + 2} cannot be read: the file is damaged, and this is what comes before.`);
  return said(whole ? null : 'The file is cut off: its end is missing, and this is what is left.');
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return undefined;
  }
}

/** Returns the lines up to the first one that cannot be followed. */
function led(lines: Line[]): Line[] {
  const isGood = (count: number): boolean => {
    try {
      moments(lines.slice(0, count));
      return true;
    } catch {
      return false;
    }
  };
  if (isGood(lines.length)) return lines;
  let [least, most] = [0, lines.length];
  while (most - least > 1) {
    const middle = Math.floor((least + most) / 2);
    if (isGood(middle)) least = middle;
    else most = middle;
  }
  return lines.slice(0, least);
}

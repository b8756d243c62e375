/**
 * Leaves out of a journal what its readers must not learn from it: where callers keep namespaces, how the outer publisher is
 * reached, and which boot of which machine it was.
 *
 * Guarantees: pure; the same text is replaced by the same words everywhere, also inside messages, so that machines that are led
 * by the result go the same way. Nothing else is changed.
 * Limits: ids, names, addresses, MACs and ports stay, because they are what a report is about, and so does what helpers and the
 * kernel have said. What the daemon never knows (environments, labels, contents of files) cannot be in it.
 */
import type { JournalLine } from '../../state/answers/container/history.ts';

const NO_BOOT = '00000000-0000-0000-0000-000000000000';

/** Returns the lines without the texts that are to be left out. */
export function withheld(lines: readonly JournalLine[]): JournalLine[] {
  const words = new Map<string, string>();
  for (const line of lines) learn(line, '', words);
  if (words.size === 0) return [...lines];
  // The longest comes first, because a path may be the beginning of another.
  const texts = [...words.keys()].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(`(?:${texts.map((text) => text.replace(/[^\w-]/g, '\\$&')).join('|')})(?![\\w.-])`, 'g');
  const replace = (text: string) => text.replace(pattern, (found) => words.get(found) ?? found);
  return lines.map((line) => mapped(line, replace) as JournalLine);
}

/** Finds the texts by the names of their members, wherever they are (a context, an input, a patch). */
function learn(value: unknown, name: string, words: Map<string, string>): void {
  if (typeof value === 'string') {
    if (value === '' || words.has(value)) return;
    if (name === 'bootId') words.set(value, NO_BOOT);
    else if (name === 'publisher') words.set(value, `publisher-${words.size}`);
    else if (name === 'outside' || name === 'from') words.set(value, `/left-out/${words.size}`);
  } else if (Array.isArray(value)) {
    for (const one of value) learn(one, name, words);
  } else if (typeof value === 'object' && value !== null) {
    const patchOf = 'op' in value && 'path' in value ? String(value.path).split('/').at(-1) : undefined;
    for (const [key, one] of Object.entries(value)) {
      if (key === 'value' && patchOf !== undefined) learn(one, patchOf, words);
      // `from` is also the state before a passage.
      else if (!(key === 'from' && 'to' in value)) learn(one, key, words);
    }
    const { mode, path } = value as { mode?: unknown; path?: unknown };
    if (mode === 'path') learn(path, 'from', words);
  }
}

function mapped(value: unknown, replace: (text: string) => string): unknown {
  if (typeof value === 'string') return replace(value);
  if (Array.isArray(value)) return value.map((one) => mapped(one, replace));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, mapped(one, replace)]));
}

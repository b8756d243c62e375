/**
 * What of a journal is history for people: changes of state, and notes of drift and repair.
 *
 * Guarantees: pure; the entries are as they were before journals had more (state/answers/container/history.ts).
 */
import type { JournalEntry, JournalLine } from '../../state/answers/container/history.ts';

export const historyOf = (lines: readonly JournalLine[]): JournalEntry[] =>
  lines.flatMap((line) => {
    if (line.kind === 'note') {
      const { kind: _kind, ...entry } = line;
      return entry;
    }
    if (line.kind !== 'passage') return [];
    const { kind: _kind, patch: _patch, children: _children, ended: _ended, ...entry } = line;
    return entry;
  });

/** Returns true if the journal does not begin with the creation of the container. */
export const isTruncated = ([first]: readonly JournalLine[]): boolean =>
  first?.kind !== 'start' || first.how !== 'created';

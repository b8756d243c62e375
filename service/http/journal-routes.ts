/**
 * The routes about a container's journal: its history for people, and the whole of it as a file (docs/decisions/0051).
 *
 * Guarantees: an export begins with a line about itself and ends with the number of its lines, so that a part of it can be told
 * from the whole. It has no text of plan/journal/withheld.ts. It is taken between two events of the container.
 * Limits: a journal is at most two files of 256 KiB, so an export is one answer, not a stream.
 */
import { release } from 'node:os';
import type { FastifyInstance } from 'fastify';
import { historyOf, isTruncated } from '../../plan/journal/history.ts';
import { withheld } from '../../plan/journal/withheld.ts';
import type { ExportLine, JournalLine } from '../../state/answers/container/history.ts';
import { JOURNAL_VERSION } from '../../state/versions/journal.ts';
import { CONTAINER_VERSION } from '../../state/versions/migrations.ts';

export interface JournalParts {
  /** Returns the id of the container that is called so. Throws NO_SUCH_CONTAINER. */
  id: (text: string) => string;
  journal: (id: string) => JournalLine[];
  /** Returns the version of the daemon. */
  version: () => string;
}

export function addJournalRoutes(api: FastifyInstance, { id, journal, version }: JournalParts): void {
  api.get<{ Params: { id: string } }>('/v1/containers/:id/history', (request) =>
    historyOf(journal(id(request.params.id))),
  );
  api.get<{ Params: { id: string } }>('/v1/containers/:id/export', (request, reply) => {
    const found = id(request.params.id);
    const lines = journal(found);
    const header: ExportLine = {
      journal: JOURNAL_VERSION,
      cleat: version(),
      machine: CONTAINER_VERSION,
      id: found,
      exported_at: Date.now(),
      kernel: release(),
      node: process.version,
      truncated: isTruncated(lines),
    };
    const all: ExportLine[] = [header, ...withheld(lines), { kind: 'end', lines: lines.length }];
    void reply.type('application/x-ndjson');
    return all.map((line) => `${JSON.stringify(line)}\n`).join('');
  });
}

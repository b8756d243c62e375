/**
 * Container records of version 2, as version 3 has them: 3 also takes away what a bridge knows of the container, and
 * knows uplinks and port handlers, which no container of 2 has.
 *
 * Guarantees: pure, over plain JSON; only who waits for its links to go is told more, all else is the same in both.
 * Limits: what does not look like a record of 2 throws, or is judged by whoever calls.
 */

interface Attachment {
  bridge: string;
  addresses: { address: string }[];
}

interface Snapshot {
  context: { attachments: Attachment[]; change: { before: Attachment[] } | null };
  children: Record<string, { snapshot: { input?: object } }>;
}

export function fromVersion2(persisted: unknown): unknown {
  const snapshot = persisted as Snapshot;
  const { awaitLinksGone: waiting, ...others } = snapshot.children;
  if (waiting === undefined) return snapshot;
  const { attachments, change } = snapshot.context;
  const neighbours = [...attachments, ...(change?.before ?? [])].flatMap(({ bridge, addresses }) =>
    addresses.map(({ address }) => ({ bridge, address })),
  );
  const input = { ...waiting.snapshot.input, neighbours };
  return {
    ...snapshot,
    children: { ...others, awaitLinksGone: { ...waiting, snapshot: { ...waiting.snapshot, input } } },
  };
}

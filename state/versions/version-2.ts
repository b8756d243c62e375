/**
 * Migrates container records of version 2 to version 3. 3 also removes the container's neighbour entries on a bridge, and has
 * uplinks and port handlers, which no container of 2 has.
 *
 * Guarantees: pure, over plain JSON. Only a container that waits for the removal of its links changes; all else is equal in
 * both.
 * Limits: an input that is no record of 2 throws, or the caller's check refuses the result.
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

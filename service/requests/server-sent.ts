/**
 * Server-sent events (text/event-stream): how a message is written, and the signs of life between messages.
 *
 * Limits: the data of a message is one line, as JSON is.
 */

/** The pause between two signs of life: a reader that has gone without a word is noticed when one is written to it. */
export const HEARTBEAT_MS = 15_000;

/** Begins a stream: how long a reader waits before it connects again. */
export const RETRY = 'retry: 1000\n';

/** Returns a message. One without an id leaves the reader's last id as it is. */
export function messageText(event: string, json: string, id: string | null): string {
  return `${id === null ? '' : `id: ${id}\n`}event: ${event}\ndata: ${json}\n\n`;
}

/** Returns a sign of life. With an id, the reader goes on from there: what came before is not for it. */
export const heartbeat = (id: string | null): string => (id === null ? ':\n\n' : `:\nid: ${id}\n\n`);

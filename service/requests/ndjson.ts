/**
 * Splits a byte stream into lines.
 *
 * Guarantees: yields whole lines only. The last one needs no newline if the body is complete. If the client disconnected before
 * that, its unfinished line is dropped (the stream throws).
 * Limits: a line longer than MAX_LINE ends the stream with BODY_TOO_LARGE; blank lines are skipped.
 */
import { FaultError } from '../../state/faults.ts';

/** The maximum number of bytes in one request body or line: far above any real event (4,096 port mappings are 400 KB). */
export const MAX_LINE = 1024 * 1024;

/** Accounts for the bytes of unfinished lines. `keep` may throw before they are kept; `release` is called when they are gone. */
export interface Account {
  keep(bytes: number): void;
  release(bytes: number): void;
}

export async function* readLines(stream: AsyncIterable<Buffer>, account: Account): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0);
  let kept = 0;
  try {
    for await (const chunk of stream) {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      for (let end = rest.indexOf(10); end !== -1; end = rest.indexOf(10)) {
        const line = rest.subarray(0, end).toString('utf8').trim();
        rest = rest.subarray(end + 1);
        if (line !== '') yield line;
      }
      if (rest.length > MAX_LINE) throw new FaultError('BODY_TOO_LARGE', `a line is larger than ${MAX_LINE} bytes`);
      account.release(kept);
      kept = 0;
      account.keep(rest.length);
      kept = rest.length;
    }
    const last = rest.toString('utf8').trim();
    if (last !== '') yield last;
  } finally {
    account.release(kept);
  }
}

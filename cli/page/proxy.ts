/**
 * Passes requests of the page on to the daemon's socket, and the answers back.
 *
 * Guarantees: of a request only what is named here goes on; of an answer its status, its type and its bytes. A body that is too
 * long is not sent. When the page goes away, so does the request; when the daemon does not answer, the page gets 503 with the
 * reason, and a stream that has begun ends. The daemon is held up by a page that does not read, and nothing is kept for it.
 */
import { request, type IncomingMessage, type RequestOptions, type ServerResponse } from 'node:http';
import { unanswered } from '../../client/error.ts';

/** Is far more than any event that a page composes. */
export const MAX_BODY = 64 * 1024;

/** Answers the page with an error of this status. */
export type SendError = (status: number, error: { code: string; message: string; hint?: string }) => void;

export function passOn(
  socketPath: string,
  asked: { method: string; path: string; headers?: Record<string, string>; body?: Buffer },
  answer: ServerResponse,
  sendError: SendError,
): void {
  const { method, path, headers = {}, body } = asked;
  const options: RequestOptions = { socketPath, method, path, headers, agent: false };
  const outgoing = request(options, (from) => {
    const { statusCode = 502, headers: found } = from;
    answer.writeHead(statusCode, { 'content-type': found['content-type'] ?? 'application/octet-stream' });
    answer.flushHeaders();
    from.pipe(answer);
    from.on('error', () => answer.end()); // the daemon has ended in the middle
  });
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    if (answer.headersSent) return void answer.end();
    const { code, message, hint } = unanswered(socketPath, error).error;
    answer.setHeader('retry-after', '1');
    sendError(503, { code, message, ...(hint === undefined ? {} : { hint }) });
  });
  answer.on('close', () => outgoing.destroy());
  outgoing.end(body);
}

/** Resolves with the body of a request; with null if it is longer than MAX_BODY. */
export async function bodyOf(request_: IncomingMessage): Promise<Buffer | null> {
  if (Number(request_.headers['content-length'] ?? 0) > MAX_BODY) return null;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request_) {
    length += (chunk as Buffer).length;
    if (length > MAX_BODY) return null;
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

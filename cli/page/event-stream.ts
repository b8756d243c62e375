/**
 * Reads text/event-stream as the daemon writes it.
 *
 * Limits: lines end with LF, and a message has one line of data. The daemon writes no others.
 */
export interface StreamMessage {
  event: string;
  data: string;
}

/** Returns a function that takes the stream piece by piece and calls `message` with each message. */
export function streamReader(message: (message: StreamMessage) => void): (chunk: string) => void {
  let rest = '';
  return (chunk) => {
    const parts = `${rest}${chunk}`.split('\n\n');
    rest = parts.pop() ?? '';
    for (const part of parts) {
      const event = /^event: (.*)$/m.exec(part)?.[1];
      const data = /^data: (.*)$/m.exec(part)?.[1];
      if (event !== undefined && data !== undefined) message({ event, data });
    }
  };
}

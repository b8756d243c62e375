/**
 * The sending side of a WebSocket (RFC 6455), for clients that only listen.
 *
 * Guarantees: text goes out as one unfragmented frame. A ping is answered; a close is answered, and ends the connection; so does a
 * frame that breaks the protocol or is longer than any of these. Other frames are read and dropped.
 * Limits: no extensions, no fragments from the client, no protocol but the one that the caller speaks.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

/** RFC 6455, 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
/** Nobody has anything to say to us that is longer. */
const MAX_FRAME = 64 * 1024;

/** Answers the handshake. Returns false, and answers 400, if it is none. */
export function accept({ headers }: IncomingMessage, socket: Duplex): boolean {
  const { 'sec-websocket-key': key = '', 'sec-websocket-version': version, upgrade = '' } = headers;
  if (!/^[\w+/]{22}==$/.test(key) || version !== '13' || upgrade.toLowerCase() !== 'websocket') {
    socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\n\r\n');
    return false;
  }
  const proof = createHash('sha1').update(`${key}${GUID}`).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${proof}\r\n\r\n`,
  );
  return true;
}

/** Returns a text as a frame. */
export const textFrame = (text: string): Buffer => frame(TEXT, Buffer.from(text));

/** Returns the frame that ends a connection for this reason. */
export function closeFrame(code: number): Buffer {
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(code);
  return frame(CLOSE, payload);
}

/** Reads what the client sends, from the first byte after the handshake. */
export function obey(socket: Duplex): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      const found = readFrame(rest);
      if (found === null) return;
      if (found === 'broken') return void socket.destroy();
      rest = rest.subarray(found.length);
      if (found.opcode === PING) socket.write(frame(PONG, found.payload));
      if (found.opcode === CLOSE) return void socket.end(frame(CLOSE, found.payload.subarray(0, 2)));
    }
  });
}

function frame(opcode: number, payload: Buffer): Buffer {
  const { length } = payload;
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  head[0] = 0x80 | opcode;
  head[1] = length < 126 ? length : length < 65_536 ? 126 : 127;
  if (head.length === 4) head.writeUInt16BE(length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, payload]);
}

/** Returns the first frame; null if it is not complete yet. Its `length` is with the header. */
function readFrame(bytes: Buffer): { opcode: number; payload: Buffer; length: number } | null | 'broken' {
  const [first, second] = [bytes[0], bytes[1]];
  if (first === undefined || second === undefined) return null;
  if ((second & 0x80) === 0) return 'broken'; // clients mask (5.1)
  const short = second & 0x7f;
  if (short === 127) return 'broken'; // more than 64 KiB
  if (short === 126 && bytes.length < 4) return null;
  const size = short === 126 ? bytes.readUInt16BE(2) : short;
  const begin = short === 126 ? 4 : 2;
  if (size > MAX_FRAME) return 'broken';
  const length = begin + 4 + size;
  if (bytes.length < length) return null;
  const mask = bytes.subarray(begin, begin + 4);
  const payload = Buffer.from(bytes.subarray(begin + 4, length)).map((byte, i) => byte ^ (mask[i % 4] ?? 0));
  return { opcode: first & 0x0f, payload: Buffer.from(payload), length };
}

/**
 * Messages of D-Bus: makes a call, and reads what answers it, as far as systemd.ts needs it.
 *
 * Guarantees: pure. A message that is not complete yet is null; one that cannot be read throws.
 * Limits: calls are written in little-endian order, which every peer has to take. Of a message the name, the error and the first
 * strings of the body are read: no arrays, structures, variants or descriptors.
 * Source: the D-Bus specification, "Marshaling" and "Message Protocol".
 */

export const ERROR = 3;
export const SIGNAL = 4;
const CALL = 1;
const VERSION = 1;
/** Fields of a header. */
const PATH = 1;
const INTERFACE = 2;
const MEMBER = 3;
const ERROR_NAME = 4;
const SIGNATURE = 8;
const LITTLE_ENDIAN = 'l'.charCodeAt(0);
/** Up to the fields: order, type, flags, version; then the lengths of the body and of the fields, with the serial in between. */
const FIXED_BYTES = 16;

/** Writes values in D-Bus's form, each at the alignment of its type. */
export class Writer {
  readonly bytes: number[] = [];

  byte(value: number): this {
    this.bytes.push(value & 0xff);
    return this;
  }
  align(to: number): this {
    while (this.bytes.length % to !== 0) this.bytes.push(0);
    return this;
  }
  number(value: number): this {
    this.align(4);
    for (let shift = 0; shift < 32; shift += 8) this.byte(value >>> shift);
    return this;
  }
  text(value: string): this {
    const utf8 = Buffer.from(value);
    this.number(utf8.length).bytes.push(...utf8, 0);
    return this;
  }
  signature(value: string): this {
    this.byte(value.length).bytes.push(...Buffer.from(value), 0);
    return this;
  }
  /** `alignment`: that of its elements. The length does not count what fills up to the first. */
  array(alignment: 4 | 8, fill: () => void): this {
    const at = this.number(0).bytes.length - 4;
    const start = this.align(alignment).bytes.length;
    fill();
    const length = this.bytes.length - start;
    for (let n = 0; n < 4; n++) this.bytes[at + n] = (length >>> (8 * n)) & 0xff;
    return this;
  }
}

export interface Call {
  path: string;
  interface: string;
  member: string;
  signature: string;
  body: Writer;
}

/** Returns a call without a destination, for a peer at the other end of the socket. */
export function callOf(call: Call): Buffer {
  const writer = new Writer();
  const field = (code: number, type: 'o' | 's', value: string) =>
    writer.align(8).byte(code).signature(type).text(value);
  writer.byte(LITTLE_ENDIAN).byte(CALL).byte(0).byte(VERSION).number(call.body.bytes.length).number(1);
  writer.array(8, () => {
    field(PATH, 'o', call.path);
    field(INTERFACE, 's', call.interface);
    field(MEMBER, 's', call.member);
    writer.align(8).byte(SIGNATURE).signature('g').signature(call.signature);
  });
  return Buffer.from([...writer.align(8).bytes, ...call.body.bytes]);
}

export interface Message {
  /** In bytes. */
  size: number;
  type: number;
  member: string;
  error: string;
  /** The strings and paths that the body begins with; numbers between them are left out. */
  strings: string[];
}

/** Returns the message that the bytes begin with. */
export function messageIn(bytes: Buffer): Message | null {
  if (bytes.length < FIXED_BYTES) return null;
  const number = (at: number) => (bytes[0] === LITTLE_ENDIAN ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const end = FIXED_BYTES + number(12);
  const body = aligned(end, 8);
  const size = body + number(4);
  if (bytes.length < size) return null;
  const value = (type: string, from: number): { text: string | null; next: number } => {
    const at = type === 'g' ? from : aligned(from, 4);
    if (type === 'u') return { text: null, next: at + 4 };
    const begin = at + (type === 'g' ? 1 : 4);
    const after = begin + (type === 'g' ? bytes.readUInt8(at) : number(at));
    return { text: bytes.toString('utf8', begin, after), next: after + 1 };
  };
  const fields = new Map<number, string>();
  for (let at = FIXED_BYTES; at < end;) {
    const code = aligned(at, 8);
    const type = value('g', code + 1);
    const { text, next } = value(type.text ?? '', type.next);
    fields.set(bytes.readUInt8(code), text ?? '');
    at = next;
  }
  const strings: string[] = [];
  let at = body;
  for (const type of /^[uos]*/.exec(fields.get(SIGNATURE) ?? '')?.[0] ?? '') {
    const { text, next } = value(type, at);
    if (text !== null) strings.push(text);
    at = next;
  }
  const [member = '', error = ''] = [fields.get(MEMBER), fields.get(ERROR_NAME)];
  return { size, type: bytes.readUInt8(1), member, error, strings };
}

const aligned = (at: number, to: number): number => Math.ceil(at / to) * to;

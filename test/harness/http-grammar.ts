/**
 * Random bytes that are almost HTTP: a good request with a mistake in its bytes, alone or after another.
 *
 * Guarantees: the same seed gives the same bytes. A container that they make has `id`, or an id that differs in one or
 * two bytes.
 * Limits: HTTP/1.x (RFC 9112). Bytes are latin1 text.
 */
import fc from 'fast-check';

export interface Spoken {
  bytes: string;
  /** Offsets of pauses, so that the pieces arrive separately. */
  pauses: number[];
}

const ODD_METHODS = ['GET', 'HEAD', 'OPTIONS', 'CONNECT', 'TRACE', 'post', 'P OST', '', 'A'.repeat(300), 'PRI'];
const ODD_TARGETS = ['/v1/containers', '*', '', '//', 'http://x/v1/version', '/%', '/v1/\0', '/ä', '/ x'];
const ODD_VERSIONS = ['HTTP/1.0', 'HTTP/2.0', 'HTTP/9.9', 'http/1.1', '', 'HTTP/1.1 x'];
const ODD_HOSTS = ['', 'host: a\r\nhost: b\r\n', 'Host : x\r\n', ' host: x\r\n'];
const ODD_TYPES = [
  'application/x-ndjson',
  'APPLICATION/X-NDJSON',
  'text/plain',
  'application/json; charset=utf-16',
  ';',
];
const ODD_HEADERS = [
  'x: \0\r\n',
  ': x\r\n',
  'x\r\n',
  'x: a\r\n b\r\n',
  'x: a\rb\r\n',
  `x: ${'a'.repeat(20_000)}\r\n`,
  'x: y\r\n'.repeat(3000),
  'expect: 100-continue\r\n',
  'expect: x\r\n',
  'upgrade: websocket\r\nconnection: upgrade\r\n',
  'prefer: respond-async\r\n',
  'connection: close\r\n',
  'content-encoding: gzip\r\n',
];
const ODD_CHUNKS = ['-1\r\n', 'zz\r\n', 'ffffffffffffffff\r\n', '1;x=y\r\n', '\r\n'];
const ODD_BODIES = ['{}\n{}\n', '[', '', '\0', '"', '{"type":"create"}\n{"type":', '\xff\xfe'];

export function httpBytes(id: string): fc.Arbitrary<Spoken> {
  const message = fc
    .record({
      method: mostly('POST', ...ODD_METHODS),
      target: mostly('/v1/events', ...ODD_TARGETS),
      version: mostly('HTTP/1.1', ...ODD_VERSIONS),
      host: mostly('host: cleat\r\n', ...ODD_HOSTS),
      type: mostly(type('application/json'), ...ODD_TYPES.map(type), '', type('application/json') + type('a/b')),
      more: mostly('', ...ODD_HEADERS),
      framing: fc.constantFrom<Framing>('length', 'length', 'chunked', 'chunked', 'none', 'both'),
      // Wrong values of the length: -1 is one byte less.
      lie: mostly(0, 1, -1, 100, 2_000_000, -1e9),
      chunk: mostly('', ...ODD_CHUNKS),
      ending: mostly('\r\n', '\n', '\r', ''),
      body: mostly(
        JSON.stringify({ type: 'create', id, networks: {} }),
        JSON.stringify({ type: 'teardown', id }),
        ...ODD_BODIES,
      ),
    })
    .map(write);
  const spoilt = fc.tuple(message, fc.array(byteChange, { maxLength: 2 })).map(([text, changes]) => {
    return changes.reduce((bytes, change) => change(bytes), text);
  });
  return fc
    .tuple(fc.array(spoilt, { minLength: 1, maxLength: 3 }), fc.array(fc.nat(600), { maxLength: 3 }))
    .map(([messages, pauses]) => ({ bytes: messages.join(''), pauses: pauses.sort((a, b) => a - b) }));
}

type Framing = 'length' | 'chunked' | 'none' | 'both';

/** Mostly the first one. */
function mostly<T>(usual: T, ...odd: T[]): fc.Arbitrary<T> {
  return fc.oneof({ weight: 5, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...odd) });
}

function type(name: string): string {
  return `content-type: ${name}\r\n`;
}

function write(it: {
  method: string;
  target: string;
  version: string;
  host: string;
  type: string;
  more: string;
  framing: Framing;
  lie: number;
  chunk: string;
  ending: string;
  body: string;
}): string {
  const { method, target, version, host, more, framing, lie, chunk, ending, body } = it;
  const length = `content-length: ${body.length + lie}\r\n`;
  const chunked = 'transfer-encoding: chunked\r\n';
  const frame = { length, chunked, none: '', both: length + chunked }[framing];
  const head = `${method} ${target} ${version}\r\n${host}${it.type}${more}${frame}${ending}`;
  if (framing === 'length' || framing === 'none') return head + body;
  // Two chunks, split in the middle of the JSON.
  const half = Math.floor(body.length / 2);
  const chunks = [body.slice(0, half), body.slice(half)].filter((text) => text !== '');
  return `${head}${chunks.map((text) => `${text.length.toString(16)}\r\n${text}\r\n`).join(chunk)}${chunk}0\r\n\r\n`;
}

/** One byte more, one less, another one, or the end. */
const byteChange: fc.Arbitrary<(bytes: string) => string> = fc
  .tuple(fc.constantFrom('insert', 'remove', 'replace', 'cut'), fc.nat(2000), fc.nat(255))
  .map(([how, where, code]) => (bytes) => {
    const at = where % (bytes.length + 1);
    const byte = String.fromCharCode(code);
    if (how === 'insert') return bytes.slice(0, at) + byte + bytes.slice(at);
    if (how === 'remove') return bytes.slice(0, at) + bytes.slice(at + 1);
    if (how === 'cut') return bytes.slice(0, at);
    return bytes.slice(0, at) + byte + bytes.slice(at + 1);
  });

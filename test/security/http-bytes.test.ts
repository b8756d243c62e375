/**
 * Random bytes on the socket that are almost HTTP, and streams of events that break off at every byte.
 *
 * This must hold. Every answer is HTTP, 2xx or 4xx, and an error of ours has a code and a hint. A byte is never part of
 * another request. The daemon serves afterwards, holds no more descriptors, and kernel and files are byte for byte what
 * they were. Of a stream that breaks off, the whole lines are executed, and nothing else.
 * Limits: `connections=N` tries more; a failure prints seed, path and the bytes.
 *
 * proving: 1800
 */
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FAULTS, type FaultCode } from '../../state/faults.ts';
import { tryByChance } from '../harness/chance.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { httpBytes, type Spoken } from '../harness/http-grammar.ts';
import { calm, assertComesBackTo, inspect, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';
import { connectTo, said } from '../harness/raw-client.ts';

requirePrivateNamespace();

const CONNECTIONS = effort('connections', 200, 10_000);
const AT_ONCE = 30;
/** How long the test reads from a connection that the daemon does not close. */
const QUIET_MS = 60;
const ID = 'bytes';

const daemon = new TestDaemon();
const bytes = suite('http bytes');
let before: Picture;

bytes.before(async () => {
  await daemon.start();
  await daemon.done({ type: 'create', id: 'witness', networks: {} });
  await calm();
  before = inspect(daemon);
});
bytes.after(async () => {
  await daemon.stop();
});

/** Returns what is wrong with an answer, or null. */
function objection(text: string, { bytes: asked }: Spoken): string | null {
  // Answers to HEAD announce a body that does not come (RFC 9112, 6.3): the next bytes are another answer.
  if (asked.includes('HEAD')) {
    const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status = '']) => status);
    return statuses.every((status) => /^(100|[24]\d\d)$/.test(status)) ? null : text;
  }
  let rest = text;
  while (rest !== '') {
    const [head] = rest.split('\r\n\r\n', 1);
    const status = /^HTTP\/1\.1 (\d{3}) /.exec(head ?? '')?.[1];
    if (head === undefined || status === undefined) return `no HTTP: ${rest.slice(0, 200)}`;
    if (!/^(100|2\d\d|4\d\d)$/.test(status)) return `${status}: ${rest.slice(0, 300)}`;
    const after = rest.slice(head.length + 4);
    if (status === '100' || status === '204') {
      rest = after;
      continue;
    }
    const length = /^content-length: (\d+)$/im.exec(head)?.[1];
    const [body, next] =
      length === undefined ? unchunked(after) : [after.slice(0, Number(length)), after.slice(Number(length))];
    const faults = [...body.matchAll(/\{"error":(\{.*?\})\}(?:\n|\}|$)/g)].map(([, json = '']) => json);
    for (const fault of faults) {
      const code = /^\{"code":"(\w+)"/.exec(fault)?.[1] as FaultCode | undefined;
      const known = code !== undefined && code in FAULTS && FAULTS[code][0] < 500;
      if (!known || !/"hint":"[^"]/.test(fault)) return `no fault of ours: ${fault}`;
    }
    const bare = ['400', '417'].includes(status) && body === ''; // Node's own
    if (status.startsWith('4') && faults.length === 0 && !bare) return `${status} without a fault: ${body}`;
    rest = next;
  }
  return null;
}

/** The content of the received chunks, and the bytes after the last one. */
function unchunked(text: string): [body: string, rest: string] {
  let [body, rest] = ['', text];
  for (;;) {
    const size = /^([0-9a-f]+)\r\n/i.exec(rest);
    if (size === null) return [body, ''];
    const length = Number.parseInt(size[1] ?? '', 16);
    const from = size[0].length;
    if (length === 0) return [body, rest.slice(from + 2)];
    body += rest.slice(from, from + length);
    rest = rest.slice(from + length + 2);
  }
}

async function speak({ bytes: all, pauses }: Spoken): Promise<string> {
  const socket = await connectTo(daemon.socket);
  const answered = said(socket, QUIET_MS, 'latin1');
  let at = 0;
  for (const pause of [...pauses, all.length]) {
    if (pause > at) socket.write(all.slice(at, pause), 'latin1');
    at = Math.max(at, pause);
    await sleep(1);
  }
  const text = await answered;
  socket.destroy();
  return text;
}

/** The containers that the bytes may have made (a byte of the id may differ), and what they leave. */
async function tearDown(): Promise<void> {
  const { body } = await daemon.get<{ id: string }[]>('/v1/containers');
  for (const { id } of body) {
    if (id === 'witness') continue;
    const { status } = await daemon.event({ type: 'teardown', id });
    assert.ok([200, 404].includes(status), String(status));
    await daemon.gone(id);
  }
}

bytes('bytes that are almost HTTP are answered with a fault, or not at all, and harm nothing', async () => {
  const rounds = fc.array(httpBytes(ID), { minLength: 1, maxLength: AT_ONCE * 2, size: 'max' });
  const descriptors = () => readdirSync(`/proc/${daemon.pid}/fd`).length;
  const fds = descriptors();
  let tried = 0;
  const round = async (all: readonly Spoken[]): Promise<void> => {
    const answers = await Promise.all(all.map(speak));
    tried += all.length;
    assert.is(answers.map((text, i) => objection(text, all[i]!)).find((wrong) => wrong !== null) ?? '', '');
    await tearDown();
    await assertComesBackTo(before, () => inspect(daemon));
  };
  await tryByChance(rounds, Math.ceil(CONNECTIONS / AT_ONCE), round, (all) => JSON.stringify(all));
  assert.ok(descriptors() <= fds + 5, `${fds} descriptors became ${descriptors()}`);
  proved('connections with bytes that are almost HTTP', tried);
});

// --- Streams ----------------------------------------------------------------------------------------------------

const LINES = [
  { type: 'create', id: ID, networks: {} },
  { type: 'dance', id: ID },
  { type: 'configure', id: ID },
]
  .map((event) => `${JSON.stringify(event)}\n`)
  .join('');
const STREAM =
  'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ncontent-length: 100000\r\n\r\n';
const CUTS = effort('cuts', 20, LINES.length);

bytes('a stream that breaks off at any byte has executed its whole lines, and nothing else', async () => {
  for (let n = 0; n < CUTS; n++) {
    const cut = Math.round((n * LINES.length) / (CUTS - 1));
    const whole = LINES.slice(0, cut).split('\n').length - 1;
    const socket = await connectTo(daemon.socket);
    let text = '';
    socket.setEncoding('utf8').on('data', (more: string) => (text += more));
    socket.write(STREAM + LINES.slice(0, cut));
    const answers = () =>
      [...text.matchAll(/"line":(\d),"status":(\d+)/g)].map(([, line, status]) => `${line} ${status}`);
    for (let i = 0; i < 1000 && answers().length < whole; i++) await sleep(2);
    // Both ways to close: with and without a FIN.
    if (n % 2 === 0) socket.end();
    else socket.destroy();
    await sleep(5);
    socket.destroy();
    assert.equal(answers().slice(0, whole), ['1 200', '2 400', '3 200'].slice(0, whole), `cut at ${cut}: ${text}`);
    assert.not.match(text, /INTERNAL/);
    const state = (await daemon.get(`/v1/containers/${ID}`)).body.state;
    assert.is(state, [undefined, 'created', 'created', 'up'][whole], `cut at ${cut}`);
    await tearDown();
  }
  await assertComesBackTo(before, () => inspect(daemon));
  proved('cuts of a stream of events', CUTS);
});

bytes.run();

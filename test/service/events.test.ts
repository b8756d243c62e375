/**
 * GET /v1/events: what is told besides containers (networks, shared machines, uplinks, the forwarder, the daemon), and how a client
 * that lost its connection goes on: ids, signs of life, and a plain word where something is missing.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Notification } from '../../state/answers/notification.ts';
import { on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const events = suite('events');

interface Message {
  id: string;
  event: string;
  data: Notification;
}

interface Stream {
  messages: Message[];
  /** The last id, of a message or of a sign of life: what a browser sends when it comes back. */
  last: () => string;
  /** How many signs of life there were. */
  beats: () => number;
  closed: () => boolean;
  close: () => void;
}

/** Opens the stream as a browser does. `last`: the id to go on from. */
async function open(query = '', last: string | null = null): Promise<Stream> {
  const headers = { accept: 'text/event-stream', ...(last === null ? {} : { 'last-event-id': last }) };
  const outgoing = request({ socketPath: daemon.socket, path: `/v1/events${query}`, headers, agent: false });
  outgoing.on('error', () => {}).end();
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  assert.is(answer.statusCode, 200);
  const messages: Message[] = [];
  let [rest, lastId, beats, isClosed] = ['', '', 0, false];
  answer.setEncoding('utf8').on('error', () => {});
  answer.on('close', () => (isClosed = true));
  answer.on('data', (chunk: string) => {
    const parts = `${rest}${chunk}`.split('\n\n');
    rest = parts.pop() ?? '';
    for (const part of parts) {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(part)?.[1];
      const [id, event, data] = [field('id'), field('event'), field('data')];
      assert.ok(id !== undefined, part);
      lastId = id;
      if (event === undefined) beats++;
      else messages.push({ id, event, data: JSON.parse(data ?? '') as Notification });
    }
  });
  await until('the stream begins', () => lastId !== '');
  return { messages, last: () => lastId, beats: () => beats, closed: () => isClosed, close: () => outgoing.destroy() };
}

/** Says in a few words what was told, without what was passed through on the way. */
const words = (messages: Message[]): string[] => messages.flatMap(({ data }) => wordsOf(data) ?? []);

function wordsOf(data: Notification): string | null {
  if ('event' in data) return data.id === null ? `${data.event} ${data.network} ${data.type}` : null;
  if (data.type === 'machine') return `${data.machine} ${data.network ?? data.id ?? ''}`.trim().concat(` ${data.to}`);
  return 'action' in data && data.type !== 'drift' ? `${data.type} ${data.action}` : null;
}

const numberOf = (id: string): number => Number(id.split('-')[1]);

let patient: Stream;

events.before(async () => {
  await daemon.start();
  patient = await open('?id=nobody');
});
events.after(async () => void (await daemon.stop()));

events('each change of a definition is requested, then done or failed', async () => {
  const stream = await open();
  await daemon.network({ name: 'side', subnets: [{ subnet: '10.77.0.0/24' }] });
  await daemon.request('PATCH', '/v1/networks/side', { options: { mtu: '1400' } });
  await daemon.up('a', { networks: on('side') });
  await daemon.request('DELETE', '/v1/networks/side');
  await daemon.down('a');
  await daemon.request('DELETE', '/v1/networks/side');
  await until('the last event', () => words(stream.messages).at(-1) === 'network.remove side done');
  stream.close();
  assert.equal(
    words(stream.messages).filter((one) => !one.startsWith('firewall')),
    [
      'network.create side requested',
      'network.create side done',
      'network.update side requested',
      'network.update side done',
      'network side up',
      'network.remove side requested',
      'network.remove side failed',
      'network side down',
      'network.remove side requested',
      'network.remove side done',
    ],
  );
  const failed = stream.messages.find(({ event }) => event === 'failed')?.data;
  assert.is(failed?.type === 'failed' ? failed.fault.code : '', 'NETWORK_IN_USE');
});

events('a shared machine is told of when its state at rest changes, not when another container joins', async () => {
  await daemon.up('a', { networks: on('cleat') });
  const stream = await open();
  await daemon.up('b', { networks: on('cleat') });
  await daemon.down('b');
  await daemon.down('a');
  await until('the firewall is down', () => words(stream.messages).includes('firewall down'));
  stream.close();
  assert.equal(words(stream.messages), ['network cleat down', 'firewall down']);
});

events('a shared helper that others end is told of with the reason', async () => {
  await daemon.network({ name: 'named', subnets: [{ subnet: '10.78.0.0/24' }], dns_enabled: true });
  const stream = await open();
  await daemon.up('a', { networks: on('named') });
  const [pid = ''] = execFileSync('pgrep', ['-x', 'aardvark-dns'], { encoding: 'utf8' }).split('\n');
  process.kill(Number(pid), 'SIGKILL');
  await until('it is told', () =>
    words(stream.messages).some((word) => /^resolver (restarting|steadying)$/.test(word)),
  );
  stream.close();
  const told = stream.messages.flatMap(({ data }) => (data.type === 'machine' ? [data] : []));
  assert.equal(
    told.map(({ machine, to, fault }) => [machine, to, fault?.code ?? '']),
    [
      ['firewall', 'up', ''],
      ['network', 'up', ''],
      ['resolver', 'serving', ''],
      ['resolver', 'restarting', 'DNS_FAILED'],
    ],
  );
  await daemon.down('a');
  await daemon.request('DELETE', '/v1/networks/named');
});

events('an uplink begins and ends by its own name, and its end by others is drift', async () => {
  const stream = await open('?id=s');
  const path = pathOf(await daemon.up('s', { uplink: { program: 'slirp4netns' } }));
  execFileSync('nsenter', [`--net=${path}`, '--', 'ip', 'link', 'del', 'tap0']);
  await until('it is repaired', () => stream.messages.some(({ event }) => event === 'repaired'), 30_000);
  await daemon.down('s');
  await until('it is gone', () => stream.messages.some(({ data }) => data.type === 'state' && data.to === 'gone'));
  stream.close();
  assert.equal(words(stream.messages), ['uplink s ready', 'uplink s ready', 'uplink s stopped']);
  const kinds = stream.messages.map(({ event }) => event).filter((event) => event === 'drift' || event === 'repaired');
  assert.equal(kinds, ['drift', 'repaired']);
});

events('the process that carries ports is told of, when it runs and when it has ended', async () => {
  const stream = await open();
  await daemon.up('f', { networks: on('cleat'), port_mappings: [port(8080, 80)], port_handler: 'forwarder' });
  await until('it runs', () => words(stream.messages).includes('forwarder running'));
  await daemon.down('f');
  await until('it has ended', () => words(stream.messages).includes('forwarder ended'));
  stream.close();
  const pids = stream.messages.flatMap(({ data }) => (data.type === 'forwarder' ? [data.pid] : []));
  assert.is(new Set(pids).size, 1);
});

events('a client that comes back goes on where it was: nothing is missing, nothing comes twice', async () => {
  const whole = await open();
  await daemon.up('a', { networks: on('cleat') });
  const first = await open('', whole.messages[0]?.id ?? '');
  await until('the first has something', () => first.messages.length > 5);
  first.close();
  const last = first.last();
  await daemon.down('a');
  const second = await open('', last);
  const isGone = ({ messages }: Stream) => messages.some(({ data }) => data.type === 'state' && data.to === 'gone');
  await until('all have everything', () => isGone(whole) && isGone(second) && whole.last() === second.last());
  const ids = (messages: Message[]) => messages.map(({ id }) => numberOf(id));
  const all = ids(whole.messages).slice(1);
  assert.equal([...ids(first.messages), ...ids(second.messages)], all);
  assert.equal(
    all,
    all.map((_, i) => all[0]! + i),
  );
  whole.close();
  second.close();
});

events('a client of one container goes on from a sign of life, whatever has happened to others', async () => {
  const quiet = await open('?id=z');
  await daemon.up('a', { networks: {} });
  await daemon.down('a');
  const now = await open('?id=z', quiet.last());
  assert.equal(now.messages, []);
  assert.ok(numberOf(now.last()) > numberOf(quiet.last()));
  quiet.close();
  now.close();
});

events('who comes too late is told so, and gets all that is kept', async () => {
  const early = await open();
  const id = 'many';
  await daemon.up(id, { networks: {} });
  const lines = Array.from({ length: 2200 }, () => `${JSON.stringify({ type: 'configure', id })}\n`).join('');
  await daemon.request('POST', '/v1/events', lines, { 'content-type': 'application/x-ndjson' });
  await daemon.down(id);
  const first = early.messages[0]?.id ?? '';
  early.close();
  const late = await open('', first);
  await until('all that is kept', () => late.messages.length > 4096);
  late.close();
  const [missed, ...kept] = late.messages;
  assert.is(missed?.data.type === 'missed' ? `${missed.data.after} ${missed.data.why}` : '', `${first} too old`);
  assert.is(kept.length, 4096);
  assert.is(numberOf(kept[0]!.id), numberOf(missed!.id) + 1);
});

events('Last-Event-ID wins over since, as a browser sends both', async () => {
  const now = await open();
  const both = await open('?since=0', now.last());
  assert.equal(both.messages, []);
  now.close();
  both.close();
});

events('a line of NDJSON has the id that the same message of SSE has, and a reader goes on after it', async () => {
  await daemon.network({ name: 'lines' });
  const sse = await open('?since=0');
  const path = `/v1/events?since=0&until=${Date.now()}`;
  const read = async (headers: Record<string, string>): Promise<Notification[]> => {
    const { status, text } = await daemon.request('GET', path, undefined, headers);
    assert.is(status, 200);
    return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Notification]));
  };
  const lines = await read({});
  assert.ok(lines.length > 10);
  assert.equal(
    lines,
    sse.messages.map(({ id, data }) => ({ ...data, event_id: id })),
  );
  const last = lines[lines.length - 3]!.event_id ?? '';
  assert.equal(await read({ 'last-event-id': last }), lines.slice(-2));
  const [missed, ...kept] = await read({ 'last-event-id': `${'0'.repeat(16)}-1` });
  assert.is(missed?.type === 'missed' ? missed.why : '', 'restarted');
  assert.is(missed?.event_id, last.replace(/\d+$/, String(numberOf(lines[0]!.event_id ?? '') - 1)));
  assert.equal(kept, lines);
  sse.close();
});

events('what is no id of this stream is refused, and opens nothing', async () => {
  for (const last of ['7', 'x-1', '0123456789abcdef-', '0123456789abcdef-1x', `0123456789abcdef-${'1'.repeat(16)}`]) {
    const headers = { accept: 'text/event-stream', 'last-event-id': last };
    const { status, body } = await daemon.request('GET', '/v1/events', undefined, headers);
    assert.is(`${status} ${body.error?.code}`, '400 BAD_REQUEST', last);
  }
});

events('a stream without events has signs of life', async () => {
  await until('the second one', () => patient.beats() > 1, 20_000);
  assert.equal(patient.messages, []);
  patient.close();
});

events('the daemon tells that it stops, and the next one that it has started, with its configuration', async () => {
  await daemon.up('a', { networks: on('cleat') });
  const stream = await open();
  await daemon.stop();
  await until('it is over', stream.closed);
  const [stopping] = stream.messages.slice(-1);
  assert.ok(stopping?.data.type === 'daemon' && stopping.data.action === 'stopping');
  assert.is(stopping.data.why, 'SIGTERM');
  daemon.limits = ['connections=77'];
  await daemon.start();
  const next = await open('', stream.last());
  await until('it is told', () => words(next.messages).includes('daemon started'));
  const [missed] = next.messages;
  assert.is(missed?.data.type === 'missed' ? missed.data.why : '', 'restarted');
  const told = next.messages.flatMap(({ data }) => (data.type === 'daemon' && data.action === 'started' ? [data] : []));
  assert.is(told.length, 1);
  const [{ containers, configuration, pid }] = told as [(typeof told)[0]];
  assert.equal([containers, configuration.limits['connections'], pid], [1, 77, daemon.pid]);
  assert.ok(words(next.messages).includes('network cleat up'), 'what it found is told');
  next.close();
  await daemon.down('a');
});

events.run();

// slow: 60 s, the forwarder is built with sanitizers
/**
 * cleat-forwarder with ASan and UBSan, as any client of its socket uses it: requests from a grammar, nearly correct
 * ones and bytes that are none, in pieces, several in one, broken off, beside sessions that send nothing more.
 *
 * This must hold. Each line is answered by one line, in order. It accepts what the documentation of requests allows
 * (native/forwarder/control/request.h), and then has exactly the ports that it should. A refused request has changed nothing. A
 * port leads where the last request said. In the end it releases every descriptor, and exits with 0 and no leak.
 * Limits: one session at a time changes ports; test/native/forwarder.test.ts has connections meanwhile.
 */
// proving only: 3600
import type { Socket } from 'node:net';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { z } from 'zod';
import { processStartTime } from '../../native/index.ts';
import { dial } from '../harness/agent.ts';
import { container, endChildren, Forwarder } from '../harness/forward-world.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved, seed } from '../harness/proof.ts';
import { buildProgram, type Patch, reporting } from '../harness/sanitized.ts';

requirePrivateNamespace();

const SESSIONS = effort('sessions', 90, 6000);
/** The deadline of an answer: a request has four ports at most. */
const PATIENCE_MS = 10_000;
/** As many as there is room for, and one more. */
const SILENT = 17;

Object.assign(process.env, reporting('address', null, true));
const [a, b] = await Promise.all([container('a', 1), container('b', 2)]);

// --- What it is sent ----------------------------------------------------------------------------------------------

const OWNERS = ['a:1', 'b:1', 'c:99'];
const key = fc.record({
  owner: fc.constantFrom(...OWNERS),
  protocol: fc.constantFrom('tcp', 'udp'),
  host_ip: fc.constantFrom('0.0.0.0', '127.0.0.1', '127.0.0.2', '::', '::1', '192.0.2.77'),
  host_port: fc.constantFrom(7001, 7002, 7003, 7004),
});
const target = fc.constantFrom(a, b).chain(({ netns, v4, v6 }) =>
  fc.record({
    netns: fc.oneof(
      { weight: 12, arbitrary: fc.constant(netns.path) },
      fc.constantFrom('/absent', '/proc/self/ns/net'),
    ),
    dev: fc.constant(netns.dev),
    ino: fc.oneof({ weight: 12, arbitrary: fc.constant(netns.ino) }, fc.constantFrom(1, 0)),
    address: fc.constantFrom(v4, v6),
    container_port: fc.constantFrom(80, 81),
  }),
);
const addition = fc.tuple(key, target).map(([of, to]) => ({ ...of, ...to }));
/** Bound to a process that outlives the test, or to one that never existed. */
const lasting = { pid: process.pid, start_time: processStartTime(process.pid) };
const binding = fc.record({
  owner: fc.constantFrom(...OWNERS),
  to: fc.array(
    fc.constantFrom(
      lasting,
      lasting,
      { ...lasting, start_time: 1 },
      { ...lasting, exit: lasting },
      { exit: lasting },
      { exit: { ...lasting, fd: 0, dev: 1, ino: 1 } },
    ),
    { maxLength: 3 },
  ),
});
const change = fc.record(
  {
    op: fc.constant('change'),
    remove: fc.array(key, { maxLength: 4 }),
    add: fc.array(addition, { maxLength: 4 }),
    bound: fc.array(binding, { maxLength: 2 }),
  },
  { requiredKeys: ['op', 'remove', 'add'] },
);
/** Limits that are large enough for the connections here. */
const limits = fc.record(
  {
    op: fc.constant('limits'),
    connections: fc.integer({ min: 50, max: 1_000_000 }),
    flows: fc.integer({ min: 1, max: 1_000_000 }),
    flow_idle: fc.integer({ min: 1, max: 604_800 }),
    half_closed: fc.integer({ min: 60, max: 604_800 }),
  },
  { requiredKeys: ['op'] },
);
const asked = fc.oneof(
  { weight: 8, arbitrary: change },
  { weight: 2, arbitrary: fc.constantFrom({ op: 'list' }, { op: 'who' }) },
  { weight: 1, arbitrary: key.map(({ owner }) => ({ op: 'list', owner })) },
  { weight: 1, arbitrary: limits },
);

/** Changes one member somewhere in it to another value, or another name. */
const spoilt = fc
  .tuple(fc.oneof({ weight: 3, arbitrary: change }, limits), fc.nat(), fc.jsonValue(), fc.boolean())
  .map(([of, at, value, renamed]) => {
    const members = [...JSON.stringify(of).matchAll(/"(\w+)":("[^"]*"|\d+)/g)];
    const [text = '', name = ''] = members[at % members.length] ?? [];
    const other = renamed ? `"${name}x":0` : `"${name}":${JSON.stringify(value)}`;
    return JSON.stringify(of).replace(text, () => other);
  });
const word = fc.string({ unit: 'binary', maxLength: 12 });
const nearly = fc
  .tuple(asked, fc.nat(), word, fc.nat(3))
  .map(([of, at, insert, cut]) => {
    const text = JSON.stringify(of);
    const from = at % text.length;
    return text.slice(0, from) + insert + text.slice(from + cut);
  })
  .map((text) => text.replaceAll('\n', ' '));
const odd = fc.constantFrom(
  '['.repeat(5000),
  `{"op":"who","x":"${'y'.repeat(1 << 20)}"}`,
  '{"op":"who","op":"who"}',
  '{"op":"change","remove":[],"add":[],"add":[]}',
  '\0',
  '{"op":"change","remove":[],"add":{}}',
  '{"op":"change","remove":[],"add":[],"bound":[{"owner":"a:1","to":[],"to":[]}]}',
  '{"op":"change","remove":[],"add":[],"bound":[{"owner":"a:1","to":[{"pid":0,"start_time":1}]}]}',
  '{"op":"change","remove":[],"add":[],"bound":[{"owner":"a:1","to":[{"exit":{"pid":1,"start_time":1,"fd":1}}]}]}',
  '{"op":"change","remove":[],"add":[],"bound":[{"owner":"a:1","to":[{}]}]}',
  '{"op":"limits","flows":1,"flows":1}',
  '{"op":"limits","connections":0}',
  '{"op":"limits","flow_idle":604801}',
);
/** Only an unspoilt request has a known result. */
interface Line {
  text: string;
  right: boolean;
}
const right = asked.map((of): Line => ({ text: JSON.stringify(of), right: true }));
const wrong = fc.oneof(spoilt, nearly, fc.json(), odd).map((text): Line => ({ text, right: false }));
const session = fc.record({
  lines: fc.array(fc.oneof({ weight: 4, arbitrary: right }, wrong), { minLength: 1, maxLength: 5 }),
  /** Bytes that are sent at once. */
  piece: fc.oneof({ weight: 3, arbitrary: fc.constant(Infinity) }, fc.integer({ min: 20, max: 400 })),
  /** So many bytes of the last line are never sent. */
  short: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 40 })),
  /** Other sessions, which send something and nothing more. */
  silent: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: SILENT })),
});

// --- What it has to have ------------------------------------------------------------------------------------------

const Protocol = z.enum(['tcp', 'udp']);
const Port = z.int().min(1).max(65_535);
const Address = z.union([z.ipv4(), z.ipv6()]);
const Key = { owner: z.string().min(1), protocol: Protocol, host_ip: Address, host_port: Port };
const Removal = z.strictObject(Key);
const Addition = z.strictObject({
  ...Key,
  netns: z.string().startsWith('/'),
  dev: z.int().min(0),
  ino: z.int().min(0),
  address: Address,
  container_port: Port,
});
const Process = z.strictObject({ pid: z.int().min(1).max(0x7fffffff), start_time: z.int().min(0) });
const Pipe = Process.extend({ fd: z.int().min(0).max(0x7fffffff), dev: z.int().min(0), ino: z.int().min(0) });
const Exit = { exit: z.union([Process, Pipe]) };
const Tie = z.union([Process, Process.extend(Exit), z.strictObject(Exit)]);
const Binding = z.strictObject({ owner: Key.owner, to: z.array(Tie) });
const Limits = {
  connections: z.int().min(1).max(1_000_000).optional(),
  flows: z.int().min(1).max(1_000_000).optional(),
  flow_idle: z.int().min(1).max(604_800).optional(),
  half_closed: z.int().min(1).max(604_800).optional(),
};
const Request = z.union([
  z.strictObject({ op: z.enum(['who', 'list']) }),
  z.strictObject({ op: z.literal('list'), owner: Key.owner }),
  z.strictObject({ op: z.literal('limits'), ...Limits }),
  z.strictObject({
    op: z.literal('change'),
    remove: z.array(Removal),
    add: z.array(Addition),
    bound: z.array(Binding).optional(),
  }),
]);
type Request = z.infer<typeof Request>;
type Rule = z.infer<typeof Removal>;

const Answer = z.looseObject({
  ok: z.boolean(),
  pid: z.number().optional(),
  rules: z.union([z.number(), z.array(z.record(z.string(), z.unknown()))]).optional(),
  source_kept: z.array(z.boolean()).optional(),
  limits: z.strictObject(Limits).required().optional(),
  error: z.looseObject({ message: z.string().regex(/^\P{Cc}+$/u), errno: z.string().optional() }).optional(),
});
type Answer = z.infer<typeof Answer>;

const canonical = (ip: string): string => (ip.includes(':') ? new URL(`http://[${ip}]`).hostname.slice(1, -1) : ip);
const nameOf = ({ protocol, host_ip, host_port }: Rule): string => `${protocol} ${canonical(host_ip)} ${host_port}`;

const DEFAULTS = { connections: 16_384, flows: 8192, flow_idle: 120, half_closed: 240 };

/** Ports and their targets, according to the accepted requests. */
class Model {
  readonly #rules = new Map<string, z.infer<typeof Addition>>();
  /** Limits as last set; others are as in native/forwarder/budget.h. */
  limits = DEFAULTS;

  accept({ remove, add }: Extract<Request, { op: 'change' }>): void {
    const wanted = new Set(add.map(nameOf));
    for (const one of remove) {
      const name = nameOf(one);
      if (this.#rules.get(name)?.owner === one.owner && !wanted.has(name)) this.#rules.delete(name);
    }
    for (const one of add) this.#rules.set(nameOf(one), one);
  }

  /** Each port with its owner and target. */
  lines(rules: Iterable<z.infer<typeof Addition>> = this.#rules.values()): string[] {
    return [...rules]
      .map((one) => `${nameOf(one)} of ${one.owner} to ${canonical(one.address)} ${one.container_port} in ${one.ino}`)
      .sort();
  }

  /** Any port from which a greeting comes. */
  greets(): z.infer<typeof Addition> | undefined {
    return [...this.#rules.values()].find(
      ({ protocol, host_ip, container_port }) =>
        protocol === 'tcp' && container_port === 80 && ['0.0.0.0', '127.0.0.1', '::', '::1'].includes(host_ip),
    );
  }
}

// --- A session ----------------------------------------------------------------------------------------------------

/** The refusal of a line that is no request, which ends the session. */
const NO_REQUEST = /is missing|is no |no JSON|or there are other members/;

async function answersTo(forwarder: Forwarder, bytes: Buffer, piece: number, lines: number): Promise<string[]> {
  const socket = await forwarder.connect();
  let text = '';
  socket.setEncoding('utf8').on('error', () => {});
  const closed = new Promise((done) => socket.on('close', done));
  const timer = setTimeout(() => socket.destroy(new Error('late')), PATIENCE_MS);
  socket.on('data', (more: string) => {
    text += more;
    if (text.split('\n').length > lines) socket.end();
  });
  for (let at = 0; at < bytes.length && socket.writable; at += piece) {
    socket.write(bytes.subarray(at, Math.min(at + piece, bytes.length)));
    if (piece < bytes.length) await new Promise(setImmediate);
  }
  if (lines === 0) socket.end();
  await closed;
  clearTimeout(timer);
  assert.is(socket.errored?.message === 'late', false, `no answer to ${bytes.toString('latin1', 0, 500)}`);
  const answers = text.split('\n');
  assert.is(answers.pop(), '', 'each answer is a line');
  return answers;
}

function judge(line: Line, text: string, model: Model): Answer {
  const answer = Answer.parse(JSON.parse(text));
  let request: Request | undefined;
  try {
    request = Request.parse(JSON.parse(line.text));
  } catch {
    assert.is(answer.ok, false, 'what is no request is refused');
  }
  if (!answer.ok) {
    assert.ok(answer.error, 'a refusal says why');
    if (line.right)
      assert.not.match(answer.error?.message ?? '', /no JSON|op is missing|is no list|is no object|is no limit/);
    return answer;
  }
  if (request?.op === 'change') {
    assert.is(answer.source_kept?.length, request.add.length);
    model.accept(request);
  }
  if (request?.op === 'limits') {
    const { op: _, ...told } = request;
    model.limits = { ...DEFAULTS, ...(told as Partial<typeof DEFAULTS>) };
  }
  if (request?.op === 'list') assert.equal(answer.limits, model.limits, 'it has other limits than it accepted');
  if (request?.op === 'list' && 'owner' in request) {
    const { owner } = request;
    const rules = z.array(Addition.loose()).parse(answer.rules);
    const of = (lines: string[]) => lines.filter((text) => text.includes(` of ${owner} to `));
    assert.equal(model.lines(rules), of(model.lines()), 'it says of one owner what is not so');
  }
  return answer;
}

/** Returns true when an existing port was connected to. */
async function compare(forwarder: Forwarder, model: Model): Promise<boolean> {
  const rules = z.array(Addition.loose()).parse(await forwarder.rules());
  assert.equal(model.lines(rules), model.lines(), 'it has other ports than it accepted');
  const one = model.greets();
  if (one === undefined) return false;
  const greeting = await dial('tcp', one.host_ip.includes(':') ? '::1' : '127.0.0.1', one.host_port);
  assert.match(greeting, new RegExp(`^${one.ino === a.netns.ino ? 'a' : 'b'} `), JSON.stringify(one));
  return true;
}

/** Counts the requests that were answered, that were refused, and that found a greeting port, in so many sessions. */
async function explore(executable: string, numRuns: number) {
  const forwarder = await new Forwarder(['--idle', '600'], undefined, executable).started();
  const census = forwarder.descriptors();
  const model = new Model();
  const counts = { answered: 0, refused: 0, greeted: 0 };
  const property = fc.asyncProperty(session, async ({ lines, piece, short, silent }) => {
    const others: Socket[] = [];
    for (let i = 0; i < silent; i++) {
      const other = await forwarder.connect();
      other.on('error', () => {}).write('{"op":'.slice(0, i % 7));
      others.push(other);
    }
    const bytes = Buffer.from(lines.map(({ text }) => `${text}\n`).join(''));
    const whole = short > 0 ? lines.slice(0, -1) : lines;
    // At most the last line: the one before it has its answer.
    const cut = Math.min(short, Buffer.byteLength(lines.at(-1)?.text ?? '') + 1);
    const sent = bytes.subarray(0, bytes.length - cut);
    const answers = await answersTo(forwarder, sent, piece, whole.length);
    let over = false;
    for (const [i, text] of answers.entries()) {
      const line = whole[i];
      assert.ok(line, `an answer to nothing: ${text}`);
      const { ok, error } = judge(line, text, model);
      counts[ok ? 'answered' : 'refused']++;
      // After a line that is no request, the beginning of the next one is uncertain.
      if (NO_REQUEST.test(error?.message ?? '')) over = i + 1 === answers.length;
    }
    assert.ok(over || answers.length === whole.length, 'each line has an answer, and none but the last is no request');
    if (await compare(forwarder, model)) counts.greeted++;
    for (const other of others) other.destroy();
  });
  try {
    await fc.assert(property, { numRuns, seed: seed(), endOnFailure: true, includeErrorInReport: true });
    await forwarder.clear();
    await until('every descriptor is given back', () => forwarder.descriptors() === census);
    forwarder.child.kill('SIGTERM');
    assert.is(await forwarder.ended(), 0, 'nothing is leaked');
  } finally {
    forwarder.child.kill('SIGKILL');
  }
  return counts;
}

const fuzz = suite('forwarder');

fuzz('the forwarder carries exactly what it accepted, whatever it receives', async () => {
  const counts = await explore(await buildProgram('address', 'cleat-forwarder'), SESSIONS);
  assert.ok(Math.min(...Object.values(counts)) > SESSIONS / 10, JSON.stringify(counts));
  proved('requests to cleat-forwarder from a grammar, under ASan and UBSan', counts.answered + counts.refused);
});

const OTHER_PORTS = /other ports than it accepted|of one owner what is not so/;

/** Each planted mistake is found; otherwise the fuzzer would be worth little. */
const MISTAKES: Record<string, { patch: Patch; seen: RegExp }> = {
  'a port that leads where it led before': {
    patch: { source: 'native/forwarder/control/table.cc', from: 'if (!same) port.Lead(to);', to: '(void)same;' },
    seen: OTHER_PORTS,
  },
  'a port that anybody may take away': {
    patch: {
      source: 'native/forwarder/control/table.cc',
      from: 'port->second->route().owner() == removal.owner;',
      to: 'removal.owner != "";',
    },
    seen: OTHER_PORTS,
  },
  'a limit that stays when it is not told': {
    patch: {
      source: 'native/forwarder/control/table.cc',
      from: 'budget_->SetLimits(request.limits);',
      to: 'Limits limits = budget_->limits(); limits.flows = request.limits.flows; budget_->SetLimits(limits);',
    },
    seen: /other limits than it accepted/,
  },
  'a session that is never given back': {
    patch: {
      source: 'native/forwarder/control/control.cc',
      from: 'control_->engine_->Bury(std::unique_ptr<Worker>(this));',
      to: '',
    },
    seen: /nothing is leaked/,
  },
};

for (const [name, { patch, seen }] of Object.entries(MISTAKES).slice(0, effort('mistakes', 1, 10))) {
  fuzz(`${name} is noticed`, async () => {
    const error = await explore(await buildProgram('address', 'cleat-forwarder', patch), 150).then(() => null, String);
    assert.match(error ?? 'not noticed', seen, error ?? 'not noticed');
  });
}

fuzz.after(endChildren);

fuzz.run();

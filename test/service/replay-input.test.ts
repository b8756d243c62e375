/**
 * Files that are no exported journal, or no longer one: each is refused with a code and the line, nothing of it is executed, and
 * nothing of the process that reads it has changed afterwards.
 */
import { Readable } from 'node:stream';
import { build } from 'esbuild';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseJournal } from '../../service/replay/read.ts';
import { replay, type Replay } from '../../service/replay/replay.ts';
import { replayFile } from '../../service/replay/main.ts';
import { passages } from '../../service/records/passages.ts';
import { stage } from '../../service/replay/stand-ins.ts';
import type { JournalLine } from '../../state/answers/container/history.ts';
import { FaultError, type Fault } from '../../state/faults.ts';
import { VARIANTS } from '../harness/container-variants.ts';

const input = suite('input of replay');

const { input: created } = VARIANTS['own']!;
const HEADER = {
  journal: 1,
  cleat: '0.1.0',
  machine: '4',
  id: created.id,
  exported_at: 1,
  kernel: '6',
  node: 'v20',
  truncated: false,
};

/** The lines of a container that is created, and torn down. */
function life(): JournalLine[] {
  const lines: JournalLine[] = [];
  const record = passages((line) => void lines.push(typeof line === 'function' ? line() : line));
  record.starts({ input: created });
  const { actor, end } = stage({ input: created }, (event) => void record.of(event));
  actor.start();
  end('container', 'ensureNamespace', { output: { dev: 4, ino: 5 } });
  actor.send({ type: 'configure' });
  end('container', 'lease', { error: FaultError.of({ code: 'SUBNET_FULL', message: 'full' }) });
  actor.stop();
  return JSON.parse(JSON.stringify(lines)) as JournalLine[];
}
const LIFE = life();
const END = { kind: 'end', lines: LIFE.length };
const textOf = (...lines: unknown[]): string =>
  lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('');
const GOOD = textOf(HEADER, ...LIFE, END);

const run = async (text: string | Buffer, size = 1000): Promise<Replay> => {
  const bytes = Buffer.from(text as string);
  const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
    bytes.subarray(i * size, (i + 1) * size),
  );
  return replay(await parseJournal(Readable.from(chunks)));
};

async function refused(text: string | Buffer, size?: number): Promise<Fault> {
  try {
    await run(text, size);
  } catch (error) {
    if (error instanceof FaultError) return error.fault;
    throw error;
  }
  return assert.unreachable('it was accepted') as never;
}

input('a journal is the same whatever its chunks are, and with any line end', async () => {
  for (const size of [1, 7, 100_000]) {
    const { difference, transitions, cutOff, path } = await run(GOOD, size);
    assert.equal([difference, cutOff], [null, false]);
    assert.ok(transitions > 3);
    assert.is(path[0]?.to, 'creating');
  }
  assert.is((await run(GOOD.replaceAll('\n', '\r\n'))).difference, null);
});

const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
const CASES: [what: string, text: string, code: string, said: RegExp][] = [
  ['an empty file', '', 'NOT_A_JOURNAL', /the file is empty/],
  ['no JSON', 'hello\n', 'NOT_A_JOURNAL', /line 1 .*no JSON/],
  ['JSON of something else', '{"a":1}\n', 'NOT_A_JOURNAL', /line 1/],
  ['null', 'null\n', 'NOT_A_JOURNAL', /line 1/],
  ['a journal as it is on disk', textOf(...LIFE), 'NOT_A_JOURNAL', /line 1/],
  ['another format', textOf({ ...HEADER, journal: 2 }), 'JOURNAL_VERSION', /format 2 \(cleat 0\.1\.0\).*format 1/],
  ['another machine', textOf({ ...HEADER, machine: '9' }, END), 'JOURNAL_VERSION', /version 9/],
  ['a line that is no JSON', textOf(HEADER, '{"kind"', ...LIFE, END), 'NOT_A_JOURNAL', /line 2 .*no JSON/],
  ['a line of an unknown kind', textOf(HEADER, { kind: 'shell', t: 1 }, END), 'NOT_A_JOURNAL', /line 2/],
  ['a line without its members', textOf(HEADER, { kind: 'passage', t: 1 }, END), 'NOT_A_JOURNAL', /line 2 .*machine/],
  ['fewer lines than it says', textOf(HEADER, ...LIFE.slice(1), END), 'NOT_A_JOURNAL', /says that \d+ lines/],
  ['lines after the last', `${GOOD}{}\n`, 'NOT_A_JOURNAL', /after the last one/],
  ['deep nesting', textOf(HEADER, nested(100_000), END), 'NOT_A_JOURNAL', /line 2 .*nested/],
  [
    'a prototype',
    textOf(HEADER, '{"kind":"event","t":1,"event":"x","data":{"__proto__":{"polluted":1}}}', END),
    'NOT_A_JOURNAL',
    /line 2 .*__proto__/,
  ],
  [
    'a start of nothing',
    textOf(HEADER, { kind: 'start', t: 1, how: 'created', machine: '4' }, { kind: 'end', lines: 1 }),
    'NOT_A_JOURNAL',
    /line 2 is no start .*no input/,
  ],
  [
    'a start of another container',
    textOf({ ...HEADER, id: 'other' }, ...LIFE, END),
    'NOT_A_JOURNAL',
    /another container/,
  ],
  [
    'a start with an input that is none',
    textOf(HEADER, { kind: 'start', t: 1, how: 'created', machine: '4', input: { id: 1 } }, { kind: 'end', lines: 1 }),
    'NOT_A_JOURNAL',
    /line 2 is no start/,
  ],
  [
    'a snapshot that no machine continues from',
    textOf(
      HEADER,
      { kind: 'start', t: 1, how: 'restored', machine: '4', snapshot: { status: 'active', value: 'nowhere' } },
      { kind: 'end', lines: 1 },
    ),
    'NOT_A_JOURNAL',
    /line 2 .*cannot continue/,
  ],
];
for (const [what, text, code, said] of CASES) {
  input(`${what} is refused`, async () => {
    const fault = await refused(text);
    assert.is(fault.code, code);
    assert.match(fault.message, said);
    assert.is(({} as { polluted?: number }).polluted, undefined);
  });
}

input('a line or a file without end is refused before it is in memory', async () => {
  async function* endless(chunk: Buffer): AsyncGenerator<Buffer> {
    yield Buffer.from(textOf(HEADER));
    for (;;) yield await Promise.resolve(chunk);
  }
  const faultOf = (chunk: Buffer) =>
    parseJournal(endless(chunk)).then(
      () => 'it was accepted',
      (error) => (error as FaultError).fault.message,
    );
  assert.match(await faultOf(Buffer.alloc(1 << 20, 'x')), /line 2 .*longer than/);
  const note = { kind: 'note', t: 1, machine: 'container', event: 'drift', from: 'x'.repeat(1 << 20), to: '', ms: 0 };
  assert.match(await faultOf(Buffer.from(textOf(note))), /larger than/);
});

input('a file that is cut off, at whatever byte, is replayed as far as it goes, and said to be cut off', async () => {
  const bytes = Buffer.from(GOOD);
  const first = GOOD.indexOf('\n') + 1;
  for (let at = first; at < bytes.length; at += 101) {
    const { cutOff, difference } = await run(bytes.subarray(0, at));
    assert.equal([cutOff, difference], [true, null], `cut at ${at}`);
  }
  assert.is((await refused(bytes.subarray(0, 20))).code, 'NOT_A_JOURNAL');
});

input('a journal without any start, or after lines that were lost, has nothing to compare', async () => {
  const old = LIFE.filter(({ kind }) => kind === 'passage');
  const before = await run(textOf(HEADER, ...old, { kind: 'end', lines: old.length }));
  assert.equal([before.difference, before.transitions, before.skipped], [null, 0, old.length]);
  const lines = [...LIFE.slice(0, 2), { kind: 'gap', t: 1 }, ...LIFE.slice(4)];
  const after = await run(textOf(HEADER, ...lines, { kind: 'end', lines: lines.length }));
  assert.is(after.difference, null);
  assert.ok(after.skipped > 0);
});

input('an end of an effect that nobody waits for, and one change too few, are differences', async () => {
  const extra: JournalLine = { kind: 'effect', t: 1, machine: 'attachment', name: 'ensureLink', ms: 1 };
  const lines = [...LIFE, extra];
  const { difference } = await run(textOf(HEADER, ...lines, { kind: 'end', lines: lines.length }));
  assert.equal(difference, {
    line: lines.length + 1,
    expected: 'the end of ensureLink',
    got: 'attachment does not wait for ensureLink',
  });
  const fewer = LIFE.slice(0, -1);
  const short = await run(textOf(HEADER, ...fewer, { kind: 'end', lines: fewer.length }));
  assert.equal([short.difference?.line, short.difference?.expected], [null, 'nothing more']);
});

input('whatever a line is changed to, the end is an answer or a fault, and objects have no new members', async () => {
  const before = Object.getOwnPropertyNames(Object.prototype);
  await fc.assert(
    fc.asyncProperty(
      fc.nat(LIFE.length - 1),
      fc.oneof(
        fc.jsonValue(),
        fc.record({
          kind: fc.constant('event'),
          t: fc.nat(),
          event: TYPES,
          data: fc.record({ ports: fc.jsonValue() }),
        }),
        fc.record({
          kind: fc.constant('effect'),
          t: fc.nat(),
          machine: fc.constantFrom('container', 'attachment', '__proto__'),
          name: fc.constantFrom('ensureNamespace', 'lease', 'toString', 'attachment'),
          ms: fc.nat(),
          output: fc.jsonValue(),
        }),
      ),
      async (at, value) => {
        const lines = LIFE.map((line, i) => (i === at ? value : line));
        const text = textOf(HEADER, ...lines, END);
        try {
          await run(text);
        } catch (error) {
          if (!(error instanceof FaultError)) throw error;
        }
      },
    ),
    { numRuns: 300 },
  );
  assert.equal(Object.getOwnPropertyNames(Object.prototype), before);
});

const WORDS =
  'configure connect publish unpublish adjust lost yield teardown resume xstate.stop xstate.init ' +
  'xstate.done.actor.lease xstate.error.actor.lease __proto__ *';
const TYPES = fc.constantFrom(...WORDS.split(' '));

input('a file that cannot be read is a fault, too', async () => {
  const [absent, directory] = [await replayFile('/no/such/file'), await replayFile('/')];
  assert.equal([absent.replay, absent.fault?.code, absent.fault?.errno], [null, 'NOT_A_JOURNAL', 'ENOENT']);
  assert.equal([directory.replay, directory.fault?.errno], [null, 'EISDIR']);
});

input(
  'a replay loads nothing that acts: no effects, no addon, of the service what reads a journal and a snapshot',
  async () => {
    const entry = new URL('../../service/replay/main.js', import.meta.url).pathname;
    const { metafile } = await build({
      entryPoints: [entry],
      bundle: true,
      packages: 'external',
      format: 'esm',
      platform: 'node',
      write: false,
      metafile: true,
    });
    const folders = Object.keys(metafile.inputs).map(
      (file) => /(?<=dist\/)(?:service\/)?[^/]+/.exec(file)?.[0] ?? file,
    );
    assert.equal([...new Set(folders)].sort(), ['machines', 'plan', 'service/records', 'service/replay', 'state']);
  },
);

input.run();

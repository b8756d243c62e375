/**
 * A grammar of everything that cleat-keeper may meet: command lines, directories, programs, and events meanwhile; and
 * its documentation (native/keeper/keeper.cc), implemented once more without knowledge of its code.
 *
 * Limits: words of a command line are UTF-8. Programs stay in their process group, and write once to the descriptor
 * that reports that they are ready.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { z } from 'zod';

/** Everything of a test is below this directory. */
export const root = mkdtempSync(join(tmpdir(), 'keeper-'));
// The programs run as another user, and have to reach it.
for (const directory of [tmpdir(), root]) chmodSync(directory, 0o711);
/** A program that lasts so long must be ended: it does not end by itself in time. */
export const LASTING_MS = 8000;

// --- The command line -------------------------------------------------------------------------------------------------

// "@dir", "@pid" and "@start" stand for the directory of the run, and the process that it is bound to.
const NAMES = [
  '--directory',
  '--bound-pid',
  '--bound-start',
  '--bound-fd',
  '--exit-fd',
  '--ready-fd',
  '--ready-ms',
  '--user',
  '--netns-fd',
];
const random = fc
  .string({ unit: 'binary', maxLength: 12 })
  .map((text) => text.replaceAll('\0', '\x01').replace(/^\//, '')); // no path of the machine by chance
const numerals =
  '|0|1|2|3|4|9|10|04|+4| 4|4 |12x|-1|1e3|0x10|@pid|@start|@start1|2147483647|2147483648|9223372036854775807|9223372036854775808';
const numeral = fc.oneof(
  { weight: 2, arbitrary: fc.constantFrom(...numerals.split('|'), '9'.repeat(400)) },
  fc.constantFrom('0', '2', '10', '2147483648', '9223372036854775808'), // just beyond the limit
);
const words = fc.oneof(
  fc.constantFrom(...NAMES, '--', '-', '--help', '--ready-fd=4', '@dir', '/nonexistent', 'x'.repeat(70_000)),
  numeral,
  random,
);
const directory = fc.oneof(
  { weight: 30, arbitrary: fc.constant('@dir') },
  fc.constantFrom('@dir/', '@dir/.', '@dir/../d', '/@dir', '@dirx', '@dir\n', ' @dir', 'd', '.', '', '/proc'),
  fc.constantFrom('/dev/null', `@dir${'/x'.repeat(3000)}`, '@dir/\u001b[2J'),
);

const descriptor = fc.integer({ min: 3, max: 9 });
const limit = fc.constantFrom('1', '60', '300', '1000', '60000', '2147483647');
const maybe = <T>(arbitrary: fc.Arbitrary<T>, weight: number) =>
  fc.oneof({ weight, arbitrary }, { weight: 1, arbitrary: fc.constant(null) });

interface Options {
  exit: number | null;
  ready: number | null;
  words: string[];
}
const right: fc.Arbitrary<Options> = fc
  .record({
    at: directory,
    bound: maybe(fc.constant(['--bound-pid', '@pid', '--bound-start', '@start']), 1),
    // No other end: a file, or nothing at all.
    boundFd: fc.oneof({ weight: 9, arbitrary: fc.constant(null) }, descriptor),
    fds: fc.uniqueArray(descriptor, { minLength: 3, maxLength: 3 }),
    exit: fc.boolean(),
    ready: maybe(limit, 3),
    netns: fc.boolean(),
    order: fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6], { minLength: 7 }),
  })
  .map(({ at, bound, boundFd, fds: [one = 0, other = 0, third = 0], exit, ready, netns, order }) => {
    const groups = [
      ['--directory', at],
      bound ?? [],
      exit ? ['--exit-fd', `${one}`] : [],
      ready === null ? [] : ['--ready-fd', `${other}`, '--ready-ms', ready],
      netns ? ['--netns-fd', `${third}`] : [],
      ['--user', '96499:96498'],
      boundFd === null ? [] : ['--bound-fd', `${boundFd}`],
    ];
    const all = [...order.flatMap((i) => groups[i] ?? []), '--'];
    return { exit: exit ? one : null, ready: ready === null ? null : other, words: all };
  });

/** The positions of values. */
const valuesIn = (line: string[]): number[] => line.flatMap((word, i) => (word.startsWith('-') ? [] : [i]));

/** One word is dropped, doubled, replaced, inserted before or inside; or a value is changed. */
const spoil = fc
  .tuple(
    fc.constantFrom('drop', 'double', 'replace', 'value', 'value', 'insert', 'edit'),
    fc.nat(),
    words,
    numeral,
    fc.nat(80),
  )
  .map(([how, where, word, number, within]) => (before: string[]): string[] => {
    const places = how === 'value' ? valuesIn(before) : [...before.keys()];
    const at = places[where % places.length] ?? 0;
    const old = before[at] ?? '';
    const cut = within % (old.length + 1);
    const instead = {
      drop: [],
      double: [old, old],
      replace: [word],
      value: [number],
      insert: [word, old],
      edit: [old.slice(0, cut) + word.slice(0, 12) + old.slice(cut)],
    }[how];
    return before.toSpliced(at, 1, ...(instead ?? []));
  });
const options: fc.Arbitrary<Options> = fc.oneof(
  { weight: 3, arbitrary: right },
  fc
    .tuple(right, fc.array(spoil, { minLength: 1, maxLength: 2 }))
    .map(([of, how]) => ({ ...of, words: how.reduce((before, one) => one(before), of.words) })),
);

// --- Its directory ----------------------------------------------------------------------------------------------------

const fifo = (path: string): unknown => execFileSync('mkfifo', [path]);
/** Its state when the keeper starts. `outside` is a file that the keeper must not touch. */
export const PLACES: Record<string, (dir: string, outside: string) => void> = {
  right: () => {},
  missing: (dir) => rmSync(dir, { recursive: true }),
  file: (dir) => {
    rmSync(dir, { recursive: true });
    writeFileSync(dir, '');
  },
  symlink: (dir) => {
    renameSync(dir, `${dir}.target`);
    symlinkSync(`${dir}.target`, dir);
  },
  used: (dir) => writeFileSync(join(dir, 'used'), ''),
  'claimed by a file': (dir) => writeFileSync(join(dir, 'keeper'), '1 1\n'),
  'claimed by a link': (dir) => symlinkSync('/nonexistent', join(dir, 'keeper')),
  'claimed by a directory': (dir) => mkdirSync(join(dir, 'keeper')),
  'claimed by a fifo': (dir) => fifo(join(dir, 'keeper')),
  'status is a file': (dir) => writeFileSync(join(dir, 'status'), 'garbage'),
  'status is a link': (dir, outside) => symlinkSync(outside, join(dir, 'status')),
  'status is a fifo': (dir) => fifo(join(dir, 'status')),
  'status is a directory': (dir) => mkdirSync(join(dir, 'status')),
  'draft is a file': (dir) => writeFileSync(join(dir, 'status.new'), 'x'.repeat(10_000)),
  'draft is a link': (dir, outside) => symlinkSync(outside, join(dir, 'status.new')),
  'draft is a fifo': (dir) => fifo(join(dir, 'status.new')),
  'draft is a directory': (dir) => mkdirSync(join(dir, 'status.new')),
};
export const OBSTACLES = ['status is a directory', 'draft is a directory'];
const place = fc.record({
  name: fc.oneof(
    { weight: 3, arbitrary: fc.constant('right') },
    { weight: 1, arbitrary: fc.constantFrom(...Object.keys(PLACES)) },
  ),
  /** A file system of its own with little room. */
  room: fc.oneof(
    { weight: 12, arbitrary: fc.constant(null) },
    fc.record({ pages: fc.integer({ min: 1, max: 4 }), files: fc.integer({ min: 1, max: 6 }) }),
  ),
});

// --- The program ------------------------------------------------------------------------------------------------------

/**
 * The program's attempts on the keeper's directory, from its own in there, as another user; $2 is its name, $3 a file
 * outside.
 */
const DEEDS = {
  nothing: ':',
  litters: 'echo x > litter',
  forgets: 'rm -f ../keeper ../status',
  scribbles: 'echo garbage > ../status',
  links: 'rm -f ../status; ln -s "$3" ../status',
  pipes: 'rm -f ../status; mkfifo ../status',
  replaces: 'rm -f ../status; mkdir ../status',
  obstructs: 'mkdir ../status.new',
  misleads: 'ln -s "$3" ../status.new',
  delays: 'mkfifo ../status.new',
  moves: 'mv -T "$2" "$2.away"',
  removes: 'rm -rf "$2"',
};
type Deed = keyof typeof DEEDS;
const SAYS = {
  little: 'echo hello; echo there >&2',
  much: "head -c 1000000 /dev/zero | tr '\\0' x",
  bytes: 'head -c 6000 /dev/urandom; head -c 3000 /dev/urandom >&2',
};
/** Its reaction to SIGTERM; one that ignores it notices the end by its descriptor alone. */
const TRAPS = { dies: ':', ignores: "trap '' TERM", obeys: "trap 'exit 21' TERM", listens: "trap '' TERM" };

const behaviour = fc.record({
  term: fc.constantFrom(...(Object.keys(TRAPS) as (keyof typeof TRAPS)[])),
  children: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 3 })),
  says: fc.constantFrom(...(Object.keys(SAYS) as (keyof typeof SAYS)[])),
  deed: fc.oneof(
    { weight: 2, arbitrary: fc.constant('nothing' as const) },
    fc.constantFrom(...(Object.keys(DEEDS) as Deed[])),
  ),
  ready: fc.constantFrom('at once', 'late', 'never', 'closes', 'at length'),
  lasts: fc.constantFrom(0, 50, 250, LASTING_MS, LASTING_MS),
  /** How it ends by itself. */
  end: fc.constantFrom({ code: 0 }, { code: 3 }, { code: 255 }, { signal: 9 }, { signal: 10 }),
});
type Behaviour = typeof behaviour extends fc.Arbitrary<infer T> ? T : never;
export const LATE_MS = 150;
export const isReadied = ({ ready }: Behaviour): boolean => !['never', 'closes'].includes(ready);

/** $1 is the file for its identity, and its descriptors. */
export function scriptOf(how: Behaviour, { exit, ready }: Options): string {
  const fd = ready ?? 9;
  const words = {
    'at once': `echo 1 >&${fd}`,
    late: `sleep ${LATE_MS / 1000}; echo 1 >&${fd}`,
    never: ':',
    closes: `exec ${fd}>&-`,
    'at length': `head -c 200000 /dev/zero >&${fd}`,
  };
  const seconds = how.lasts / 1000;
  const wait = how.term === 'obeys' ? `sleep ${seconds} & wait $!` : `sleep ${seconds}`;
  return [
    TRAPS[how.term],
    'ls /proc/$$/fd > "$1.fds"',
    'echo $$ > "$1"',
    ...Array.from({ length: how.children }, () => `(trap '' TERM; sleep 9) &`),
    SAYS[how.says],
    DEEDS[how.deed],
    words[how.ready],
    how.lasts > 0 ? wait : ':',
    how.term === 'listens' ? `read _ <&${exit ?? 9}` : ':',
    'echo bye',
    'signal' in how.end ? `kill -${how.end.signal} $$` : `exit ${how.end.code}`,
  ].join('\n');
}

/** Files that cannot be executed, below the root of the test; and invalid paths. */
const NO_PROGRAMS = { plain: '', unmarked: 'exit 0\n', broken: '#!/nonexistent\n' };
for (const [name, text] of Object.entries(NO_PROGRAMS)) {
  writeFileSync(join(root, name), text, { mode: name === 'plain' ? 0o644 : 0o755 });
}
const noProgram = fc.oneof(
  fc.constantFrom(...Object.keys(NO_PROGRAMS)).map((name) => [join(root, name), 'word']),
  fc.constantFrom([], [''], ['true'], ['--', '/bin/true'], ['/nonexistent'], ['/dev/null'], ['@dir'], ['/bin/sh/x']),
  fc.constantFrom([`/${'x'.repeat(5000)}`], ['/nonexistent', 'x'.repeat(100_000), '']),
);

// --- What happens meanwhile -------------------------------------------------------------------------------------------

export const SIGNALS = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGKILL'] as const;
export type Signal = (typeof SIGNALS)[number];
const event = fc.record({
  what: fc.constantFrom('nothing', 'bound', 'bound', 'SIGTERM', ...SIGNALS, 'moved', 'removed', 'replaced'),
  /** After its start, or after the program's first act; before all of it. */
  since: fc.constantFrom('started', 'run', 'before'),
  after: fc.oneof(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 400 })),
});

export const attempt = fc.record({
  options,
  place,
  how: behaviour,
  /** Instead of the script. */
  other: fc.oneof({ weight: 9, arbitrary: fc.constant(null) }, noProgram),
  event,
  /** The descriptors among stdin, stdout and stderr that the keeper does not get. */
  closed: fc.oneof({ weight: 6, arbitrary: fc.constant<number[]>([]) }, fc.subarray([0, 1, 2])),
  /** The number of its descriptors: it gets seven, and the loader runs before it. */
  files: fc.oneof({ weight: 9, arbitrary: fc.constant(null) }, fc.integer({ min: 9, max: 40 })),
});
export type Attempt = typeof attempt extends fc.Arbitrary<infer T> ? T : never;

// --- What is documented -----------------------------------------------------------------------------------------------

const within = (least: bigint, most: bigint) => (text: string) =>
  /^\d+$/.test(text) && BigInt(text) >= least && BigInt(text) <= most;
const VALUES = new Map<string, (text: string) => boolean>([
  ['--directory', (text) => text.startsWith('/')],
  ['--bound-pid', within(1n, 2n ** 31n - 1n)],
  ['--bound-start', within(0n, 2n ** 63n - 1n)],
  ['--user', (text) => text.split(':').length === 2 && text.split(':').every(within(1n, 2n ** 31n - 1n))],
  ['--bound-fd', within(3n, 9n)],
  ['--netns-fd', within(3n, 9n)],
  ['--exit-fd', within(3n, 9n)],
  ['--ready-fd', within(3n, 9n)],
  ['--ready-ms', within(1n, 2n ** 31n - 1n)],
]);

export interface Line {
  /** `open`: the usage does not decide it. */
  verdict: 'right' | 'wrong' | 'open';
  value: (name: string) => string | null;
  program: string[];
}

/** The usage of keeper.cc, implemented independently. */
export function understand(line: string[]): Line {
  const given = new Map<string, string>();
  const rest = [...line];
  let verdict: Line['verdict'] = 'right';
  while (rest.length > 0 && rest[0] !== '--') {
    const name = rest.shift() ?? '';
    const value = rest.shift();
    if (value === undefined || !VALUES.get(name)?.(value)) verdict = 'wrong';
    if (given.has(name) && verdict === 'right') verdict = 'open';
    given.set(name, value ?? '');
  }
  const program = rest.slice(1);
  const value = (name: string): string | null => given.get(name) ?? null;
  const number = (name: string): number => Number(value(name) ?? -1);
  for (const [one, other] of [
    ['--bound-pid', '--bound-start'],
    ['--ready-ms', '--ready-fd'],
  ] as const) {
    if (given.has(one) !== given.has(other)) verdict = 'wrong';
  }
  const numbers = ['--ready-fd', '--exit-fd', '--netns-fd'].filter((name) => given.has(name)).map(number);
  if (new Set(numbers).size < numbers.length) verdict = 'wrong';
  if (!given.has('--user') || !given.has('--directory') || !program[0]?.startsWith('/')) verdict = 'wrong';
  return { verdict, value, program };
}

const Process = z.strictObject({ pid: z.int().min(1), startTime: z.int().min(0) });
export const Status = z.strictObject({
  state: z.enum(['starting', 'ready', 'ended']),
  keeper: Process,
  child: Process.nullable(),
  log: z.int().min(0).nullable(),
  readyMs: z.int().min(0).nullable(),
  code: z.int().min(0).max(255).nullable(),
  signal: z.int().min(1).max(64).nullable(),
  cause: z.enum(['', 'deadline', 'bound', 'told']),
  error: z.string(),
  output: z
    .string()
    .max(4096)
    .regex(/^[\n\t -~]*$/),
});
export type Status = z.infer<typeof Status>;

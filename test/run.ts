/**
 * Runs the tests strictly: uvu alone reports success for a suite that threw, was skipped or never ran.
 *
 * Guarantees: each test file is one process, in network, mount, pid, IPC and time namespaces of its own, with an uptime of
 * years, and with a /run, /sys, /dev and $TMPDIR of its own. So no test can touch the machine, see another test, or leave a process
 * behind. A file passes only if it exited with 0, uvu reported once, and passed = total > 0 with none skipped. The source tree
 * decides what runs: a compiled test without a source is not run, a source that is not compiled is a failure. The last line is
 * `N passed, N failed`, counted in tests; a file that breaks the rules counts as at least one failure. Before it stand the files
 * that took the most processor time.
 * Limits: needs root, util-linux and iproute2. Disk and cgroups are the machine's, so a test must remove its files and cgroups.
 * No network.
 *
 * Usage: node dist/test/run.js [--prove] [--output] [--dir DIRECTORY] [--patience N] [SUBSTRING...] [NAME=NUMBER...]
 *   SUBSTRING   only files whose path contains one of them
 *   --prove     the long runs: only the files that say `proving`, and a table of the attempts that they report
 *               (test/harness/proof.ts)
 *   --as-user   only the runs as an ordinary user, of every file that has one
 *   --output    also print the output of files that pass
 *   NAME=NUMBER how much of NAME to try (cycles=1000) instead of the default
 *   --dir       the directory of the tests instead of test/ (for the runner's own tests)
 *   --patience  files may take N times as long as they say (under a sanitizer)
 *   --retry     a file that failed runs once more, alone, after all others; if more than N failed, none does. The second result
 *               counts, and the files that needed it are named before the verdict (docs/decisions/0049)
 * A test file can set these in a comment before its first import: `timeout: 600` (seconds, default 300; far more than the test
 * takes, because the machine may have other work), `proving: 3600` (the timeout with --prove), `proving only: 3600` (without
 * --prove, the file runs only if a SUBSTRING names it), `alone` (no other test runs at the same time), `as user: every day` or
 * `as user: proving` (the file runs once more as an ordinary user, always or only with --prove: test/harness/as-user.ts).
 */
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { table } from '../cli/table.ts';
import { bundlePrograms } from '../scripts/bundle.ts';
import { bundleInspector } from '../scripts/bundle-inspector.ts';
import { withSources } from './runner/stacks.ts';

const DEFAULT_TIMEOUT_S = 600;
/** A test file that takes longer has to say why. */
const SLOW_S = 20;
/** A process that has reported its tests ends in this time. What a failed test has left running would keep it until the timeout. */
const ENDING_S = 30;
/** So many of the files that take the most processor time are named at the end: they are what all runs wait for. */
const COSTLY = 10;
/** More than the report at the end of an output has, in characters. */
const REPORT_LENGTH = 500;
/** What the head of a test file may say, and a value. */
const WORDS = /^\/\/ (timeout|proving|proving only|as user): *(.*?) *$/gm;
/** Behind the name of a file that runs as an ordinary user. */
const AS_USER = ', as a user';
const USER_SCRIPT = join(import.meta.dirname, 'harness/as-user.js');
const NODE_FLAGS = ['--conditions=development', '--unhandled-rejections=strict'];

/** 3 years: code that counts clock ticks since the boot has to count beyond 2^32 (time_namespaces(7)). */
const UPTIME_S = 100_000_000;

/**
 * Debian's, behind this Node: a session's PATH may lead through version managers, which make python3 ten times as slow
 * to start.
 */
const PATH = [dirname(process.execPath), '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'].join(':');

/**
 * Devices that every machine has, with their modes: the owner and the mode of a device belong to the device, and crun gives /dev/null to
 * a container's user. All who use the machine would feel it. They are made once, and each test has a copy.
 */
const DEVICES = [
  'null 666 c 1 3',
  'zero 666 c 1 5',
  'full 666 c 1 7',
  'random 666 c 1 8',
  'urandom 666 c 1 9',
  'tty 666 c 5 0',
  'net/tun 600 c 10 200',
];
const LINKS = { ptmx: 'pts/ptmx', fd: '/proc/self/fd', stdin: 'fd/0', stdout: 'fd/1', stderr: 'fd/2' };

/**
 * Commands of the shell inside the new namespaces before the test starts; few, because each is a process, and hundreds of files begin with
 * them. /sys is mounted again because it shows the network namespace of the process that mounted it, with cgroup v2 alone below it:
 * crun refuses a machine that mixes v1 and v2. The shell stays pid 1: it collects orphans, and when it ends the kernel ends everything
 * else that was started.
 */
const PRELUDE = `
set -e
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /dev
cp -a "$1"/. /dev
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts /dev/pts
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 1777 /run/lock
ip link set lo up
set +e
shift
"$@"
code=$?
times >"$TMPDIR/times"
exit $code
`;

interface TestFile {
  name: string;
  source: string;
  script: string;
  timeoutS: number;
  /** The time that the file itself states, in seconds; 0 if it states none. */
  slowS: number;
  /** The timeout with --prove; undefined when the file has nothing to prove. */
  provingS: number | undefined;
  /** True if it also runs without --prove. */
  everyday: boolean;
  alone: boolean;
  /** When it runs once more as an ordinary user, if ever. */
  user: 'every day' | 'proving' | undefined;
  /** True: this is that run. */
  asUser: boolean;
}

interface Outcome {
  passed: number;
  failed: number;
  problem: string | undefined;
  output: string;
  seconds: number;
  /** Processor time, in seconds; 0 if the file was ended from outside. */
  cpuS: number;
}

const { values, positionals } = parseArgs({
  options: {
    dir: { type: 'string' },
    prove: { type: 'boolean', default: false },
    'as-user': { type: 'boolean', default: false },
    output: { type: 'boolean', default: false },
    patience: { type: 'string', default: '1' },
    retry: { type: 'string', default: '0' },
  },
  allowPositionals: true,
});
const patience = Number(values.patience);
if (!(patience > 0)) throw new Error(`--patience ${values.patience} is not a number above 0`);
/** Twice the processors, because tests spend half of the time waiting. */
const atOnce = 2 * availableParallelism();
const amounts = positionals.filter((text) => text.includes('='));
const wanted = positionals.filter((text) => !text.includes('='));
const proofs: { file: string; count: string; what: string; outcome: Outcome }[] = [];
const root = resolve(import.meta.dirname, '../..');
const directory = resolve(values.dir ?? join(root, 'test'));
const running = new Set<() => void>();
/** Has what /dev is to have, when the first test starts. */
const devices = join(tmpdir(), `cleat-dev-${process.pid}`);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    for (const kill of running) kill();
    if (!values.prove) process.exit(1);
    // The results so far took hours.
    void tabulate().then((text) => {
      console.log(`\nended by ${signal}\n\n${text}`);
      process.exit(1);
    });
  });
}

const files = findFiles()
  .filter(({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)))
  .flatMap(runsOf);
const width = Math.max(...files.map(({ name }) => name.length), 0);
const unexplained: string[] = [];
const costs: { name: string; cpuS: number }[] = [];
const failures: { file: TestFile; outcome: Outcome }[] = [];
let passed = 0;
let failed = 0;

if (process.getuid?.() !== 0) {
  console.log('the tests need root: each file runs in namespaces of its own');
  failed = 1;
} else if (files.length === 0) {
  console.log(`no test file in ${directory}${wanted.length > 0 ? ` matches ${wanted.join(' ')}` : ''}`);
  failed = 1;
} else {
  await bundlePrograms();
  await bundleInspector();
  makeDevices();
  // The longest file begins first, so that it does not run alone at the end.
  const length = ({ slowS, timeoutS }: TestFile): number => (values.prove ? timeoutS : slowS);
  const queue = files.filter(({ alone }) => !alone).sort((a, b) => length(b) - length(a));
  const worker = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) report(file, await runFile(file));
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  for (const file of files.filter(({ alone }) => alone)) report(file, await runFile(file));
  await retry();
}
if (!values.prove && files.length > COSTLY) console.log(`\n${mostCostly()}\n`);
if (values.prove) console.log(`\n${await tabulate()}\n`);
else if (unexplained.length > 0)
  console.log(`took longer than ${SLOW_S} s and do not say why: ${unexplained.join(' ')}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

function makeDevices(): void {
  process.on('exit', () => rmSync(devices, { recursive: true, force: true }));
  for (const folder of ['', 'net', 'pts', 'shm']) mkdirSync(join(devices, folder));
  for (const line of DEVICES) {
    const [name = '', mode = '', ...type] = line.split(' ');
    execFileSync('mknod', ['-m', mode, join(devices, name), ...type]);
  }
  for (const [name, target] of Object.entries(LINKS)) symlinkSync(target, join(devices, name));
  for (const folder of ['', 'net', 'pts']) chmodSync(join(devices, folder), 0o755);
  chmodSync(join(devices, 'shm'), 0o1777);
}

function mostCostly(): string {
  const sum = costs.reduce((seconds, { cpuS }) => seconds + cpuS, 0);
  const most = costs.sort((a, b) => b.cpuS - a.cpuS).slice(0, COSTLY);
  const rows = most.map(({ name, cpuS }) => `  ${cpuS.toFixed(0).padStart(5)} s  ${name}`);
  return [`the most of ${sum.toFixed(0)} s of processor time:`, ...rows].join('\n');
}

/** Runs the failed files again, alone, if chance or the load of the machine may be the reason: if only a few failed. */
async function retry(): Promise<void> {
  const again = failures.splice(0);
  if (again.length === 0 || again.length > Number(values.retry)) return;
  console.log(`\n${again.length} failed beside others, and run again alone`);
  for (const { file, outcome } of again) {
    passed -= outcome.passed;
    failed -= outcome.failed;
    report(file, await runFile(file));
  }
  const passing = again.filter(({ file }) => failures.every((failure) => failure.file !== file));
  if (passing.length > 0)
    console.log(`failed once, then passed alone: ${passing.map(({ file }) => file.name).join(' ')}`);
}

/** The runs of a file: as root, as an ordinary user, or both. */
function runsOf(file: TestFile): TestFile[] {
  const { provingS, everyday, user } = file;
  const asRoot = !values['as-user'] && (values.prove ? provingS !== undefined : everyday || wanted.length > 0);
  const asUser = user !== undefined && (values.prove || values['as-user'] || user === 'every day');
  const second = { ...file, name: `${file.name}${AS_USER}`, asUser };
  return [...(asRoot ? [file] : []), ...(asUser ? [second] : [])];
}

function findFiles(): TestFile[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.test\.(ts|mjs)$/.test(entry.name))
    .map((entry) => describe(join(entry.parentPath, entry.name)))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function headOf(source: string): string {
  return source.split(/^import\b/m, 1)[0] ?? '';
}

function describe(path: string): TestFile {
  const source = readFileSync(path, 'utf8');
  const head = headOf(source);
  const seconds = (word: string): number | undefined => {
    const text = new RegExp(`^[\\s/*]*${word}:\\s*(\\d+)\\s*$`, 'm').exec(head)?.[1];
    return text === undefined ? undefined : Number(text);
  };
  const slowS = Number(/^[\s/*]*slow: (\d+) s, \S/m.exec(head)?.[1] ?? 0);
  const provingOnlyS = seconds('proving only');
  const provingS = seconds('proving') ?? provingOnlyS;
  const compiled = join(root, 'dist', relative(root, path).replace(/\.ts$/, '.js'));
  return {
    name: relative(directory, path),
    source,
    script: path.endsWith('.ts') ? compiled : path,
    slowS,
    timeoutS: ((values.prove ? provingS : (seconds('timeout') ?? provingOnlyS)) ?? DEFAULT_TIMEOUT_S) * patience,
    provingS,
    everyday: provingOnlyS === undefined,
    alone: /^[\s/*]*alone\b/m.test(head),
    user: /^[\s/*]*as user: (every day|proving)$/m.exec(head)?.[1] as TestFile['user'],
    asUser: false,
  };
}

async function runFile(file: TestFile): Promise<Outcome> {
  const started = performance.now();
  let cpuS = 0;
  const end = (output: string, problem: string | undefined, counts = { passed: 0, total: 0 }): Outcome => {
    const short = counts.total - counts.passed;
    const failures = problem === undefined ? short : Math.max(short, 1);
    const seconds = (performance.now() - started) / 1000;
    return { passed: counts.passed, failed: failures, problem, output, seconds, cpuS };
  };
  const careless = carelessness(file);
  if (careless !== undefined) return end('', careless);
  if (!existsSync(file.script)) return end('', `is not compiled: ${relative(root, file.script)} is missing`);

  const { output, code, overdue, ...spent } = await spawnIsolated(file);
  cpuS = spent.cpuS;
  const counts = readCounts(output);
  if (overdue !== undefined) return end(output, overdue, counts);
  if (code !== 0) return end(output, `ended with ${code}`, counts);
  if (counts === undefined) return end(output, 'no report from uvu, or more than one (suites run after an await?)');
  if (counts.skipped > 0)
    return end(output, `skips ${counts.skipped}`, { ...counts, total: counts.total + counts.skipped });
  if (counts.total === 0) return end(output, 'ran no test: is .run() missing?', counts);
  if (counts.passed !== counts.total) return end(output, 'a hook or a test threw what uvu swallows', counts);
  return end(output, undefined, counts);
}

function means(word: string, value: string): boolean {
  return (word === 'as user' ? /^(every day|proving)$/ : /^\d+$/).test(value);
}

/**
 * Finds a word in the head that means nothing and would be as if it were not there; and a suite whose run() was forgotten: uvu reports
 * nothing about it as long as another one in the file ran.
 */
function carelessness({ source, timeoutS, slowS, everyday }: TestFile): string | undefined {
  const patient = !values.prove && everyday && timeoutS > DEFAULT_TIMEOUT_S * patience;
  if ((patient || /^\/\/ slow:/m.test(source)) && slowS === 0) {
    return 'may take longer than others and does not say why: slow: SECONDS s, REASON';
  }
  for (const [line, word = '', value = ''] of headOf(source).matchAll(WORDS))
    if (!means(word, value)) return `says "${line}", and that means nothing (test/run.ts)`;
  const suites = [...source.matchAll(/^(?:const|let)\s+(\w+)\s*=\s*suite\s*[(<]/gm)].map((match) => match[1] ?? '');
  if (/^test\(/m.test(source)) suites.push('test');
  const forgotten = suites.find((name) => !new RegExp(`^\\s*${name}\\.run\\(`, 'm').test(source));
  return forgotten === undefined ? undefined : `never calls ${forgotten}.run()`;
}

/** Returns the totals of uvu's report; undefined unless there is exactly one. */
function readCounts(output: string): { passed: number; total: number; skipped: number } | undefined {
  const reports = [...output.matchAll(/^  Total: +(\d+)\n  Passed: +(\d+)\n  Skipped: +(\d+)\n  Duration: /gm)];
  const [first] = reports;
  if (first === undefined || reports.length > 1) return undefined;
  return { total: Number(first[1]), passed: Number(first[2]), skipped: Number(first[3]) };
}

async function spawnIsolated(
  file: TestFile,
): Promise<{ output: string; code: string | number; overdue: string | undefined; cpuS: number }> {
  const scratch = mkdtempSync(join(tmpdir(), 'cleat-'));
  const clock = ['--time', '--boottime', `${UPTIME_S}`];
  const isolate = [
    'unshare',
    '--net',
    '--mount',
    '--pid',
    '--ipc',
    '--mount-proc',
    '--propagation',
    'private',
    ...clock,
  ];
  const script = file.asUser ? [USER_SCRIPT, file.script] : [file.script];
  const command = ['sh', '-c', PRELUDE, 'prelude', devices, process.execPath, ...NODE_FLAGS, ...script];
  // The death signal ends the test even if the runner itself is killed.
  const argv = ['--pdeathsig', 'KILL', ...isolate, '--fork', '--kill-child', '--', ...command];
  const child = spawn('setpriv', argv, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], env: environment(scratch) });
  const kill = (): void => void child.kill('SIGKILL');
  running.add(kill);
  let output = '';
  let overdue: string | undefined;
  const endAfter = (seconds: number, problem: string) =>
    setTimeout(() => {
      overdue = problem;
      kill();
    }, seconds * 1000);
  const timer = endAfter(file.timeoutS, `not finished after ${file.timeoutS} s`);
  let ending: NodeJS.Timeout | undefined;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (readCounts(output.slice(-REPORT_LENGTH)) !== undefined)
        ending ??= endAfter(ENDING_S * patience, `did not end within ${ENDING_S} s after its last test`);
    });
  }
  try {
    const code = await new Promise<string | number>((settle) => {
      child.on('error', (error) => settle(`no start: ${error.message}`));
      child.on('close', (status, signal) => settle(status ?? signal ?? 'nothing'));
    });
    return { output, code, overdue, cpuS: readTimes(join(scratch, 'times')) };
  } finally {
    clearTimeout(timer);
    clearTimeout(ending);
    running.delete(kill);
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Returns the seconds in what the shell's `times` prints: the user's and the system's, of itself and of what it waited for. */
function readTimes(path: string): number {
  if (!existsSync(path)) return 0;
  const times = readFileSync(path, 'utf8').matchAll(/(\d+)m([\d.]+)s/g);
  return [...times].reduce((sum, [, minutes, seconds]) => sum + 60 * Number(minutes) + Number(seconds), 0);
}

function environment(scratch: string): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...process.env, PATH, TMPDIR: scratch, HOME: scratch, NO_COLOR: '1' };
  // uvu's report is parsed, and settings of npm or of a session must not change what a test sees.
  for (const key of Object.keys(env)) {
    if (/^(FORCE_COLOR|NODE_OPTIONS|XDG_|npm_|CLEAT_PROVE)/.test(key)) delete env[key];
  }
  if (values.prove) env['CLEAT_PROVE'] = '1';
  for (const [name = '', amount] of amounts.map((text) => text.split('='))) env[`CLEAT_PROVE_${name}`] = amount;
  return env;
}

function report(file: TestFile, outcome: Outcome): void {
  passed += outcome.passed;
  failed += outcome.failed;
  if (outcome.seconds > SLOW_S && file.slowS === 0) unexplained.push(file.name);
  costs.push({ name: file.name, cpuS: outcome.cpuS });
  if (outcome.failed > 0) failures.push({ file, outcome });
  const verdict = outcome.failed === 0 ? 'ok  ' : 'FAIL';
  const seconds = `${outcome.seconds.toFixed(1)} s`;
  console.log(
    `${verdict} ${file.name.padEnd(width)} ${String(outcome.passed).padStart(4)} passed ${seconds.padStart(8)}`,
  );
  for (const [, count = '', what = ''] of outcome.output.matchAll(/^proved (\d+) (.*)$/gm)) {
    proofs.push({ file: file.name, count, what, outcome });
  }
  if (values.prove && !proofs.some(({ file: of }) => of === file.name)) {
    // A file that tries no number of anything counts by its tests.
    const whole = outcome.failed === 0 || (file.asUser && file.provingS === undefined && outcome.passed > 0);
    const tests = file.asUser ? 'tests as an ordinary user' : 'tests';
    const said = whole ? { count: String(outcome.passed), what: tests } : { count: '-', what: 'ended before it said' };
    proofs.push({ file: file.name, ...said, outcome });
  }
  if (outcome.failed === 0 && !values.output) return;
  const text = outcome.failed === 0 ? outcome.output : withSources(outcome.output, join(root, 'dist'));
  if (text !== '') console.log(text.replace(/^/gm, '  | '));
  if (outcome.failed > 0) console.log(`  ${file.name} ${outcome.problem ?? 'failed'}`);
}

/** The table of what was tried, how many, what failed: one row for each report of a file. */
async function tabulate(): Promise<string> {
  const rows = proofs.map(({ file, count, what, outcome }) => {
    return [what, count, String(outcome.failed), outcome.seconds.toFixed(0), file];
  });
  return (await table(['TRIED', 'HOW MANY', 'FAILED', 'SECONDS', 'FILE'], rows)).join('\n');
}

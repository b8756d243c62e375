// slow: 20 s, the keeper waits for programs that do not end
/**
 * cleat-keeper, in npm run prove with ASan and UBSan, started in every wrong way: nearly correct command lines, directories that are not
 * as they should be, programs that are stubborn, noisy or destructive, few descriptors, and signals, the end of the
 * bound process and the loss of the directory at any moment.
 *
 * This must hold. It ends with a documented code (native/keeper/keeper.cc), with the usage code exactly when the line
 * is wrong. If it did not start the program, the program never ran, and it says why. If it did, the program has the
 * intended descriptors, gets its grace and no more, and nothing of its process group is left. The status says how the
 * program ended, and is whole whenever it is read. No file is left or changed except the documented ones.
 * Limits: those of keeper-grammar.ts. A line with an option twice may be accepted or refused. Over 400 lines because a
 * run and its judgement are one thing: each check needs most of what happened.
 */
// proving: 3600
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  chmodSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { processStartTime } from '../../native/index.ts';
import {
  type Attempt,
  LASTING_MS,
  LATE_MS,
  type Line,
  OBSTACLES,
  PLACES,
  type Signal,
  SIGNALS,
  Status,
  attempt,
  isReadied,
  root,
  scriptOf,
  understand,
} from '../harness/keeper-grammar.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved, seed } from '../harness/proof.ts';
import { buildProgram, reporting, shippedOr } from '../harness/sanitized.ts';

requirePrivateNamespace();

const RUNS = effort('runs', 60, 1500);
const SEED = seed();
/** Most of a run is waiting. */
const AT_ONCE = 8;
/** The documented grace (kGraceMs), and the delay of a busy machine. */
const GRACE_MS = 1000;
const SLACK_MS = 5000;
/** By then a program that still runs is ended. */
const LONG_ENOUGH_MS = 1200;

/** Files that the keeper was given and must not pass on. */
const stray = openSync('/dev/null', 'r');

// --- A run ------------------------------------------------------------------------------------------------------------

/** The text of a file, null when there is none; does not block. */
function textOf(path: string): string | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch {
    return null;
  }
  try {
    return fstatSync(fd).isFile() ? readFileSync(fd, 'utf8') : null;
  } finally {
    closeSync(fd);
  }
}

function isDirectory(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch {
    return false;
  }
}

const namesIn = (path: string): string[] => (isDirectory(path) ? readdirSync(path).sort() : []);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The processes that were started in a run, by their environment. */
function startedIn(base: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`KEEPER_FUZZ=${base}`);
      } catch {
        return false; // it has just ended
      }
    })
    .map(Number);
}

function endAll(pids: number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // the process was faster
    }
  }
}

const tally = {
  usage: 0,
  'not run': 0,
  'ended by itself': 0,
  deadline: 0,
  bound: 0,
  told: 0,
  'killed at once': 0,
  'asked and went': 0,
  'heard of the end': 0,
  // Perhaps the machine was too busy.
  'asked in vain': 0,
  'heard of nothing': 0,
};

class Run {
  readonly #of: Attempt;
  readonly #base: string;
  readonly #dir: string;
  readonly #away: string;
  readonly #marker: string;
  readonly #outside: string;
  readonly #script: string;
  #sleep: ChildProcess | null = null;
  #boundTo = { pid: 0, start: 0 };
  #words: string[] = [];
  #line: Line = understand([]);
  /** The place where it should be, if that exists and is in here. */
  #real: string | null = null;
  #before: string[] = [];
  #started = 0;
  #took = 0;
  #pid = 0;
  #code: number | null = null;
  #signal: string | null = null;
  readonly #output = { stdout: '', stderr: '' };
  /** When what happened, from the start. */
  readonly #happened = new Map<string, number>();

  constructor(of: Attempt, number: number) {
    this.#of = of;
    this.#base = join(root, `${number}`);
    this.#dir = join(this.#base, 'd');
    this.#away = `${this.#dir}.away`;
    this.#marker = join(this.#base, 'ran');
    this.#outside = join(this.#base, 'outside');
    this.#script = scriptOf(of.how, of.options);
  }

  async go(program: string): Promise<void> {
    try {
      await this.#prepare();
      await this.#start(program);
      this.#judge();
      await this.#nothingRuns();
      this.#assertNothingLeft();
    } finally {
      this.#sleep?.kill('SIGKILL');
      endAll(startedIn(this.#base));
      if (this.#of.place.room !== null) execFileSync('umount', ['--lazy', this.#dir]);
      rmSync(this.#base, { recursive: true, force: true, maxRetries: 5 });
    }
  }

  async #prepare(): Promise<void> {
    const { place: at, other, event: what } = this.#of;
    mkdirSync(this.#dir, { recursive: true });
    chmodSync(this.#base, 0o1777); // the program, another user, writes its identity there
    writeFileSync(this.#outside, 'outside');
    if (at.room !== null) {
      const size = `size=${at.room.pages * 4}k,nr_inodes=${at.room.files}`;
      execFileSync('mount', ['-t', 'tmpfs', '-o', size, 'tmpfs', this.#dir]);
    } else {
      PLACES[at.name]?.(this.#dir, this.#outside);
    }
    const given = this.#of.options.words;
    if (given.some((word) => word.includes('@pid') || word.includes('@start'))) await this.#makeBound();
    if (what.what === 'bound' && what.since === 'before') await this.#endBound();
    const sh = ['/bin/sh', '-c', this.#script, 'program', this.#marker, this.#dir, this.#outside];
    this.#words = [...given, ...(other ?? sh)].map((word) => this.#fill(word));
    this.#line = understand(this.#words);
    const path = this.#line.value('--directory') ?? '';
    // A path that ends in a link and a slash is what the link leads to.
    const real = isDirectory(path) ? realpathSync(path) : null;
    this.#real = real?.startsWith(`${this.#base}/`) ? real : null;
    this.#before = namesIn(this.#real ?? this.#dir);
  }

  async #makeBound(): Promise<void> {
    this.#sleep = spawn('sleep', ['30'], { stdio: 'ignore' });
    await once(this.#sleep, 'spawn');
    const pid = this.#sleep.pid ?? 0;
    this.#boundTo = { pid, start: processStartTime(pid) };
  }

  async #endBound(): Promise<void> {
    if (this.#sleep === null) return;
    const ended = once(this.#sleep, 'exit');
    this.#sleep.kill('SIGKILL');
    await ended;
  }

  #fill(word: string): string {
    if (word === this.#script) return word;
    return word
      .replaceAll('@dir', this.#dir)
      .replaceAll('@pid', `${this.#boundTo.pid}`)
      .replaceAll('@start', `${this.#boundTo.start}`);
  }

  async #start(program: string): Promise<void> {
    const { closed, files } = this.#of;
    const cramp = files === null ? '' : `ulimit -n ${files}`;
    const exec = [`exec ${closed.map((fd) => `${fd}>&-`).join(' ')}`, cramp, 'exec "$@"'].join('\n');
    const [file, ...args] =
      files === null && closed.length === 0
        ? [program, ...this.#words]
        : ['/bin/sh', '-c', exec, 'sh', program, ...this.#words];
    const env = {
      PATH: process.env['PATH'],
      KEEPER_FUZZ: this.#base,
      ...reporting('address', null, true),
    };
    this.#started = performance.now();
    const child = spawn(file, args, {
      cwd: this.#base,
      env,
      stdio: ['ignore', 'pipe', 'pipe', stray, stray, stray, stray],
    });
    this.#pid = child.pid ?? 0;
    child.stdout?.setEncoding('utf8').on('data', (more: string) => (this.#output.stdout += more));
    child.stderr?.setEncoding('utf8').on('data', (more: string) => (this.#output.stderr += more));
    let ended = false;
    child.on('exit', (code, signal) => {
      this.#took = performance.now() - this.#started;
      this.#code = code;
      this.#signal = signal;
    });
    child.on('close', () => (ended = true));
    while (!ended) {
      this.#meanwhile(child);
      await pause(4);
    }
  }

  /** Events that may happen at a moment while it runs. */
  #meanwhile(child: ChildProcess): void {
    const now = performance.now() - this.#started;
    const { what, since, after } = this.#of.event;
    if (!this.#happened.has('run') && existsSync(this.#marker)) this.#happened.set('run', now);
    const from = since === 'run' ? this.#happened.get('run') : 0;
    const due = from !== undefined && now >= from + after && since !== 'before';
    if (due && !this.#happened.has(what)) this.#happen(what, child);
    if (now > LONG_ENOUGH_MS && !this.#happened.has('SIGTERM')) this.#happen('SIGTERM', child);
    if (now > LONG_ENOUGH_MS + LASTING_MS + SLACK_MS && child.kill('SIGKILL')) assert.unreachable('it does not end');
    // The status is whole at any moment. A file that is not the keeper's counts as none.
    if (this.#of.place.name.startsWith('status') || this.#of.how.deed === 'scribbles') return;
    for (const dir of [this.#dir, this.#away]) this.#statusIn(dir);
  }

  #happen(what: Attempt['event']['what'], child: ChildProcess): void {
    this.#happened.set(what, performance.now() - this.#started);
    if (SIGNALS.includes(what as Signal)) child.kill(what as Signal);
    if (what === 'bound') this.#sleep?.kill('SIGKILL');
    if (!['moved', 'removed', 'replaced'].includes(what)) return;
    if (!isDirectory(this.#dir) || this.#of.place.room !== null) return void this.#happened.delete(what);
    try {
      renameSync(this.#dir, this.#away);
    } catch {
      return void this.#happened.delete(what); // the program was faster
    }
    if (what === 'removed') rmSync(this.#away, { recursive: true, force: true, maxRetries: 5 });
    if (what === 'replaced') mkdirSync(this.#dir);
  }

  #statusIn(dir: string): Status | null {
    const text = textOf(join(dir, 'status'));
    return text === null ? null : Status.parse(JSON.parse(text));
  }

  // --- Judged by what is documented -----------------------------------------------------------------------------------

  get #isShifted(): boolean {
    return ['moved', 'removed', 'replaced'].some((what) => this.#happened.has(what));
  }

  /** Directories that the argument may mean, as of now. */
  get #places(): string[] {
    const all = this.#real === null || this.#real === this.#dir ? [this.#dir, this.#away] : [this.#real];
    return all.filter(isDirectory);
  }

  get #claimed(): string | undefined {
    return this.#places.find((dir) => textOf(join(dir, 'keeper'))?.startsWith(`${this.#pid} `));
  }

  get #isBound(): boolean {
    return this.#line.value('--bound-pid') !== null;
  }

  /** Why it must not run the program; null when it should. `maybe`: it depends on which came first. */
  #obstacle(): 'always' | 'maybe' | null {
    const { place: at, files, other } = this.#of;
    const here = at.room !== null || (!at.name.startsWith('claimed') && !OBSTACLES.includes(at.name));
    const good = this.#real !== null && here;
    const bound = [`${this.#boundTo.pid}`, `${this.#boundTo.start}`].join();
    const same = [this.#line.value('--bound-pid'), this.#line.value('--bound-start')].map(Number).join() === bound;
    const gone = this.#of.event.what === 'bound' && this.#of.event.since === 'before';
    const lost = (this.#isBound && (!same || gone)) || this.#line.value('--bound-fd') !== null;
    if (other !== null || this.#line.program[2] !== this.#script || lost) return 'always';
    if (!good) return this.#isShifted ? 'maybe' : 'always';
    const early = this.#isShifted || (this.#isBound && this.#happened.has('bound'));
    return files !== null || at.room !== null || early ? 'maybe' : null;
  }

  #judge(): void {
    const { stdout, stderr } = this.#output;
    const ran = existsSync(this.#marker);
    assert.is(stdout, '');
    if (this.#code === null) return this.#judgeKilled(ran);
    assert.ok([0, 1, 2].includes(this.#code), `${this.#code}\n${stderr}`);
    const asked = Math.min(this.#happened.get('SIGTERM') ?? Infinity, this.#isBound ? this.#lastBound() : Infinity);
    assert.ok(this.#took < asked + GRACE_MS + SLACK_MS, `it took ${this.#took} ms, asked after ${asked}`);
    this.#judgeWords();
    const { verdict } = this.#line;
    if (verdict !== 'open') assert.is(this.#code === 2, verdict === 'wrong', stderr);
    if (this.#code !== 0) assert.not.ok(ran, 'it was run');
    if (this.#code === 2) {
      tally.usage++;
      return this.#untouched();
    }
    const obstacle = this.#obstacle();
    if (obstacle === null) assert.is(this.#code, 0, stderr);
    if (obstacle === 'always') assert.is(this.#code, 1);
    if (this.#code === 1) this.#judgeNotRun();
    else this.#judgeRun(ran);
  }

  #lastBound(): number {
    return this.#happened.get('bound') ?? Infinity;
  }

  /** It dies of a signal as long as it has done nothing, and of SIGKILL. */
  #judgeKilled(ran: boolean): void {
    tally['killed at once']++;
    assert.ok(this.#happened.has(this.#signal ?? ''), `${this.#signal}\n${this.#output.stderr}`);
    if (this.#signal === 'SIGKILL') return;
    assert.not.ok(ran);
    this.#untouched();
  }

  #judgeWords(): void {
    const { stderr } = this.#output;
    const silent = this.#code === 0 || this.#claimed !== undefined || this.#of.closed.includes(2);
    if (silent) return assert.is(stderr, '');
    // The status went with its directory.
    if (stderr === '' && this.#code === 1 && (this.#isShifted || this.#of.place.room !== null)) return;
    const odd = this.#words.some((word) => /\p{Cc}/u.test(word));
    assert.match(stderr, odd ? /^cleat-keeper: [^]+\n$/ : /^cleat-keeper: \P{Cc}+\n$/u, stderr);
    assert.not.match(stderr, /Sanitizer|runtime error/);
  }

  #untouched(): void {
    assert.is(this.#claimed, undefined);
    if (!this.#isShifted) assert.equal(namesIn(this.#real ?? this.#dir), this.#before);
  }

  #judgeNotRun(): void {
    tally['not run']++;
    const dir = this.#claimed;
    if (dir === undefined) return this.#untouched();
    const { place: at, files } = this.#of;
    if (at.room !== null || files !== null || OBSTACLES.includes(at.name)) return;
    const status = this.#statusIn(dir);
    assert.ok(status, 'why not');
    assert.is(status.state, 'ended');
    assert.is.not(status.error, '');
    assert.is(status.cause, '');
  }

  #judgeRun(ran: boolean): void {
    const { place: at } = this.#of;
    if (at.room !== null || this.#happened.has('removed')) return;
    // Its claim may have been removed, its status not.
    const ours = `"keeper":{"pid":${this.#pid},`;
    const dir = this.#places.find((one) => textOf(join(one, 'status'))?.includes(ours));
    const status = dir === undefined ? null : this.#statusIn(dir);
    assert.ok(status, 'how it ended');
    assert.is(status.state, 'ended');
    assert.is(status.error, '');
    assert.is(status.log, null);
    assert.ok(status.child);
    assert.ok((status.code === null) !== (status.signal === null), JSON.stringify(status));
    if (ran && textOf(this.#marker) !== '') assert.is(textOf(this.#marker), `${status.child.pid}\n`);
    this.#judgeCause(status);
    this.#judgeEnd(status, ran);
    this.#judgeReady(status);
    if (ran) this.#judgeDescriptors();
    tally[status.cause === '' ? 'ended by itself' : status.cause]++;
  }

  /** The earliest time at which it was signalled. */
  #askedAt(cause: Status['cause']): number {
    const limitMs = this.#line.value('--ready-fd') === null ? null : this.#line.value('--ready-ms');
    if (cause === 'deadline') return limitMs === null ? Infinity : Number(limitMs);
    if (cause === 'bound') return this.#isBound ? this.#lastBound() : Infinity;
    return this.#happened.get('SIGTERM') ?? Infinity;
  }

  #judgeCause({ cause, readyMs, child }: Status): void {
    if (cause === '') return;
    assert.ok(this.#askedAt(cause) <= this.#took + 1, `${cause}, but nothing of the kind happened to ${child?.pid}`);
    if (cause === 'deadline') assert.is(readyMs, null);
  }

  #judgeEnd({ cause, code, signal, output }: Status, ran: boolean): void {
    const { how } = this.#of;
    const waits = how.term === 'listens' && this.#line.value('--exit-fd') !== null && this.#hasItsExit();
    const late = how.ready === 'late' ? LATE_MS : 0;
    const planned = 'code' in how.end ? code === how.end.code : signal === how.end.signal;
    if (planned && this.#took >= how.lasts + late && !(waits && cause === '')) {
      if (cause === '') assert.ok(output.endsWith('bye\n'), output);
      else if (waits) tally['heard of the end']++;
      return;
    }
    assert.is.not(cause, '', `it ended by itself with ${code ?? signal} after ${this.#took} ms`);
    if (how.term === 'dies') tally[signal === 15 ? 'asked and went' : 'asked in vain']++;
    if (waits && ran && how.lasts < LASTING_MS) tally['heard of nothing']++;
    if (how.term === 'obeys' && code === 21) return;
    // Before it set its trap, it dies.
    if (signal === 15 && (how.term === 'dies' || !ran)) return;
    assert.is(signal, 9, `it ended with ${code ?? signal}`);
    const grace = this.#took - this.#askedAt(cause);
    assert.ok(grace >= GRACE_MS - 10, `it was killed after ${grace} ms`);
  }

  #hasItsExit(): boolean {
    return Number(this.#line.value('--exit-fd')) === this.#of.options.exit;
  }

  #judgeReady({ cause, readyMs }: Status): void {
    const fd = this.#line.value('--ready-fd');
    if (fd === null) return assert.is(readyMs, 0);
    const tells = isReadied(this.#of.how) && Number(fd) === (this.#of.options.ready ?? 9);
    if (!tells) return assert.is(readyMs, null);
    if (cause === '') assert.is.not(readyMs, null, 'it said that it was ready');
    if (readyMs === null) return;
    const { ready } = this.#of.how;
    assert.ok(readyMs >= (ready === 'late' ? LATE_MS : 0) && readyMs <= this.#took + 1, `${readyMs}`);
  }

  #judgeDescriptors(): void {
    const given = ['--exit-fd', '--ready-fd', '--netns-fd']
      .map((name) => this.#line.value(name))
      .filter((fd) => fd !== null);
    // Descriptors from 10 up are the shell's.
    const has = (textOf(`${this.#marker}.fds`) ?? '').split('\n').filter((fd) => fd.length === 1);
    assert.equal(new Set(has.map(Number)), new Set([0, 1, 2, ...given.map(Number)]), 'its descriptors');
  }

  async #nothingRuns(): Promise<void> {
    if (this.#signal !== 'SIGKILL') {
      return until(`nothing of its group is left (${this.#base})`, () => startedIn(this.#base).length === 0, 3000);
    }
    // A killed keeper ends the program too, and cannot do the rest.
    const program = (): boolean => startedIn(this.#base).includes(Number(textOf(this.#marker)));
    await until('the program ended with its keeper', () => !program(), 3000);
  }

  #assertNothingLeft(): void {
    const { place: at } = this.#of;
    assert.is(textOf(this.#outside), 'outside');
    const known = ['d', 'd.away', 'd.target', 'outside', 'ran', 'ran.fds'];
    assert.equal(
      namesIn(this.#base).filter((name) => !known.includes(name)),
      [],
    );
    const allowed = new Set(['keeper', 'status', 'used', 'program', ...this.#before]);
    if (this.#signal === 'SIGKILL') allowed.add('status.new').add(`keeper.${this.#pid}`);
    for (const dir of this.#places) {
      const more = namesIn(dir).filter((name) => !allowed.has(name));
      assert.equal(more, [], `left in ${basename(dirname(dir))}/${basename(dir)}`);
    }
    if (at.name === 'claimed by a file' && at.room === null && !this.#isShifted) {
      assert.is(textOf(join(this.#dir, 'keeper')), '1 1\n');
    }
    // A keeper that has the one directory leaves the other alone.
    if (this.#happened.has('replaced') && this.#claimed === this.#away) assert.equal(namesIn(this.#dir), []);
  }
}

/** Describes the run, without what is long and always the same. */
const shown = (one: Attempt): string =>
  JSON.stringify(one, (_, value: unknown) =>
    typeof value === 'string' && value.length > 500 ? `${value.slice(0, 20)}... (${value.length})` : value,
  );

const fuzz = suite('keeper');

fuzz('the keeper keeps its guarantees with any arguments, directories and programs', async () => {
  const program = await shippedOr('cleat-keeper', () => buildProgram('address', 'cleat-keeper'));
  const queue = [...fc.sample(attempt, { numRuns: RUNS, seed: SEED }).entries()];
  const mistakes: Error[] = [];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined && mistakes.length === 0; next = queue.shift()) {
      const [number, one] = next;
      await new Run(one, number).go(program).catch((error: Error & { details?: string }) => {
        const what = `${error.message} ${error.details ?? ''}`;
        mistakes.push(new Error(`run ${number} of seed=${SEED}: ${shown(one)}\n${what}`, { cause: error }));
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (mistakes[0] !== undefined) throw mistakes[0];
  const counts = JSON.stringify(tally);
  // A program that ends on SIGTERM gets SIGTERM first.
  assert.ok(tally['asked in vain'] <= tally['asked and went'], counts);
  if (RUNS >= 1000) {
    assert.ok(Math.min(...Object.values(tally).slice(0, -2)) >= RUNS / 250, counts);
    assert.ok(tally['heard of nothing'] <= tally['heard of the end'], counts);
  }
  proved('runs of cleat-keeper from a grammar', RUNS);
});

fuzz.after(() => {
  closeSync(stray);
  rmSync(root, { recursive: true, force: true });
});

fuzz.run();

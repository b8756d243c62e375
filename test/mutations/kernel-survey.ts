/**
 * Finds the mutants of effects/ and service/ that no test notices. Their tests run on the real kernel, many of them with the
 * real daemon, so that a mutant takes a minute instead of milliseconds (survey.ts).
 *
 * Guarantees: mutants are planted in a copy of dist/; the checkout's own is only read. A mutant is tried with the tests that
 * run through the part that it changes, in whatever process (reach.ts), until one fails or hangs, for whatever reason. A
 * test that fails without a mutant judges none.
 * Limits: only as many of these tests are run as fit into PATIENCE_S. A test that fails by chance notices a mutant by
 * chance.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Mutant } from './hooks.ts';
import { partAt, telling } from './reach.ts';
import { EVERYDAY, type Described, type Judged } from './survey.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const NOT_LINKED = new Set(['.git', 'dist', 'package.json']);
/** The limit for all tests of one mutant, in seconds. */
const PATIENCE_S = 120;
/** The limit for one test; none of them takes as long. */
const LEARNS_MS = 300_000;

/** A test as it is without a mutant. */
export interface Known {
  /** service/view.test.ts */
  test: string;
  ms: number;
  /** Parts that it runs through: partAt(). */
  reached: readonly string[];
}

/** A copy of the compiled program whose modules can be changed. */
class Copy {
  readonly #root = mkdtempSync(join(tmpdir(), 'mutants-'));

  constructor() {
    for (const name of readdirSync(ROOT)) {
      if (!NOT_LINKED.has(name)) symlinkSync(join(ROOT, name), join(this.#root, name));
    }
    for (const name of ['dist', 'package.json']) {
      cpSync(join(ROOT, name), join(this.#root, name), { recursive: true, preserveTimestamps: true });
    }
  }

  /** The daemon in one file is made anew of its modules by the runner. */
  write(module: string, source: string): void {
    writeFileSync(join(this.#root, 'dist', module), source);
    rmSync(join(this.#root, 'dist/bundle/daemon.program.js'), { force: true });
  }

  /**
   * Runs a test, in namespaces of its own as always (test/run.ts): null when it passes, else what it says. One that takes
   * longer than this does not pass.
   */
  async fails(test: string, limitMs: number, environment: NodeJS.ProcessEnv = {}): Promise<string | null> {
    const child = spawn(process.execPath, [join(this.#root, 'dist/test/run.js'), test], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...EVERYDAY, ...environment },
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (said += text));
    }
    const timer = setTimeout(() => child.kill(), limitMs);
    const status = await new Promise((ended) => child.once('close', ended));
    clearTimeout(timer);
    return status === 0 ? null : said;
  }

  remove(): void {
    rmSync(this.#root, { recursive: true, force: true });
  }
}

/** Does it for each of them, as many at a time as the runner runs files: half of the time is spent waiting. */
async function sharedOut<T>(all: readonly T[], work: (each: T, copy: Copy) => Promise<void>): Promise<void> {
  const queue = [...all];
  const worker = async (): Promise<void> => {
    const copy = new Copy();
    try {
      for (let each = queue.shift(); each !== undefined; each = queue.shift()) await work(each, copy);
    } finally {
      copy.remove();
    }
  };
  await Promise.all(Array.from({ length: Math.min(2 * availableParallelism(), all.length) }, worker));
}

const nameOf = (module: string): string => relative(join(ROOT, 'dist'), module);

/** Runs each test; those that fail, twice, are told to `leftOut`. */
export async function learn(
  tests: readonly string[],
  modules: readonly string[],
  leftOut: (test: string, said: string) => void,
): Promise<Known[]> {
  const known: Known[] = [];
  const directory = mkdtempSync(join(tmpdir(), 'reached-'));
  const told = new WeakSet<Copy>();
  await sharedOut(tests, async (test, copy) => {
    if (!told.has(copy)) {
      for (const module of modules) copy.write(nameOf(module), telling(readFileSync(module, 'utf8'), nameOf(module)));
      told.add(copy);
    }
    const file = join(directory, test.replaceAll('/', '-'));
    const run = async (): Promise<string | null> => {
      writeFileSync(file, '', { mode: 0o666 });
      const began = performance.now();
      const said = await copy.fails(test, LEARNS_MS, { CLEAT_REACHED: file });
      const reached = [...new Set(readFileSync(file, 'utf8').split('\n'))];
      if (said === null) known.push({ test, ms: performance.now() - began, reached });
      return said;
    };
    const said = (await run()) && (await run());
    if (said !== null) leftOut(test, said);
  });
  rmSync(directory, { recursive: true });
  return known;
}

/** Judges each of the mutants, in any order. */
export async function surveyOnKernel(
  mutants: readonly (Mutant & Described)[],
  known: readonly Known[],
): Promise<Judged[]> {
  const judged: Judged[] = [];
  await sharedOut(mutants, async ({ url, title, at, start, end, text }, copy) => {
    const module = fileURLToPath(url);
    const source = readFileSync(module, 'utf8');
    const chosen = choose(known, partAt(source, nameOf(module), start));
    let seenBy: string | null = null;
    let why = '';
    copy.write(nameOf(module), source.slice(0, start) + text + source.slice(end));
    for (const { test, ms } of chosen) {
      const said = await copy.fails(test, 3 * ms + 15_000);
      if (said === null) continue;
      [seenBy, why] = [test, said];
      break;
    }
    copy.write(nameOf(module), source);
    judged.push({ title, at, seenBy, why, files: chosen.length });
  });
  return judged;
}

/** Tests that are called like the module first, then the quickest, as many as there is time for. */
function choose(known: readonly Known[], part: string): Known[] {
  const words = basename(part.split(' ')[0] ?? '', '.js').split('-');
  const stranger = ({ test }: Known): number =>
    words.some((word) => basename(test).split(/[-.]/).includes(word)) ? 0 : 1;
  const through = known.filter(({ reached }) => reached.includes(part));
  const ordered = through.toSorted((a, b) => stranger(a) - stranger(b) || a.ms - b.ms);
  let left = PATIENCE_S * 1000;
  return ordered.filter(({ ms }, i) => {
    left -= ms;
    return i === 0 || left > 0;
  });
}

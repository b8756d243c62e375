/**
 * Finds the mutants of some modules that the tests do not notice.
 *
 * Guarantees: a mutant is tried with every test that runs through the change, the quickest first, until one fails. One
 * that hangs counts as noticed: its process is ended. A test that fails without a mutant is an error.
 * Limits: tests that need no kernel, found by their imports. The code that a test runs through is learned from the
 * unchanged program.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { mutationsOf } from './operators.ts';
import type { Mutant } from './hooks.ts';
import type { Chosen, Learned, Task, Verdict } from './trial.ts';

const DIST = resolve(import.meta.dirname, '../..');
/** Loaded modules are never released (ESM), so a process is replaced after some time. */
const TASKS = 50;
const LEARNS_MS = 600_000;

/** Tests try as much as in npm test, and the same every time (test/harness/proof.ts). */
export const EVERYDAY = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith('CLEAT_PROVE')),
);

export interface Described {
  /**
   * For a reader: "plan/networks/lease.ts follows: `const last = of(2);` 2 -> 3": file, declaration, line, old and new
   * text.
   */
  title: string;
  /** The place in the source: plan/networks/lease.ts:31. */
  at: string;
}

export interface Judged extends Described {
  seenBy: string | null;
  why: string;
  /** Files of tests that were to see it: that run through what it changes. None: it is not covered. */
  files: number;
}

/** The compiled modules in a folder and its rooms. */
export const modulesIn = (folder: string): string[] =>
  readdirSync(join(DIST, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.js'))
    .map((name) => join(DIST, folder, name))
    .sort();

export function mutantsOf(module: string): (Mutant & Described)[] {
  const source = readFileSync(module, 'utf8');
  const file = relative(DIST, module).replace(/\.js$/, '.ts');
  const map = new SourceMap(JSON.parse(readFileSync(`${module}.map`, 'utf8')) as SourceMapPayload);
  const plain = (text: string): string => text.replace(/\s+/g, ' ').trim();
  return mutationsOf(source).map((mutation) => {
    const { start, end, text, within } = mutation;
    const [was, now] = [plain(source.slice(start, end)), plain(text)];
    const line = plain(source.slice(source.lastIndexOf('\n', start) + 1).split('\n')[0] ?? '');
    const title = `${file} ${within}: \`${line}\` ${was} -> ${now}`;
    const before = source.slice(0, start).split('\n');
    const entry = map.findEntry(before.length - 1, before.at(-1)?.length ?? 0);
    const at = `${file}:${'originalLine' in entry ? entry.originalLine + 1 : '?'}`;
    return { ...mutation, url: pathToFileURL(module).href, title, at };
  });
}

/**
 * Compiled tests that import one of these modules, however indirectly, and nothing that needs a kernel; without those
 * that declare that they are slow: those only if they are asked for.
 */
export function testsOf(modules: readonly string[], { slow = false } = {}): string[] {
  const known = new Map<string, readonly string[]>();
  const importsOf = (file: string): readonly string[] => {
    const found = known.get(file) ?? importedBy(file);
    known.set(file, found);
    return found;
  };
  const reach = (file: string, seen = new Set<string>()): Set<string> => {
    if (seen.has(file)) return seen;
    seen.add(file);
    for (const next of importsOf(file)) if (next.startsWith(DIST) && next.endsWith('.js')) reach(next, seen);
    return seen;
  };
  const needsKernel = (file: string): boolean =>
    file.startsWith(join(DIST, 'native/')) || importsOf(file).includes('node:child_process');
  return readdirSync(join(DIST, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.js'))
    .filter((name) => slow || !/^\/\/ (slow|timeout|proving)/m.test(readFileSync(sourceOf(name), 'utf8')))
    .map((name) => join(DIST, 'test', name))
    .filter((test) => {
      const reached = [...reach(test)];
      return reached.some((file) => modules.includes(file)) && !reached.some(needsKernel);
    })
    .sort();
}

const sourceOf = (compiledTest: string): string => join(DIST, '../test', compiledTest.replace(/\.js$/, '.ts'));

/** Paths of ours, absolute, and names of packages. */
function importedBy(file: string): string[] {
  const source = readFileSync(file, 'utf8');
  return [...source.matchAll(/^(?:import|.*\bfrom) ['"]([^'"]+)['"];$/gm)].map(([, name = '']) =>
    name.startsWith('.') ? resolve(dirname(file), name) : name,
  );
}

/** Judges each of the mutants, in any order. One that has no answer after `hangsMs` hangs. */
export async function survey(
  mutants: readonly (Mutant & Described)[],
  tests: readonly string[],
  hangsMs = 30_000,
): Promise<Judged[]> {
  const sources = [...new Set(mutants.map(({ url }) => url))];
  const learned = await learnAll(tests, sources);
  const failed = learned.find((each) => each.failed !== null);
  if (failed !== undefined) throw new Error(`${failed.url}, ${failed.title}: ${failed.failed}`);
  const queue = [...mutants];
  const judged: Judged[] = [];
  const work = async (): Promise<void> => {
    const trial = new Trial(hangsMs);
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      const { title, at, ...rest } = mutant;
      const chosen = choose(learned, mutant);
      const verdict = await trial.ask<Verdict>({ mutant: rest, tests: chosen });
      judged.push({ title, at, files: chosen.length, ...(verdict ?? { seenBy: 'nobody', why: 'hangs' }) });
    }
    trial.end();
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return judged;
}

async function learnAll(tests: readonly string[], sources: string[]): Promise<Learned[]> {
  const learned: Learned[] = [];
  const queue = [...tests];
  const work = async (): Promise<void> => {
    for (let test = queue.shift(); test !== undefined; test = queue.shift()) {
      const trial = new Trial(LEARNS_MS);
      learned.push(...((await trial.ask<Learned[]>({ learn: [pathToFileURL(test).href], sources })) ?? []));
      trial.end();
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return learned;
}

/** The tests that run through the change of the mutant, or load it: quickest first, a file at a time. */
function choose(learned: readonly Learned[], { url, start }: Mutant): Chosen[] {
  const through = ({ ranges }: Learned): boolean => {
    const around = (ranges[url] ?? []).filter(
      ({ startOffset, endOffset }) => startOffset <= start && start < endOffset,
    );
    const inner = around.sort((a, b) => a.endOffset - a.startOffset - (b.endOffset - b.startOffset))[0];
    return (inner?.count ?? 0) > 0;
  };
  const loading = new Set(learned.filter((each) => each.title === null && through(each)).map((each) => each.url));
  const chosen = new Map<string, Learned[]>();
  for (const each of learned) {
    if (each.title === null || !(loading.has(each.url) || through(each))) continue;
    chosen.set(each.url, [...(chosen.get(each.url) ?? []), each]);
  }
  const cost = (tests: readonly Learned[]): number => tests.reduce((sum, { ms }) => sum + ms, 0);
  return [...chosen]
    .sort(([, a], [, b]) => cost(a) - cost(b))
    .map(([test, all]) => ({ url: test, titles: all.sort((a, b) => a.ms - b.ms).map(({ title }) => title ?? '') }));
}

/** A process for trials; it is replaced when it hangs, ends, or has been used for long. */
class Trial {
  #child: ChildProcess | null = null;
  #tasks = 0;
  readonly #patienceMs: number;

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  /** Null when there is no answer. */
  async ask<Answer>(task: Task): Promise<Answer | null> {
    if (this.#tasks++ % TASKS === 0) this.end();
    const child = (this.#child ??= fork(fileURLToPath(new URL('./trial.js', import.meta.url)), [], {
      execArgv: ['--conditions=development', '--unhandled-rejections=strict'],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      env: EVERYDAY,
    }));
    return new Promise((done) => {
      const answer = (message: Answer | null): void => {
        clearTimeout(timer);
        child.removeAllListeners();
        if (message === null) this.end();
        done(message);
      };
      const timer = setTimeout(() => answer(null), this.#patienceMs);
      child.once('message', (message) => answer(message as Answer));
      child.once('exit', () => answer(null));
      child.send(task);
    });
  }

  end(): void {
    this.#child?.kill('SIGKILL');
    this.#child = null;
  }
}

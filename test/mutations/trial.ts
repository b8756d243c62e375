/**
 * A process that tries mutants, one after the other on request (survey.ts): does one of these tests notice it?
 *
 * Guarantees: tests run until one notices it: it fails, or its file cannot be loaded any more. The code that each test
 * runs through is what V8 reports (Profiler.takePreciseCoverage).
 * Limits: for tests without a kernel, a process or a directory of their own; what they leave in memory stays.
 */
import { Session, type Profiler } from 'node:inspector/promises';
import { register } from 'node:module';
import { addressed, type Mutant } from './hooks.ts';
import { collect, type Suite } from './suites.ts';

/** Some tests of one compiled file, by their titles. */
export interface Chosen {
  url: string;
  titles: string[];
}

export type Task = { learn: string[]; sources: string[] } | { mutant: Mutant; tests: Chosen[] };

/** Titles of those that notice it: one at most. */
export type Verdict = { seenBy: string | null; why: string };

/** The code that a test runs through: per source, what V8 counted. `title` null: loading the file. */
export interface Learned {
  url: string;
  title: string | null;
  ms: number;
  failed: string | null;
  ranges: Record<string, Profiler.CoverageRange[]>;
}

register('./hooks.js', import.meta.url);
process.stdout.write = () => true; // nobody reads the output of tests that run a thousand times
process.on('message', (task: Task) => {
  const work = 'learn' in task ? learn(task.learn, task.sources) : judge(task.mutant, task.tests);
  void work.then((answer) => process.send?.(answer));
});

/** The suites of a file, with the mutant's program. */
async function load(url: string, mutant: Mutant | null): Promise<Suite[]> {
  collect();
  // oxlint-disable-next-line import/no-dynamic-require -- which tests, and of which mutant, is what it is told
  await import(addressed(url, mutant));
  return collect();
}

async function judge(mutant: Mutant, tests: readonly Chosen[]): Promise<Verdict> {
  for (const { url, titles } of tests) {
    let title = url;
    try {
      for (const { tests: all, before, after } of await load(url, mutant)) {
        const chosen = all.filter((test) => titles.includes(test.title));
        if (chosen.length === 0) continue;
        for (const hook of before) await hook();
        for (const test of chosen) {
          title = test.title;
          await test.run();
        }
        for (const hook of after) await hook();
      }
    } catch (error) {
      return { seenBy: title, why: String(error).slice(0, 300) };
    }
  }
  return { seenBy: null, why: '' };
}

async function learn(urls: readonly string[], sources: readonly string[]): Promise<Learned[]> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  const learned: Learned[] = [];
  const note = async (url: string, title: string | null, work: () => Promise<void>) => {
    await session.post('Profiler.takePreciseCoverage');
    const began = performance.now();
    const failed = await work().then(
      () => null,
      (error: unknown) => String(error),
    );
    const ms = performance.now() - began;
    const { result } = await session.post('Profiler.takePreciseCoverage');
    const of = (source: string) =>
      result
        .filter((script) => script.url.startsWith(`${source}?`))
        .flatMap(({ functions }) => functions.flatMap(({ ranges }) => ranges));
    learned.push({ url, title, ms, failed, ranges: Object.fromEntries(sources.map((source) => [source, of(source)])) });
  };
  for (const url of urls) {
    let suites: Suite[] = [];
    await note(url, null, async () => {
      suites = await load(url, null);
    });
    for (const { tests, before, after } of suites) {
      for (const hook of before) await hook();
      for (const test of tests) await note(url, test.title, () => test.run());
      for (const hook of after) await hook();
    }
  }
  session.disconnect();
  return learned;
}

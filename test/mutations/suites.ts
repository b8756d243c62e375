/**
 * The module that tests import as `uvu` when mutants are tried (hooks.ts): suites that can be run test by test.
 *
 * Guarantees: hooks are called as uvu calls them. Nothing runs by itself, and nothing is printed.
 * Limits: as much of uvu as the tests here use.
 */
type Handler = () => unknown;

export interface Test {
  /** The title of the suite and the test. */
  title: string;
  run(): Promise<void>;
}

export interface Suite {
  tests: Test[];
  before: Handler[];
  after: Handler[];
}

const collected: Suite[] = [];

/** The suites for which run() was called since the last call. */
export const collect = (): Suite[] => collected.splice(0);

export function suite(name: string) {
  const all: Suite = { tests: [], before: [], after: [] };
  const beforeEach: Handler[] = [];
  const afterEach: Handler[] = [];
  const add = (title: string, handler: Handler): void => {
    const run = async (): Promise<void> => {
      try {
        for (const hook of beforeEach) await hook();
        await handler();
      } finally {
        for (const hook of afterEach) await hook();
      }
    };
    all.tests.push({ title: `${name}: ${title}`, run });
  };
  const hook = (always: Handler[], each: Handler[]) =>
    Object.assign((handler: Handler) => void always.push(handler), {
      each: (handler: Handler) => void each.push(handler),
    });
  return Object.assign(add, {
    before: hook(all.before, beforeEach),
    after: hook(all.after, afterEach),
    run: () => {
      const { tests, before, after } = all;
      collected.push({ tests: tests.splice(0), before: before.splice(0), after: after.splice(0) });
    },
  });
}

/** The suite without a name, which all its importers share. */
export const test = suite('');

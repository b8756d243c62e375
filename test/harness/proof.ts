/**
 * How much a test tries, and how it reports that.
 *
 * The same test files run twice: in `npm test` with as much as fits in minutes, in `npm run prove` with everything.
 * `npm run prove -- cycles=1000` sets one figure by its name.
 *
 * Guarantees: a report is a line that the runner (test/run.ts) collects into its table. Numbers are checked: 0, or
 * text, is refused rather than trying nothing.
 */
const PROVING = process.env['CLEAT_PROVE'] !== undefined;

/** How many of `name` to try: `few` in npm test, `many` in npm run prove, unless it was set by name. */
export function effort(name: string, few: number, many: number): number {
  const set = process.env[`CLEAT_PROVE_${name}`];
  if (set === undefined) return PROVING ? many : few;
  const count = Number(set);
  if (!Number.isSafeInteger(count) || count < 1) throw new Error(`${name}=${set} is not a whole number from 1 up`);
  return count;
}

/** `limit` of them, as far from each other as possible. */
export function spread<T>(all: readonly T[], limit: number): T[] {
  if (all.length <= limit) return [...all];
  return Array.from({ length: limit }, (_, i) => all[Math.floor((i * all.length) / limit)] as T);
}

/** The seed of random tests: in npm test the same every time, in npm run prove never twice, unless it is given. */
export const seed = (): number => effort('seed', 1, Date.now() & 0x7fff_ffff);

/** A row of the table: what was tried, and how many; a failure is a failed test. */
export function proved(what: string, count: number): void {
  if (!(count > 0)) throw new Error(`${what}: nothing was tried`);
  process.stdout.write(`\nproved ${count} ${what}\n`);
}

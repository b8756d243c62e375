/**
 * The picture by the kernel's own tools (picture.ts) as a set of facts that are equal for two kernels of the same
 * content.
 *
 * Guarantees: a line per property of a link, and per address, route, rule and switch, without the numbers that count up
 * with each new object and the order that follows from them.
 * Limits: what depends on a link's carrier is left out, because the kernel updates it later (linkwatch): operational
 * state, and link-local addresses with their routes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { pauseAfter } from './native.ts';
import { inspectKernel } from './picture.ts';

/** Numbers given in turn, values that a carrier changes, and those that a bridge takes over from its ports. */
const PASSING = new Set(
  'ifindex link_index master_index handle operstate no id designated_port state tso_max_size tso_max_segs'.split(' '),
);
const CARRIER = new Set(['NO-CARRIER', 'LOWER_UP', 'linkdown', 'dead']);
const LINK_LOCAL = /^(fe80:|ff00::\/8|multicast)/;

type Json = Record<string, unknown>;

function kernelFacts(): Set<string> {
  const { links = [], addresses = [], routes4 = [], routes6 = [], rules = [], ruleset = [], ...rest } = inspectKernel();
  const { switches = [], mounts = [] } = rest;
  const all = (lines: readonly string[]) => (lines.length === 0 ? [] : (JSON.parse(lines.join('\n')) as Json[]));
  const fact = (kind: string) => (thing: unknown) => `${kind} ${JSON.stringify(lasting(thing))}`;
  const answers = all(addresses).flatMap(({ ifname, addr_info }) =>
    ((addr_info ?? []) as Json[])
      .filter(({ local }) => !LINK_LOCAL.test(String(local)))
      .map((of) => ({ ifname, ...of })),
  );
  const ways = [...all(routes4), ...all(routes6)].filter(
    ({ dst, type }) => !LINK_LOCAL.test(String(dst)) && !LINK_LOCAL.test(String(type)),
  );
  return new Set([
    ...all(links).flatMap((link) => leaves(lasting(link), `link ${String(link['ifname'])}`)),
    ...answers.map(fact('address')),
    ...ways.map(fact('route')),
    ...inOrder(ruleset.map((line) => JSON.parse(line) as Json)).map(fact('ruleset')),
    ...rules,
    ...switches,
    ...mounts,
  ]);
}

/** "link cl-web linkinfo info_kind: bridge". */
const leaves = (thing: unknown, path: string): string[] =>
  typeof thing === 'object' && thing !== null && !Array.isArray(thing)
    ? Object.entries(thing).flatMap(([key, value]) => leaves(value, `${path} ${key}`))
    : [`${path}: ${JSON.stringify(thing)}`];

/** Rules with their place in their chain. */
function inOrder(objects: readonly Json[]): unknown[] {
  const places = new Map<unknown, number>();
  return objects.map((object) => {
    const { chain } = (object['rule'] ?? {}) as Json;
    if (chain === undefined) return object;
    const place = (places.get(chain) ?? 0) + 1;
    places.set(chain, place);
    return { ...object, place };
  });
}

function lasting(thing: unknown): unknown {
  if (Array.isArray(thing)) return thing.filter((one) => !CARRIER.has(one as string)).map(lasting);
  if (typeof thing !== 'object' || thing === null) return thing;
  const kept = Object.entries(thing).filter(([key]) => !PASSING.has(key));
  return Object.fromEntries(kept.map(([key, value]) => [key, lasting(value)]));
}

/** Objects that come with an address, which the kernel adds in its own time (addrconf_dad_work). */
const PATIENCE_MS = 2000;
const CALM_MS = 100;

/** Pictures of the expected state, by title, and the comparison of the kernel with them. */
export class Pictures {
  /** The number of comparisons. */
  looks = 0;
  readonly #pictures = new Map<string, Set<string>>();
  /** The picture that the last comparison found; null when something has happened since. */
  #seen: string | null = null;

  touched(): void {
    this.#seen = null;
  }

  /** Waits until nothing has come for a while. */
  async take(title: string): Promise<void> {
    let [before, now] = [new Set<string>(), kernelFacts()];
    while (!isDeepStrictEqual(before, now)) {
      await sleep(CALM_MS);
      [before, now] = [now, kernelFacts()];
    }
    this.#pictures.set(title, now);
  }

  /** True if the picture has a line that begins like this. */
  has(title: string, line: string): boolean {
    return [...(this.#pictures.get(title) ?? [])].some((one) => one.startsWith(line));
  }

  /** The missing and the additional facts, once the kernel has had the time; `apart`: not compared. */
  async compare(title: string, apart?: RegExp): Promise<string[]> {
    const wanted = this.#pictures.get(title);
    if (wanted === undefined) return [`there is no picture of ${title}`];
    if (this.#seen === title) return [];
    const limit = performance.now() + PATIENCE_MS;
    for (;;) {
      this.looks++;
      const began = performance.now();
      const seen = kernelFacts();
      const lines = [
        ...[...wanted].filter((line) => !seen.has(line) && apart?.test(line) !== true).map((line) => `missing ${line}`),
        ...[...seen].filter((line) => !wanted.has(line) && apart?.test(line) !== true).map((line) => `besides ${line}`),
      ];
      if (lines.length === 0) this.#seen = title;
      if (lines.length === 0 || performance.now() > limit) return lines;
      await pauseAfter(began);
    }
  }
}

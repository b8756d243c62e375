/**
 * The watch on helpers that hang: a stopped process, one that does not answer, or one whose files were taken away ends as
 * far as its users are concerned, and is not missed by those who wait for its end.
 *
 * Guarantees: DNS servers, forwarders and uplinks are looked at in turns, also those of an earlier daemon. One that is
 * found hanging at two looks in a row is ended; it is then replaced like any that ends by itself. A stopped one is
 * replaced within 10 s (an uplink: of 1,000 within a minute), one that does not answer within a minute (an uplink: of 1,000
 * within 10).
 * Cheap: a look costs 40 us a process and a question 0.4 ms, and there is one of each outside and at most 100 uplinks a turn.
 * Limits: pasta and keepers cannot be asked: of these only one that is stopped is told from a healthy one. A DNS server is
 * asked for a name of one container; what it knows of others is not looked at.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { PARTS, type Part } from '../effects/aardvark.ts';
import { answersAtAll, familyOf } from '../effects/dns-query.ts';
import type { Kernel } from '../effects/kernel.ts';
import { resolverHome } from '../effects/resolver.ts';
import { find } from '../effects/resolver-process.ts';
import type { NameEntry, Names } from '../machines/plan/names.ts';
import type { Outside } from '../native/index.ts';
import type { ForwarderWatch } from './forwarder-watch.ts';
import type { Shared } from './shared.ts';
import { Strikes } from './strikes.ts';
import type { UplinkWatch } from './uplink-watch.ts';

const TURN_MS = 2000;
/** A DNS server is asked every so many turns. */
const QUESTION_TURNS = 5;
const PATIENCE_MS = 1000;

export interface HelperWatchParts {
  runDir: string;
  kernel: Pick<Kernel, 'outsideIfThere'>;
  shared: Pick<Shared, 'outsides' | 'resolving' | 'refreshResolver'>;
  forwarders: Pick<ForwarderWatch, 'look'>;
  uplinks: Pick<UplinkWatch, 'look'>;
  failed: (what: string, error: unknown) => void;
}

export class HelperWatch {
  readonly #parts: HelperWatchParts;
  readonly #strikes = new Strikes();
  /** Directories that had no server when they were looked at last. */
  readonly #empty = new Set<string>();
  #turns = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(parts: HelperWatchParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#timer = setTimeout(() => void this.#turn(), TURN_MS).unref();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #turn(): Promise<void> {
    this.#turns++;
    const { forwarders, uplinks } = this.#parts;
    const looks = {
      resolvers: () => this.#resolvers(),
      forwarders: () => forwarders.look(),
      uplinks: () => uplinks.look(),
    };
    // At the same time: one that keeps us waiting keeps the others' users from nothing.
    await Promise.all(
      Object.entries(looks).map(([what, look]) =>
        look().catch((error: unknown) => this.#parts.failed(`look at ${what}`, error)),
      ),
    );
    if (!this.#closed) this.start();
  }

  async #resolvers(): Promise<void> {
    for (const outside of this.#parts.shared.outsides()) {
      const names = this.#parts.shared.resolving(outside);
      const native = this.#parts.kernel.outsideIfThere(outside)?.kernel;
      if (names === null || native === undefined) continue;
      for (const part of PARTS) {
        const entries = entriesOf(names, part);
        if (entries.length > 0) await this.#resolver(outside, native, part, entries);
      }
    }
  }

  async #resolver(outside: string | null, native: Outside, part: Part, entries: NameEntry[]): Promise<void> {
    const directory = join(resolverHome(this.#parts.runDir, outside), part);
    const server = existsSync(directory) ? find(directory, null) : null;
    if (server === null) {
      // It may be about to be started anew; at the second look its files are written again, and one is started.
      if (this.#empty.delete(directory)) this.#parts.shared.refreshResolver(outside);
      else this.#empty.add(directory);
      return;
    }
    this.#empty.delete(directory);
    const asked = this.#turns % QUESTION_TURNS === 0 || this.#strikes.struck(server);
    await this.#strikes.judge(server, asked ? () => answersFrom(native, entries) : null);
  }
}

/** What the server of this part listens for; without rendering its files, which takes milliseconds. */
const entriesOf = (names: Names, part: Part): NameEntry[] =>
  Object.values(names)
    .flat()
    .filter(({ internal, listen }) => internal === (part === 'closed') && listen.length > 0);

/** As one of its containers would ask, any of them. Nobody who could ask: nothing is known against it. */
async function answersFrom(native: Outside, entries: readonly NameEntry[]): Promise<boolean> {
  const entry = entries[Math.floor(Math.random() * entries.length)];
  const [name] = entry?.names ?? [];
  const server = entry?.listen.find((one) => entry.addresses.some((address) => familyOf(address) === familyOf(one)));
  if (entry === undefined || name === undefined || server === undefined) return true;
  let fd: number;
  try {
    fd = await native.udpSocket(familyOf(server), entry.netns);
  } catch {
    return true; // its namespace is gone
  }
  return answersAtAll(fd, server, name, PATIENCE_MS);
}

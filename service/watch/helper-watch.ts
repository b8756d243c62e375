/**
 * Watches for helpers that hang: a process that is stopped, does not answer, or has lost its files is useless to its users, but
 * the watches on the end of processes do not notice it.
 *
 * Guarantees: looks at DNS servers, forwarders and uplinks in turns, also at those of an earlier daemon. A helper that two looks
 * in a row find hanging is ended, and then replaced like any helper that ends by itself. A stopped one is replaced within 10 s
 * (an uplink: of 1,000 within a minute), one that does not answer within a minute (an uplink: of 1,000 within 10). Cost: a look
 * takes 40 us per process and a question 0.4 ms. There is one process of each kind per outside, and at most 100 uplinks per turn.
 * Limits: pasta and keepers cannot be asked, so only stopped ones are noticed. A DNS server is asked for a name of one container;
 * its names of other containers are not checked.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { PARTS, type Part } from '../../effects/names/aardvark.ts';
import { answersAtAll } from '../../effects/names/dns-query.ts';
import { familyOf } from '../../plan/addresses/address.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { resolverHome } from '../../effects/names/resolver.ts';
import { find } from '../../effects/names/resolver-process.ts';
import type { NameEntry, Names } from '../../plan/names/names.ts';
import type { Outside } from '../../native/index.ts';
import type { ForwarderWatch } from './forwarder-watch.ts';
import type { Shared } from '../outsides/shared.ts';
import { Strikes } from './strikes.ts';
import type { UplinkWatch } from './uplink-watch.ts';

const TURN_MS = 2000;
/** A DNS server is asked once in this number of turns. */
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
  /** Directories that had no server at the last look. */
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
    // The looks run at the same time, so that a slow helper does not delay the others.
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
      // The server may be about to start. The second look has its files written again, and a server started.
      if (this.#empty.delete(directory)) this.#parts.shared.refreshResolver(outside);
      else this.#empty.add(directory);
      return;
    }
    this.#empty.delete(directory);
    const asked = this.#turns % QUESTION_TURNS === 0 || this.#strikes.struck(server);
    await this.#strikes.judge(server, asked ? () => answersFrom(native, entries) : null);
  }
}

/** Returns the names that the server of this part answers. Does not render its files, which takes milliseconds. */
const entriesOf = (names: Names, part: Part): NameEntry[] =>
  Object.values(names)
    .flat()
    .filter(({ internal, listen }) => internal === (part === 'closed') && listen.length > 0);

/** Asks a server for a name, from the namespace of a random container. Returns true if no container can ask it. */
async function answersFrom(native: Outside, entries: readonly NameEntry[]): Promise<boolean> {
  const entry = entries[Math.floor(Math.random() * entries.length)];
  const [name] = entry?.names ?? [];
  const server = entry?.listen.find((one) => entry.addresses.some((address) => familyOf(address) === familyOf(one)));
  if (entry === undefined || name === undefined || server === undefined) return true;
  let fd: number;
  try {
    fd = await native.udpSocket(familyOf(server), entry.netns);
  } catch {
    return true; // the container's namespace is gone
  }
  return answersAtAll(fd, server, name, PATIENCE_MS);
}

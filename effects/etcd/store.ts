/**
 * The operations of etcd's store that cleat needs: ranges, transactions, leases, and watches of a prefix.
 *
 * Guarantees: a range is of one revision, however many pages it takes. Each operation may be sent twice with the same effect:
 * a transaction compares what it replaces, and a lease has an id that the caller has chosen.
 * Limits: keys and values are text. Revisions are numbers: they count writes, and stay far below 2^53.
 */
import { randomBytes } from 'node:crypto';
import { FaultError } from '../../state/faults.ts';
import { DENIED, isRefusal, NOT_FOUND, PRECONDITION, type Refusal } from './answers.ts';
import type { Gateway } from './gateway.ts';

export interface Entry {
  key: string;
  value: string;
  /** The revision of the last write of the key. */
  modified: number;
  /** The lease that the key ends with, as etcd writes it; "0" for none. */
  lease: string;
}

export interface Listing {
  entries: Entry[];
  revision: number;
}

/** A transaction compares this: `modified: 0` means that the key does not exist; with `prefix`, that no key begins so. */
export interface Compare {
  key: string;
  modified: number;
  prefix?: boolean;
}

export type Operation = { put: string; value: string; lease?: string } | { delete: string };

/** An event of a watch: the key as it is now, or that it is no more. */
export type Change = { type: 'put'; entry: Entry } | { type: 'delete'; key: string };

interface RawEntry {
  key: string;
  value?: string;
  mod_revision?: string;
  lease?: string;
}
interface RawRange {
  header?: { revision?: string };
  kvs?: RawEntry[];
  more?: boolean;
  count?: string;
}
interface RawTransaction {
  succeeded?: boolean;
  header?: { revision?: string };
  responses?: { response_range?: RawRange }[];
}
interface RawWatch {
  error?: { message?: string };
  result?: {
    header?: { revision?: string };
    created?: boolean;
    canceled?: boolean;
    compact_revision?: string;
    cancel_reason?: string;
    events?: { type?: string; kv: RawEntry }[];
  };
}

/** Entries of one answer: a thousand claims are 200 kB. */
const PAGE = 1000;

const encode = (text: string): string => Buffer.from(text).toString('base64');
const decode = (text: string | undefined): string => Buffer.from(text ?? '', 'base64').toString();

/** The first key after all that begin with this text: etcd's end of a range. */
function endOf(prefix: string): string {
  const bytes = Buffer.from(prefix);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) + 1; // our prefixes end in a letter or "/", never in 0xff
  return bytes.toString('base64');
}

const entryOf = ({ key, value, mod_revision: modified, lease }: RawEntry): Entry => ({
  key: decode(key),
  value: decode(value),
  modified: Number(modified ?? 0),
  lease: lease ?? '0',
});

function requestOf(one: Operation | { get: string }): object {
  if ('get' in one) return { request_range: { key: encode(one.get) } };
  if ('delete' in one) return { request_delete_range: { key: encode(one.delete) } };
  return { request_put: { key: encode(one.put), value: encode(one.value), lease: one.lease ?? '0' } };
}

/** A new lease's id: 62 random bits, as etcd writes numbers. */
export const newLease = (): string => String((randomBytes(8).readBigUInt64BE() >> 2n) | 1n);

export class Store {
  readonly #gateway: Gateway;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  get endpoint(): string {
    return this.#gateway.endpoint;
  }

  async get(key: string, ms?: number): Promise<Entry | null> {
    const { kvs = [] } = await this.#ask<RawRange>('/v3/kv/range', { key: encode(key) }, ms);
    return kvs[0] === undefined ? null : entryOf(kvs[0]);
  }

  /** Returns all keys that begin with `prefix`, as they were at one revision. */
  async list(prefix: string, ms?: number): Promise<Listing> {
    const entries: Entry[] = [];
    let revision = 0;
    let from = encode(prefix);
    for (;;) {
      const range = { key: from, range_end: endOf(prefix), limit: PAGE, ...(revision === 0 ? {} : { revision }) };
      const { header, kvs = [], more = false } = await this.#ask<RawRange>('/v3/kv/range', range, ms);
      revision = revision === 0 ? Number(header?.revision ?? 0) : revision;
      entries.push(...kvs.map(entryOf));
      const last = kvs.at(-1);
      if (!more || last === undefined) return { entries, revision };
      from = Buffer.concat([Buffer.from(last.key, 'base64'), Buffer.from([0])]).toString('base64');
    }
  }

  /** Returns how many keys begin with `prefix`. */
  async count(prefix: string): Promise<number> {
    const range = { key: encode(prefix), range_end: endOf(prefix), count_only: true };
    const { count = '0' } = await this.#ask<RawRange>('/v3/kv/range', range);
    return Number(count);
  }

  /** Returns those of the keys that there are, as they were at one revision. */
  async read(keys: readonly string[], ms?: number): Promise<Entry[]> {
    const { entries } = await this.attempt(
      [],
      keys.map((get) => ({ get })),
      [],
      ms,
    );
    return entries;
  }

  /** Does all operations if all comparisons hold, and none otherwise: returns the revision that they made, or null. */
  async transaction(
    compare: readonly Compare[],
    operations: readonly Operation[],
    ms?: number,
  ): Promise<number | null> {
    return (await this.attempt(compare, operations, [], ms)).revision;
  }

  /** The same; if a comparison does not hold, the revision is null, and there are those of the keys `otherwise`. */
  async attempt(
    compare: readonly Compare[],
    operations: readonly (Operation | { get: string })[],
    otherwise: readonly string[],
    ms?: number,
  ): Promise<{ revision: number | null; entries: Entry[] }> {
    const {
      succeeded,
      header,
      responses = [],
    } = await this.#ask<RawTransaction>(
      '/v3/kv/txn',
      {
        compare: compare.map(({ key, modified, prefix = false }) => ({
          key: encode(key),
          ...(prefix ? { range_end: endOf(key) } : {}),
          ...(modified === 0 ? { target: 'VERSION', version: 0 } : { target: 'MOD', mod_revision: modified }),
        })),
        success: operations.map(requestOf),
        failure: otherwise.map((get) => requestOf({ get })),
      },
      ms,
    );
    return {
      revision: succeeded === true ? Number(header?.revision ?? 0) : null,
      entries: responses.flatMap(({ response_range: range }) => (range?.kvs ?? []).map(entryOf)),
    };
  }

  /** Makes a lease of `ttl` seconds; one of this id that is there already is ours. */
  async grant(id: string, ttl: number): Promise<void> {
    const answer = await this.#gateway.call<{ TTL?: string }>('/v3/lease/grant', { ID: id, TTL: ttl });
    if (isRefusal(answer) && answer.refusal.code !== PRECONDITION) throw refused(answer.refusal);
  }

  /** Renews a lease. Returns its seconds from when it was asked; 0 if there is no such lease any more. */
  async keepAlive(id: string, ms?: number): Promise<number> {
    const answer = await this.#gateway.call<{ result?: { TTL?: string } }>('/v3/lease/keepalive', { ID: id }, ms);
    if (!isRefusal(answer)) return Number(answer.result?.TTL ?? 0);
    if (answer.refusal.code === NOT_FOUND) return 0;
    throw refused(answer.refusal);
  }

  /** Returns the seconds that a lease was made for, and those that are left; null if there is no such lease. */
  async remaining(id: string): Promise<{ granted: number; left: number } | null> {
    const answer = await this.#gateway.call<{ TTL?: string; grantedTTL?: string }>('/v3/lease/timetolive', { ID: id });
    if (isRefusal(answer)) {
      if (answer.refusal.code === NOT_FOUND) return null;
      throw refused(answer.refusal);
    }
    const left = Number(answer.TTL ?? 0);
    return left < 0 ? null : { granted: Number(answer.grantedTTL ?? 0), left };
  }

  async revoke(id: string): Promise<void> {
    const answer = await this.#gateway.call('/v3/lease/revoke', { ID: id });
    if (isRefusal(answer) && answer.refusal.code !== NOT_FOUND) throw refused(answer.refusal);
  }

  /**
   * Watches a prefix from a revision on. `ended` is called once, when the store has forgotten that revision, the member has
   * lost its leader, or the connection ends: the caller lists again. Returns a function that ends it without a call.
   */
  watch(
    prefix: string,
    from: number,
    hear: { began: () => void; changed: (changes: Change[], revision: number) => void; ended: (why: string) => void },
  ): () => void {
    const request = { key: encode(prefix), range_end: endOf(prefix), start_revision: from, progress_notify: true };
    const close = this.#gateway.stream(
      '/v3/watch',
      { create_request: request },
      {
        line: (text) => {
          const { result, error } = watched(text);
          if (result === undefined || error !== undefined) return fail(error?.message ?? 'an answer of another kind');
          const { compact_revision: compacted } = result;
          if (compacted !== undefined) return fail(`revision ${from} has been compacted`);
          if (result.canceled === true) return fail(result.cancel_reason ?? 'canceled');
          if (result.created === true) hear.began();
          const changes = (result.events ?? []).map(({ type, kv }): Change =>
            type === 'DELETE' ? { type: 'delete', key: decode(kv.key) } : { type: 'put', entry: entryOf(kv) },
          );
          if (changes.length > 0) hear.changed(changes, Number(result.header?.revision ?? 0));
        },
        ended: hear.ended,
      },
    );
    const fail = (why: string) => {
      close();
      hear.ended(why);
    };
    return close;
  }

  /** Throws STORE_UNREACHABLE also for a refusal: etcd answers, and not to us. */
  async #ask<Answer extends object>(path: string, body: object, ms?: number): Promise<Answer> {
    const answer = await this.#gateway.call<Answer>(path, body, ms);
    if (isRefusal(answer)) throw refused(answer.refusal);
    return answer;
  }
}

function watched(text: string): RawWatch {
  try {
    return JSON.parse(text) as RawWatch;
  } catch {
    return { error: { message: 'a line that is no JSON' } };
  }
}

const refused = ({ code, message }: Refusal): FaultError => {
  const needed = code === DENIED ? '; the role of its user needs readwrite of all keys that begin with /cleat/' : '';
  const nobody = message.includes('user name is empty')
    ? '; the daemon needs --etcd-user and --etcd-password-file'
    : '';
  return new FaultError('STORE_UNREACHABLE', `etcd refuses: ${message}${needed}${nobody}`);
};

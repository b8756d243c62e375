/**
 * A witness of an overlay: reads the store by etcdctl, and the kernels of the hosts by `ip`, and nothing that cleat says of itself.
 *
 * Guarantees: it looks all the time. A share has two owners if two hosts have it on a bridge, or one host has it on its bridge while the
 * store says that it is another's, for longer than `grace` allows. A host that knows of nothing (stopped, cut off, dead) is not
 * blamed, nor one that has been back for less than a lease.
 * Limits: shares are of 10.140.0.0/16, /24 each.
 */
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Claim } from '../../state/overlay.ts';
import type { Etcd } from './etcd.ts';

const run = promisify(execFile);
const LOOK_MS = 250;

export interface Sight {
  /** Shares on the bridges of a host. */
  own: string[];
  /** Shares that its routes lead to. */
  routes: string[];
}

/** A claim, with the revision of the store that made its key: another one is another claim. */
export type Stored = Claim & { made: number };

/** What etcdctl prints as JSON. */
interface Listing {
  kvs?: { key: string; value: string; create_revision: number }[];
}

/** What the kernel of a host has. */
export async function kernelOf(name: string): Promise<Sight> {
  const ip = async (...words: string[]) => (await run('ip', ['-n', name, ...words])).stdout;
  const [addresses, routes] = await Promise.all([
    ip('-o', '-4', 'addr'),
    ip('route', 'show', 'proto', '207').catch(() => ''), // `ip` knows no such table while there is no route
  ]);
  return {
    own: [...addresses.matchAll(/ inet (10\.140\.\d+)\.1\/24/g)].map(([, net]) => `${net}.0/24`),
    routes: [...routes.matchAll(/^(10\.140\.\d+\.0\/24) via/gm)].map(([, to]) => to ?? ''),
  };
}

/** The claims in the store, by the first member that answers; null if none does. */
export async function claimsIn(etcd: Etcd, network: string): Promise<Map<string, Stored> | null> {
  const text = (base64: string) => Buffer.from(base64, 'base64').toString();
  const prefix = `/cleat/v1/networks/${network}/subnets/`;
  for (const member of [0, 1, 2]) {
    try {
      const { kvs = [] } = JSON.parse(await etcd.ask(member, 'get', '--prefix', prefix, '-w', 'json')) as Listing;
      return new Map(
        kvs.map(({ key, value, create_revision: made }) => [
          text(key).slice(prefix.length).replace('-', '/'),
          { ...(JSON.parse(text(value)) as Claim), made },
        ]),
      );
    } catch {
      // this member does not answer
    }
  }
  return null;
}

export class Witness {
  readonly objections: string[] = [];
  looks = 0;
  /** How often the store answered. */
  readings = 0;
  /** Each claim that was seen: a share, the revision of its key, and the generation that a daemon that took it over has written. */
  readonly claims = new Set<string>();
  readonly #since = new Map<string, number>();
  readonly #parts: WitnessParts;
  #over = false;
  readonly #done: Promise<void>;

  constructor(parts: WitnessParts) {
    this.#parts = parts;
    this.#done = this.#run();
  }

  async end(): Promise<void> {
    this.#over = true;
    await this.#done;
  }

  async #run(): Promise<void> {
    while (!this.#over) {
      await this.#look();
      await sleep(LOOK_MS);
    }
  }

  async #look(): Promise<void> {
    const { etcd, network, hosts, hears, grace } = this.#parts;
    const [kernels, store] = await Promise.all([
      Promise.all([...hosts].map(async ([name, address]) => ({ name, address, ...(await kernelOf(name)) }))),
      claimsIn(etcd, network),
    ]);
    this.looks++;
    if (store !== null) this.readings++;
    for (const [share, { made, generation }] of store ?? []) this.claims.add(`${share} ${made} ${generation}`);
    const wrong = new Set<string>();
    for (const { name, address, own } of kernels) {
      for (const share of own) {
        for (const other of kernels)
          if (other.name > name && other.own.includes(share) && hears(name) && hears(other.name))
            wrong.add(`${share} is on the bridges of ${name} and ${other.name}`);
        const owner = store?.get(share)?.address;
        if (owner !== undefined && owner !== address && hears(name))
          wrong.add(`${share} is on the bridge of ${name}, and ${owner}'s in the store`);
      }
    }
    for (const what of wrong) {
      const since = this.#since.get(what) ?? performance.now();
      this.#since.set(what, since);
      if (performance.now() - since > grace && !this.objections.includes(what)) this.objections.push(what);
    }
    for (const what of this.#since.keys()) if (!wrong.has(what)) this.#since.delete(what);
  }
}

interface WitnessParts {
  etcd: Etcd;
  network: string;
  /** The hosts by the names of their namespaces, with the addresses that they advertise. */
  hosts: ReadonlyMap<string, string>;
  /** True if a host has known for long enough what the store says. */
  hears: (name: string) => boolean;
  /** Milliseconds for which a share may have two owners. */
  grace: number;
}

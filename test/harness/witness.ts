/**
 * An observer that reads a daemon's records and the mounts from outside, and sends what it sees to the specifications.
 *
 * Guarantees: everything it reports was so at one moment: records are read before and after the mounts, and only what
 * is the same both times counts. Of two moments, what went is reported before what came.
 * Limits: it does not see what comes and goes between two reads. Addresses come from attachments, ports from what is
 * settled.
 */
import { readdirSync, readFileSync, watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import type { ContainerContext } from '../../state/container.ts';
import { Specifications, type Words } from './specifications.ts';

export interface Seen {
  containers: Pick<ContainerContext, 'owner' | 'outside' | 'netns' | 'identity' | 'attachments' | 'ports' | 'change'>[];
  /** Paths of mounts. */
  mounts: Set<string>;
}

type Fact = { [Kind in keyof Words]: { kind: Kind; name: string; came: Words[Kind]; went: Words[Kind] } }[keyof Words];

/** The facts of one moment, each under a name of its own. */
type Facts = ReadonlyMap<string, Fact>;

const LOOKS = 5;

export class Witness {
  readonly specifications = new Specifications();
  readonly #directory: string;
  readonly #watch: FSWatcher;
  #facts: Facts = new Map();

  /** `directory`: the directory of the records. */
  constructor(directory: string) {
    this.#directory = directory;
    this.#watch = watch(directory, () => this.look());
  }

  close(): void {
    this.#watch.close();
  }

  look(): void {
    for (let n = 0; n < LOOKS; n++) {
      const before = this.#texts();
      const mounts = new Set(mountPoints());
      if (before.join('\n') !== this.#texts().join('\n')) continue;
      const containers = before.map(
        (text) => (JSON.parse(text) as { snapshot: { context: ContainerContext } }).snapshot.context,
      );
      this.#facts = see(this.specifications, this.#facts, { containers, mounts });
      return;
    }
  }

  /** The text of each record; those that are removed meanwhile are left out. */
  #texts(): string[] {
    return readdirSync(this.#directory)
      .filter((name) => name.endsWith('.json'))
      .sort()
      .flatMap((name) => {
        try {
          return [readFileSync(join(this.#directory, name), 'utf8')];
        } catch {
          return [];
        }
      });
  }
}

/** Reports what is new at this moment; returns the facts. */
export function see(specifications: Specifications, before: Facts, now: Seen): Facts {
  const tell = ({ kind, name }: Fact, word: Fact['came']) => specifications.tell(kind, name, word);
  for (const { owner, ports, change } of now.containers) {
    if (change?.kind !== 'yield') continue;
    const { taker } = change;
    for (const { name } of portsOf(ports)) {
      // A container that gives something had it: a moment before, or as far as we have seen, at this one.
      if ([...before.values()].some((fact) => fact.kind === 'port' && fact.name === name && fact.came.by === owner))
        specifications.tell('port', name, { type: 'give', by: owner, to: taker });
    }
  }
  const after = factsOf(now);
  const order = ([, a]: [string, Fact], [, b]: [string, Fact]) => RANK[a.came.type] - RANK[b.came.type];
  for (const [key, fact] of [...before].sort(order).reverse()) if (!after.has(key)) tell(fact, fact.went);
  for (const [key, fact] of [...after].sort(order)) if (!before.has(key)) tell(fact, fact.came);
  return after;
}

/** A namespace exists before it is entered, and is left before it goes. */
const RANK: Record<Fact['came']['type'], number> = { pin: 0, enter: 1, take: 1, give: 1, drop: 1, leave: 1, unpin: 0 };

const portsOf = (ports: ContainerContext['ports']) =>
  ports.flatMap(({ protocol, hostIp, hostPort, range }) =>
    Array.from({ length: range }, (_, n) => ({ name: `${hostPort + n}/${protocol}`, hostIp })),
  );

/** The present facts, each under a name of its own. */
function factsOf({ containers, mounts }: Seen): Facts {
  const facts = new Map<string, Fact>();
  const add = (fact: Fact) => facts.set(`${fact.kind} ${fact.name} ${JSON.stringify(fact.came)}`, fact);
  for (const { owner: by, outside, attachments, ports, netns, identity } of containers) {
    const on = (name: string) => (outside === null ? name : `${outside} ${name}`);
    for (const { network, addresses } of attachments) {
      for (const { address } of addresses)
        add({
          kind: 'address',
          name: on(`${network} ${address}`),
          came: { type: 'take', by },
          went: { type: 'drop', by },
        });
    }
    for (const { name, hostIp } of portsOf(ports))
      add({ kind: 'port', name: on(name), came: { type: 'take', by, hostIp }, went: { type: 'drop', by, hostIp } });
    if (netns === null || identity === null) continue;
    if (netns.owned && mounts.has(netns.path))
      add({ kind: 'namespace', name: by, came: { type: 'pin' }, went: { type: 'unpin' } });
    if (netns.of !== null)
      add({ kind: 'namespace', name: netns.of, came: { type: 'enter', by }, went: { type: 'leave', by } });
  }
  return facts;
}

/** Field 5 of each line (proc_pid_mountinfo(5)). */
const mountPoints = (): string[] =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');

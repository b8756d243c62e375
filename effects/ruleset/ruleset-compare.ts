/**
 * Compares the table as it should be with the table as it was found. Returns the differences, each with the operations that
 * repair it.
 *
 * Guarantees: pure. The expected state is computed from the operations that make it (ruleset.ts), so there is no second
 * description of it. Each rule of ours carries its fingerprint: a chain is right if it holds all of our rules, in our order,
 * and nothing else. Operations of several differences can be joined to one transaction.
 * Limits: objects that others added to the table stay: chains and sets that are not ours, elements with keys that we do not
 * use.
 */
import type { NftElement, NftHook, NftOperation, NftTable } from '../../native/nftables/nft-types.ts';
import type { Closed, NetworkRules, PublishedPort } from './ruleset-inputs.ts';
import { bridgeOfSet } from './ruleset-overlay.ts';
import { baseRules, MAPS, networkRules, portElements, removeTable } from './ruleset.ts';
import type { Replies } from './ruleset-replies.ts';
import type { UplinkGuard } from './ruleset-uplinks.ts';

/** The expected content of an outside's table. */
export interface Standing {
  /** `raising`: the network's rules are being made, so they may exist or not. */
  networks: readonly { network: string; rules: NetworkRules; raising?: boolean }[];
  ports: readonly PublishedPort[];
  closed: Closed;
  guard: UplinkGuard;
  replies: Replies;
}

export interface SeenRuleset {
  /** Null if there is no such table. */
  table: NftTable | null;
  /** The elements of our sets. */
  elements: ReadonlyMap<string, readonly NftElement[]>;
}

export interface Difference {
  kind: 'table' | 'rule' | 'port';
  object: string;
  network: string | null;
  /** The owner of a port (id:generation). */
  owner: string | null;
  /** Null if the whole table must be made anew. */
  repair: NftOperation[] | null;
}

/** Returns the operations for the whole table. They also replace an existing table if the same transaction removes it first. */
export function wholeRuleset(table: string, { networks, ports, closed, guard, replies }: Standing): NftOperation[] {
  return [
    ...baseRules(table, closed, guard, replies),
    ...networks.flatMap(({ rules }) => networkRules(table, rules)),
    ...portElements(table, [...ports]).add,
  ];
}

/** Returns one transaction for all of these. Makes the whole table from `standing` if a difference needs that. */
export function repairOf(table: string, differences: readonly Difference[], standing: Standing): NftOperation[] {
  if (differences.some(({ repair }) => repair === null))
    return [...removeTable(table), ...wholeRuleset(table, standing)];
  const operations = differences.flatMap(({ repair }) => repair ?? []);
  return operations.sort((a, b) => stageOf(a) - stageOf(b));
}

/**
 * Orders the operations: an object must exist before a rule or element refers to it, and an element must be gone before another
 * one gets its key.
 */
function stageOf({ op }: NftOperation): number {
  const order: NftOperation['op'][] = ['set.add', 'chain.add', 'chain.flush', 'rule.add', 'element.del', 'element.add'];
  return order.indexOf(op);
}

export function compareRuleset(table: string, standing: Standing, seen: SeenRuleset): Difference[] {
  const whole = { kind: 'table', network: null, owner: null } as const;
  if (seen.table === null) return [{ ...whole, object: `inet ${table}`, repair: null }];
  // For example the dormant flag, with which no chain is called.
  if (seen.table.flags !== 0) return [{ ...whole, object: `flags of inet ${table}`, repair: null }];
  const base = after(baseRules(table, standing.closed, standing.guard, standing.replies));
  const sets = new Map(seen.table.sets.map((set) => [set.name, set]));
  const chains = new Map(seen.table.chains.map((chain) => [chain.name, chain]));
  const found: Difference[] = [];

  const compareSets = (wanted: Model, more: Pick<Difference, 'kind' | 'network' | 'owner'>) => {
    for (const [name, add] of wanted.sets) {
      const set = sets.get(name);
      const object = `set ${name}`;
      if (set === undefined) found.push({ ...more, object, repair: [add] });
      else if (
        set.key !== add.key.join(' . ') ||
        set.map !== (add.data !== undefined) ||
        set.interval !== (add.interval === true) ||
        set.flags !== 0
      ) {
        found.push({ ...more, object, repair: null });
      }
    }
  };
  const compareChains = (wanted: Model, more: Pick<Difference, 'kind' | 'network' | 'owner'>) => {
    for (const [name, { add, rules }] of wanted.chains) {
      const chain = chains.get(name);
      const object = `chain ${name}`;
      // Only the policy of a hook can be changed after its chain was made.
      if (chain !== undefined && placeOf(chain.hook) !== placeOf(add.hook)) {
        found.push({ ...whole, object, repair: null });
        continue;
      }
      const same =
        chain !== undefined &&
        chain.hook?.policy === add.hook?.policy &&
        chain.rules.length === rules.length &&
        chain.rules.every(({ comment }, i) => comment === rules[i]?.comment);
      if (same) continue;
      const repair: NftOperation[] = [add, { op: 'chain.flush', table, chain: name }, ...rules];
      found.push({ ...more, object, repair });
    }
  };
  const compareElements = (
    wanted: Model,
    describe: (set: string, element: NftElement) => Omit<Difference, 'repair'>,
  ) => {
    for (const [set, elements] of wanted.elements) {
      const present = index(seen.elements.get(set) ?? []);
      for (const [key, { element, wanted: there }] of elements) {
        const is = present.get(key);
        if (there ? is !== undefined && dataText(is) === dataText(element) : is === undefined) continue;
        const repair: NftOperation[] = [];
        if (is !== undefined) repair.push({ op: 'element.del', table, set, elements: [{ key: element.key }] });
        if (there) repair.push({ op: 'element.add', table, set, elements: [element] });
        found.push({ ...describe(set, element), repair });
      }
    }
  };

  compareSets(base, whole);
  compareChains(base, whole);
  compareElements(base, (set, { key }) => ({ ...whole, object: `${key.map(valueOf).join(' . ')} in ${set}` }));
  for (const { network, rules } of standing.networks) {
    const wanted = after(networkRules(table, rules));
    const of = { kind: 'rule', network, owner: null } as const;
    compareSets(wanted, of);
    compareChains(wanted, of);
    compareElements(wanted, (set, { key }) => ({ ...of, object: `${key.map(valueOf).join(' . ')} in ${set}` }));
  }
  compareElements(after(portElements(table, [...standing.ports]).add), (set, element) => ({
    kind: 'port',
    object:
      MAPS.find(({ name }) => name === set)
        ?.describe({ ...element, comment: '' })
        .replace(' ()', '') ?? set,
    network: null,
    owner: element.comment ?? null,
  }));
  return found;
}

/** Returns which of these sets are ours, which a comparison must read. */
export function ourSets(table: string, names: readonly string[]): string[] {
  const base = after(baseRules(table, new Map(), NO_UPLINKS)).sets;
  return names.filter((name) => base.has(name) || bridgeOfSet(name) !== undefined);
}
/** Any guard will do, because the names of the sets do not depend on it. */
const NO_UPLINKS: UplinkGuard = { users: { plain: 0, loopback: 0 }, nameservers: [] };

interface Model {
  sets: Map<string, Extract<NftOperation, { op: 'set.add' }>>;
  chains: Map<
    string,
    { add: Extract<NftOperation, { op: 'chain.add' }>; rules: Extract<NftOperation, { op: 'rule.add' }>[] }
  >;
  /** By set and key: true in `wanted` if the element must be there, false if it must be absent. */
  elements: Map<string, Map<string, { element: NftElement; wanted: boolean }>>;
}

/** Returns the state after these operations, as far as they determine it. */
function after(operations: readonly NftOperation[]): Model {
  const model: Model = { sets: new Map(), chains: new Map(), elements: new Map() };
  for (const operation of operations) {
    if (operation.op === 'set.add') model.sets.set(operation.set, operation);
    else if (operation.op === 'chain.add') model.chains.set(operation.chain, { add: operation, rules: [] });
    else if (operation.op === 'rule.add') model.chains.get(operation.chain)?.rules.push(operation);
    else if (operation.op === 'element.add' || operation.op === 'element.del') {
      const elements = model.elements.get(operation.set) ?? new Map<string, { element: NftElement; wanted: boolean }>();
      model.elements.set(operation.set, elements);
      const wanted = operation.op === 'element.add';
      for (const element of operation.elements) elements.set(keyText(element), { element, wanted });
    }
  }
  return model;
}

const index = (elements: readonly NftElement[]) => new Map(elements.map((element) => [keyText(element), element]));

const placeOf = (hook: NftHook | null | undefined): string =>
  hook === null || hook === undefined ? '' : `${hook.type} ${hook.hook} ${hook.priority}`;

const valueOf = (datum: object): unknown => Object.values(datum)[0];

/**
 * Returns the same text for planned and dumped elements. Includes `intervalEnd`, because the end of an interval may have the
 * same key as the start of the next.
 */
function keyText({ key, intervalEnd = false }: NftElement): string {
  return JSON.stringify([...key.map(valueOf), intervalEnd]);
}

function dataText({ data, comment = '' }: NftElement): string {
  const text = Array.isArray(data)
    ? data.map(valueOf)
    : data === undefined
      ? []
      : [data.verdict, 'chain' in data ? data.chain : ''];
  return `${JSON.stringify(text)} ${comment}`;
}

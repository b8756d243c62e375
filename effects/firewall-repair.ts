/**
 * The table of an outside looked at, and put right where others have changed it.
 *
 * Guarantees: everything that differs is put back in one transaction, so there is no moment in which half of it stands;
 * what does not differ is not touched. What should be is asked for again at the last moment, in the same turn in which
 * the transaction is queued behind all earlier ones: what is being taken away is not put back.
 * Limits: what changes while we look is not judged; the watch looks again when it has come to rest.
 */
import type { Found, RulesetFindings, VerifyInput } from '../machines/firewall.ts';
import { isKernelError, type NftElement, type NftOperation, type Outside } from '../native/index.ts';
import type { DriftPolicies } from '../state/drift.ts';
import type { Kernel } from './kernel.ts';
import {
  compareRuleset,
  ourSets,
  repairOf,
  type Difference,
  type SeenRuleset,
  type Standing,
} from './ruleset-compare.ts';

/** Where it is known what stands in an outside: networks that are up, ports of containers at rest. */
export type RulesetDirectory = (outside: string | null) => Standing;

export const repairRuleset =
  (kernel: Kernel, ruleset: RulesetDirectory, policies: DriftPolicies) =>
  async ({ outside, asked }: VerifyInput): Promise<RulesetFindings> => {
    const { kernel: native } = kernel.outside(outside);
    const { table } = kernel.instance;
    const before = ruleset(outside);
    const seen = await look(native, table);
    const now = ruleset(outside);
    const differences = compareRuleset(table, common(before, now), seen);
    const repaired = asked ? differences : repairable(differences, policies);
    if (repaired.length > 0) await native.nft(repairOf(table, repaired, now));
    const left = differences.filter((one) => !repaired.includes(one) && policies[one.kind] !== 'ignore');
    return { repaired: repaired.map(foundOf), left: left.map(foundOf) };
  };

const foundOf = ({ kind, object, network, owner }: Difference): Found => ({ owner, drift: { kind, object, network } });

/** Those whose policy says so, without those that need a set which is to stay away. */
function repairable(differences: readonly Difference[], policies: DriftPolicies): Difference[] {
  const wanted = differences.filter(({ kind }) => policies[kind] === 'repair');
  const absent = new Set(
    differences
      .filter((one) => !wanted.includes(one))
      .flatMap(({ repair }) => repair ?? [])
      .flatMap((operation) => (operation.op === 'set.add' ? operation.set : [])),
  );
  if (absent.size === 0) return wanted;
  return wanted.filter(
    ({ repair }) => !(repair ?? []).some((operation) => setsIn(operation).some((set) => absent.has(set))),
  );
}

function setsIn(operation: NftOperation): string[] {
  if (operation.op === 'element.add') return [operation.set];
  if (operation.op !== 'rule.add') return [];
  return operation.expressions.flatMap((expression) => (expression.expr === 'lookup' ? expression.set : []));
}

/** What stood before we looked and stands still: the look has to show it. */
function common(before: Standing, now: Standing): Standing {
  const text = (value: unknown) => JSON.stringify(value);
  const networks = new Set(before.networks.map(text));
  const ports = new Set(before.ports.map(text));
  return {
    networks: now.networks.filter((network) => networks.has(text(network))),
    ports: now.ports.filter((port) => ports.has(text(port))),
  };
}

async function look(native: Outside, table: string): Promise<SeenRuleset> {
  const found = await native.nftTable('inet', table);
  if (found === null) return { table: null, elements: new Map() };
  const present = new Set(found.sets.map(({ name }) => name));
  const sets = ourSets(table).filter((set) => present.has(set));
  const dumps = await Promise.all(sets.map((set) => elementsOf(native, table, set)));
  return { table: found, elements: new Map(sets.map((set, i) => [set, dumps[i] ?? []])) };
}

/** None when it has gone since. */
async function elementsOf(native: Outside, table: string, set: string): Promise<NftElement[]> {
  try {
    return await native.nftElements('inet', table, set);
  } catch (error) {
    if (isKernelError(error) && error.code === 'ENOENT') return [];
    throw error;
  }
}

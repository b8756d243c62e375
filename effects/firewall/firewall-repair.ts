/**
 * Compares the table of an outside with what it should be, and repairs what others have changed.
 *
 * Guarantees: one transaction restores everything that differs, so no moment shows half of it; the rest is not touched. The
 * expected state is read again at the last moment, in the same turn in which the transaction is queued behind all earlier ones.
 * So rules that are being removed are not restored.
 * Limits: changes during the comparison are not judged; the watch compares again when the table has come to rest.
 */
import type { Found, RulesetFindings, VerifyInput } from '../../machines/firewall.ts';
import { isKernelError, type NftElement, type NftOperation, type Outside } from '../../native/index.ts';
import type { DriftPolicies } from '../../state/drift.ts';
import { closedFamilies, lostSwitches, restoreForwarding } from '../namespaces/forwarding.ts';
import type { Kernel } from '../kernel.ts';
import type { ForwardOthers } from './firewall.ts';
import { byLook } from './ruleset-turn.ts';
import {
  compareRuleset,
  ourSets,
  repairOf,
  type Difference,
  type SeenRuleset,
  type Standing,
} from '../ruleset/ruleset-compare.ts';

/** Returns the expected content of an outside's table: networks that are up, ports of containers at rest. */
export type RulesetDirectory = (outside: string | null) => Omit<Standing, 'closed'>;

export const repairRuleset =
  (kernel: Kernel, ruleset: RulesetDirectory, policies: DriftPolicies, forwardOthers: ForwardOthers) =>
  async ({ outside, found, asked }: VerifyInput): Promise<RulesetFindings> => {
    const { kernel: native } = kernel.outside(outside);
    const { table } = kernel.instance;
    const closed = closedFamilies(found, forwardOthers(outside));
    return byLook(native, async () => {
      const before = { ...ruleset(outside), closed };
      const seen = await look(native, table);
      const now = { ...ruleset(outside), closed };
      const expected = common(before, now);
      const differences = compareRuleset(table, expected, seen);
      const repaired = asked ? differences : repairable(differences, policies);
      if (repaired.length > 0) await native.nft(repairOf(table, repaired, now));
      const left = differences.filter((one) => !repaired.includes(one) && policies[one.kind] !== 'ignore');
      const switches = await repairSwitches(native, found, expected, asked ? 'repair' : policies.switch);
      return {
        repaired: [...repaired.map(foundOf), ...switches.repaired],
        left: [...left.map(foundOf), ...switches.left],
      };
    });
  };

/**
 * Turns on again the switches that a host needs to forward for networks. Without networks (`found` is null) none is needed. A
 * network that is being raised turns on those of its own.
 */
async function repairSwitches(
  native: Outside,
  found: VerifyInput['found'],
  { networks }: Omit<Standing, 'closed'>,
  policy: DriftPolicies['switch'],
): Promise<RulesetFindings> {
  if (found === null || networks.length === 0 || policy === 'ignore') return { repaired: [], left: [] };
  const has6 = networks.some(({ rules }) => rules.subnets.some(({ cidr }) => cidr.includes(':')));
  const lost = await lostSwitches(native, found, has6);
  const drift = Object.entries(lost).map(([key, value]): Found => ({
    owner: null,
    drift: { kind: 'switch', object: `${key}=${value}`, network: null },
  }));
  if (policy === 'alert') return { repaired: [], left: drift };
  await restoreForwarding(native, lost);
  return { repaired: drift, left: [] };
}

const foundOf = ({ kind, object, network, owner }: Difference): Found => ({ owner, drift: { kind, object, network } });

/** Returns the differences that the policy repairs, except those that need a set which stays missing. */
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

/** Returns the expected content that held both before and after the read, so that the dump must show it. */
function common(before: Standing, now: Standing): Standing {
  const text = (value: unknown) => JSON.stringify(value);
  const networks = new Set(before.networks.map(text));
  const ports = new Set(before.ports.map(text));
  return {
    closed: now.closed,
    networks: now.networks.filter((network) => network.raising !== true && networks.has(text(network))),
    ports: now.ports.filter((port) => ports.has(text(port))),
    guard: now.guard,
    replies: now.replies,
  };
}

async function look(native: Outside, table: string): Promise<SeenRuleset> {
  const found = await native.nftTable('inet', table);
  if (found === null) return { table: null, elements: new Map() };
  const names = found.sets.map(({ name }) => name);
  const sets = ourSets(table, names);
  const dumps = await Promise.all(sets.map((set) => elementsOf(native, table, set)));
  return { table: found, elements: new Map(sets.map((set, i) => [set, dumps[i] ?? []])) };
}

/** Returns none if the set is gone by now. */
async function elementsOf(native: Outside, table: string, set: string): Promise<NftElement[]> {
  try {
    return await native.nftElements('inet', table, set);
  } catch (error) {
    if (isKernelError(error) && error.code === 'ENOENT') return [];
    throw error;
  }
}

/**
 * Contenders take turns: the same work, round after round, so that other work of the machine hits all alike.
 *
 * Guarantees: the order moves on by one every round, so nobody is always the one after a slow peer; peers get every
 * k-th round and no more than their share of seconds; a contender that fails is left out, with its reason, and the rest
 * go on.
 * Limits: turns are one after another, never at the same time (bursts have a scenario of their own).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contender } from './contenders/contender.ts';
import type { PortRun } from './floor/floor.ts';
import { ms, p50, reasonOf, type Report } from './report.ts';

/** After a create: notifications are delivered and read. After a teardown: the kernel's grace periods pass. */
const CREATE_PAUSE_MS = 8;
const TEARDOWN_PAUSE_MS = 40;

export interface Samples {
  create: number[];
  teardown: number[];
  /** The times of creates, by part. */
  parts: Record<string, number[]>;
  error?: string;
}

export interface Rounds {
  contenders: Contender[];
  /** Creates and teardowns before the first round, which do not count. The peers do none: they start anew each time. */
  warmUp?: number;
  rounds: number;
  peerEvery: number;
  /** Seconds that each peer may use for its creates. */
  peerSeconds: number;
  ports: number;
  firstPort: number;
  nextId: () => number;
}

export async function takeTurns(plan: Rounds): Promise<Map<string, Samples>> {
  const results = new Map<string, Samples>(
    plan.contenders.map(({ name }) => [name, { create: [], teardown: [], parts: {} }]),
  );
  for (let i = 0; i < (plan.warmUp ?? 0); i++) {
    for (const contender of plan.contenders.filter(({ peer }) => !peer)) {
      const id = plan.nextId();
      await guarded(results.get(contender.name)!, async () => {
        await contender.create(id, { count: plan.ports, first: plan.firstPort, step: 1 });
        await contender.teardown(id);
      });
    }
  }
  const live: { contender: Contender; id: number }[][] = [];
  const spent = new Map<string, number>();

  for (let round = 0; round < plan.rounds; round++) {
    const first = plan.firstPort + round * plan.ports;
    const ports: PortRun = { count: plan.ports, first, step: 1 };
    const made: { contender: Contender; id: number }[] = [];
    for (const contender of rotated(plan.contenders, round)) {
      const samples = results.get(contender.name)!;
      const used = spent.get(contender.name) ?? 0;
      if (samples.error !== undefined) continue;
      if (contender.peer && (round % plan.peerEvery !== 0 || used > plan.peerSeconds * 1000)) continue;
      const id = plan.nextId();
      await guarded(samples, async () => {
        const { ms, parts } = await contender.create(id, ports);
        made.push({ contender, id });
        samples.create.push(ms);
        for (const [part, value] of Object.entries(parts)) (samples.parts[part] ??= []).push(value);
        spent.set(contender.name, used + ms);
      });
      await sleep(CREATE_PAUSE_MS);
    }
    live.push(made);
  }

  for (const [round, made] of live.entries()) {
    for (const { contender, id } of rotated(made, round)) {
      const samples = results.get(contender.name)!;
      await guarded(samples, async () => {
        samples.teardown.push((await contender.teardown(id)).ms);
      });
      await sleep(TEARDOWN_PAUSE_MS);
    }
  }
  return results;
}

async function guarded(samples: Samples, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    samples.error ??= reasonOf(error);
  }
}

export function partsNote(name: string, samples: Samples): string {
  const parts = Object.entries(samples.parts).map(([part, values]) => `${part} ${ms(p50(values))}`);
  return `${name}, p50 of its parts: ${parts.join(', ')}`;
}

/** Puts down who was left out, and why. */
export function noteErrors(report: Report, results: Map<string, Samples>, peers: Contender[]): void {
  for (const [name, { error }] of results) {
    if (error === undefined) continue;
    const where = peers.some((peer) => peer.name === name) ? report.notes : report.failures;
    where.push(`${name}: ${error}`);
  }
}

/** Returns the order of a round: everyone is first in turn. */
export function rotated<T>(items: T[], by: number): T[] {
  const at = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(at), ...items.slice(0, at)];
}

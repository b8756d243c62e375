/**
 * Thousands of ports, published by containers that hold 200 each.
 *
 * Guarantees: they are single ports, three apart, so that no table can hold them as a range; the n-th is always the same.
 */
import { upEvents, type Client } from './client.ts';
import type { PortRun } from './floor/floor.ts';

const FIRST = 16_384;
const STEP = 3;
const PER_CONTAINER = 200;

/** Returns the ports from the `from`-th to the one before the `to`-th. */
export function manyPorts(from: number, to: number): PortRun {
  return { count: to - from, first: FIRST + from * STEP, step: STEP };
}

/** The same, shared out over containers. */
export function portsByContainer(from: number, to: number): PortRun[] {
  const runs: PortRun[] = [];
  for (let next = from; next < to; next += PER_CONTAINER) {
    runs.push(manyPorts(next, Math.min(to, next + PER_CONTAINER)));
  }
  return runs;
}

/** Has cleat publish them. Returns the ids of the containers. */
export async function publishMany(client: Client, nextId: () => number, from: number, to: number): Promise<string[]> {
  const ids: string[] = [];
  for (const ports of portsByContainer(from, to)) {
    const id = `fill${nextId()}`;
    await client.events(upEvents(id, ports));
    ids.push(id);
  }
  return ids;
}

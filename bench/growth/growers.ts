/**
 * The growers that are the same for containers, ports and networks: the peers, and the memory of the daemon.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contender } from '../contenders/contender.ts';
import type { Daemon } from '../daemon.ts';
import type { PortRun } from '../floor/floor.ts';
import type { Grower } from './climb.ts';

const SETTLE_MS = 1000;

/** Resident memory a moment later, when the garbage of what was just made may have gone. */
export const settled = (daemon: Daemon) => async (): Promise<number> => {
  await sleep(SETTLE_MS);
  return daemon.rss();
};

export const noDaemon = (): Promise<null> => Promise.resolve(null);

/** A peer that makes one container after another; `portsOf` says which ports each publishes. */
export function peerGrower(
  contender: Contender,
  nextId: () => number,
  portsOf: (from: number, to: number) => PortRun[],
): Grower {
  return {
    contender,
    async grow(from, to) {
      for (const ports of portsOf(from, to)) await contender.create(nextId(), ports);
    },
    memory: noDaemon,
  };
}

/**
 * The daemon as one program (`#daemon`), and the one place where V8 is told what it is.
 *
 * Guarantees: V8 is told before any code of the daemon is compiled. Whoever starts the daemon need not know of it, and its code cache
 * is made with the same (scripts/code-cache.ts).
 * Limits: only what V8 reads anew whenever it needs it can be told to a process that runs already.
 */
import { setFlagsFromString } from 'node:v8';
import type * as Daemon from '../service/main.ts';
import { load } from './program.ts';

/** docs/performance.md has the figures. */
const TOLD = [
  // The halves of the young generation stay at the 1 MB that they begin with. They would grow to 16 MB each while containers are made,
  // and stay so. A daemon is to be small, and little of what it allocates lives on.
  '--semi-space-growth-factor=1',
  // The old generation is collected sooner: with 1,000 containers it takes 15 MB less.
  '--optimize-for-size',
];

for (const flag of TOLD) setFlagsFromString(flag);

export const { exports: daemon, script, unfit } = load('daemon');

export const { readSettings, refuses } = daemon as typeof Daemon;
export const main: typeof Daemon.main = (options, tell) => (daemon as typeof Daemon).main(options, tell, unfit);

/**
 * The daemon as one program (`#daemon`), and the one place where V8 is told what it is.
 *
 * Guarantees: whoever starts the daemon need not know of it. V8 is told when the program is loaded, whose code cache is of a V8 that
 * is told nothing, and before the first container is restored.
 * Limits: only what V8 reads anew whenever it needs it can be told to a process that runs already.
 */
import { setFlagsFromString } from 'node:v8';
import type * as Daemon from '../service/main.ts';
import { load } from './program.ts';

/** docs/performance.md has the figures. */
const TOLD = [
  // The halves of the young generation stay as large as loading has made them. They would grow to 16 MB each while containers are made,
  // and not become smaller again. A daemon is to be small, and little of what it allocates lives on.
  '--semi-space-growth-factor=1',
  // The old generation is collected sooner: with 1,000 containers it takes 15 MB less.
  '--optimize-for-size',
];

const { exports, unfit } = load('daemon');
const daemon = exports as typeof Daemon;

export const { readSettings, refuses } = daemon;
export const main: typeof Daemon.main = (options, tell) => {
  for (const flag of TOLD) setFlagsFromString(flag);
  return daemon.main(options, tell, unfit);
};

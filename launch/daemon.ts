/**
 * The daemon as one program (`#daemon`), and the one place where V8 is told what it is.
 *
 * Guarantees: whoever starts the daemon need not know of it. V8 is told when the program is loaded, whose code cache is of a V8 that
 * is told nothing, and before the first container is restored.
 * Limits: only what V8 reads anew whenever it needs it can be told to a process that runs already.
 */
import { setFlagsFromString } from 'node:v8';
import type * as Daemon from '../service/main.ts';
import { compactAtRest } from './heap.ts';
import { load } from './program.ts';

/**
 * The halves of the young generation stay as large as loading has made them. They would grow to 16 MB each while containers are made,
 * and little of what a daemon allocates lives on. docs/performance.md has the figures.
 */
const TOLD = '--semi-space-growth-factor=1';

const { exports, unfit } = load('daemon');
const daemon = exports as typeof Daemon;

export const { readSettings, refuses } = daemon;
export const main: typeof Daemon.main = (options, tell) => {
  setFlagsFromString(TOLD);
  compactAtRest();
  return daemon.main(options, tell, unfit);
};

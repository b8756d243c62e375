/**
 * The walks that are tried on a kernel: all of them, or in npm test every second of as few as take
 * every kind of step that any walk takes.
 *
 * Guarantees: the same walks give the same choice, and a share of each way in which effects fail.
 */
import { effort } from './proof.ts';
import type { Ending } from './world.ts';

interface Walk {
  steps: readonly unknown[];
  /** A state, an event, the next state: "created configure -> configuring.leasing". */
  kinds: Set<string>;
}

/** Effects that fail before they have happened, and after; left alone until all is well, or ended at once. */
interface Way {
  failing: Ending;
  alone: boolean;
}
const WAYS: Way[] = [
  { failing: 'failed', alone: false },
  { failing: 'late', alone: true },
  { failing: 'failed', alone: true },
  { failing: 'late', alone: false },
];

export const kindsIn = (walks: readonly Walk[]): Set<string> => new Set(walks.flatMap(({ kinds }) => [...kinds]));

export function runsOf<W extends Walk>(walks: readonly W[]): (W & Way)[] {
  const chosen = effort('walks', 1, walks.length) === walks.length ? walks : everySecond(cover(walks));
  return chosen.map((walk, n) => ({ ...walk, ...WAYS[n % WAYS.length]! }));
}

const everySecond = <T>(all: readonly T[]): T[] => all.filter((_one, n) => n % 2 === 0);

/** In npm test the first walk of each kind. */
export function oneOfEach<W>(walks: readonly W[], kindOf: (walk: W) => string): readonly W[] {
  if (effort('walks', 1, walks.length) === walks.length) return walks;
  return [...new Map(walks.toReversed().map((walk) => [kindOf(walk), walk])).values()];
}

/** As few as have every kind of step: each time the walk that adds the most for its length. */
function cover<W extends Walk>(walks: readonly W[]): W[] {
  const open = kindsIn(walks);
  const chosen: W[] = [];
  const gain = ({ kinds, steps }: W) => [...kinds].filter((kind) => open.has(kind)).length / steps.length;
  while (open.size > 0) {
    const best = walks.reduce((one, other) => (gain(other) > gain(one) ? other : one));
    chosen.push(best);
    for (const kind of best.kinds) open.delete(kind);
  }
  return chosen;
}

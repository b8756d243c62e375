/**
 * What to type instead of a command or flag that does not exist.
 *
 * Guarantees: pure. A word of Docker's or Podman's leads to what does the same here, by name. Otherwise one name is suggested, if it is
 * the only one that a single slip leads to (a letter too much, missing, wrong, or two exchanged). A command that takes something away
 * is suggested for no slip but two exchanged letters: who mistyped something else must not be led to it.
 */

/** What others have words for, and cleat another word. */
const HABITS: Readonly<Record<string, string>> = {
  start: 'cleat up ID',
  restart: 'cleat reload --full ID',
  kill: 'cleat stop ID',
  pause: 'cleat disconnect NETWORK ID',
  logs: 'journalctl -t ID',
  status: 'cleat ps',
  container: 'cleat ps',
  system: 'cleat info',
  top: 'cleat stats',
  monitor: 'cleat events',
  delete: 'cleat rm ID',
  enter: 'cleat exec ID CMD',
  networks: 'cleat network ls',
};

const DESTRUCTIVE = new Set(['rm', 'remove', 'teardown', 'stop', 'prune', 'disconnect', 'unpublish']);

/** Returns a sentence, or null if nothing is sure. */
export function suggestion(typed: string, names: readonly string[], top: boolean): string | null {
  if (top && Object.hasOwn(HABITS, typed)) return `Here that is \`${HABITS[typed]}\`.`;
  const near = names.filter((name) => {
    const swapped = isSwap(typed, name);
    return DESTRUCTIVE.has(name) ? swapped : swapped || isSlip(typed, name);
  });
  return near.length === 1 ? `Did you mean ${near[0]}?` : null;
}

/** True if two letters that stand side by side are exchanged. */
function isSwap(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  const at = Array.from(a).findIndex((letter, i) => letter !== b[i]);
  return at >= 0 && a[at] === b[at + 1] && a[at + 1] === b[at] && a.slice(at + 2) === b.slice(at + 2);
}

/** True if one letter is too much, missing or wrong. In a short word that is too much of it. */
function isSlip(a: string, b: string): boolean {
  if (Math.min(a.length, b.length) < 4) return false;
  const at = Array.from(a).findIndex((letter, i) => letter !== b[i]);
  const from = at === -1 ? a.length : at;
  const [rest, other] = [a.slice(from), b.slice(from)];
  return rest.slice(1) === other.slice(1) || rest.slice(1) === other || rest === other.slice(1);
}

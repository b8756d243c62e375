/**
 * What the commands that list things have in common: --filter, --noheading and --quiet.
 *
 * Guarantees: a filter names one of the list's keys, and anything else is refused before anything is asked. Several values of one key
 * are alternatives, several keys all have to hold, as with Docker and Podman. `id` compares the beginning, `name` a part, every other
 * key the whole of one of its values.
 * Limits: the daemon sends the whole list, and the command chooses.
 */
import { Option, type Command } from 'commander';
import { collect, type Session } from '../command.ts';
import { usage } from '../failure.ts';

/** The values that an item has for each key of --filter. */
export type Keys<T> = Readonly<Record<string, (item: T) => readonly string[]>>;

export interface ListFlags {
  filter?: string[];
  quiet?: boolean;
}

export interface Listing<T> {
  headings: string[];
  row: (item: T) => string[];
  /** What --quiet prints. */
  name: (item: T) => string;
}

/** Adds --filter with these keys. */
export function addFilter<T>(command: Command, keys: Keys<T>): Command {
  return command.addOption(
    new Option(
      '-f, --filter <key=value>',
      `only those; KEY is ${Object.keys(keys).join(', ')} (again for more)`,
    ).argParser(collect),
  );
}

/** Adds the flags of a list. `quiet` says what -q prints. */
export function addListFlags<T>(command: Command, keys: Keys<T>, quiet: string | null): Command {
  addFilter(command, keys);
  if (quiet !== null) command.option('-q, --quiet', quiet);
  return command.option('--noheading', 'no line of headings');
}

/** Returns the test that the filters make. */
export function filterOf<T>(words: readonly string[], keys: Keys<T>): (item: T) => boolean {
  const wanted = new Map<string, string[]>();
  for (const word of words) {
    const equals = word.indexOf('=');
    const key = word.slice(0, Math.max(0, equals));
    if (!Object.hasOwn(keys, key)) {
      const known = `A filter is KEY=VALUE, and KEY is one of ${Object.keys(keys).join(', ')}.`;
      throw usage(`invalid --filter "${word}"`, known);
    }
    wanted.set(key, [...(wanted.get(key) ?? []), word.slice(equals + 1)]);
  }
  return (item) =>
    [...wanted].every(([key, values]) => {
      const has = keys[key]?.(item) ?? [];
      return values.some((value) => has.some((one) => agrees(key, one, value)));
    });
}

function agrees(key: string, has: string, wanted: string): boolean {
  if (key === 'id') return has.startsWith(wanted);
  if (key === 'name') return has.includes(wanted);
  return has === wanted;
}

/** Prints a list as the flags ask for it. */
export async function showList<T>(
  session: Session,
  items: readonly T[],
  listing: Listing<T>,
  quiet = false,
): Promise<void> {
  if (quiet) {
    if (!session.plain && !session.json) throw usage('-q prints names alone: not together with a --format of fields');
    const names = items.map(listing.name);
    return session.say(names, names);
  }
  await session.table(items, listing.headings, items.map(listing.row));
}

/** The labels of something, as --filter label=KEY and label=KEY=VALUE name them. */
export const labelsOf = (labels: Readonly<Record<string, string>>): string[] =>
  Object.entries(labels).flatMap(([key, value]) => [key, `${key}=${value}`]);

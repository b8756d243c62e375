/**
 * Reads what the hosts of an overlay have written into the store.
 *
 * Guarantees: each key is judged alone. A value that is damaged, or a key that is not one of cleat's, is told and left out; its
 * share, if it names one, still counts as somebody's.
 */
import type { Entry } from '../../effects/etcd/store.ts';
import { placeOf } from '../../plan/overlay/keys.ts';
import type { Seen } from '../../plan/overlay/peers.ts';
import { Claim, OverlayShared, RemoteNames } from '../../state/overlay.ts';

/** A thousand hosts write rarely, and each time all that they have written is read. */
const claimsRead = new WeakMap<Entry, Parsed<Claim>>();
const namesRead = new WeakMap<Entry, Parsed<RemoteNames>>();

function once<T>(known: WeakMap<Entry, Parsed<T>>, entry: Entry, parse: () => Parsed<T>): Parsed<T> {
  const before = known.get(entry);
  if (before !== undefined) return before;
  const now = parse();
  known.set(entry, now);
  return now;
}

export function read(name: string, entries: Iterable<Entry>): Seen {
  const seen: Seen = { claims: [], rests: [], names: new Map(), refused: new Map() };
  for (const entry of entries) {
    const { key, value, modified, lease } = entry;
    const place = placeOf(name, key);
    if (place.kind === 'foreign') seen.refused.set(key, 'is not a key of cleat');
    if (place.kind === 'rest') seen.rests.push({ subnet: place.subnet, host: value, modified });
    if (place.kind === 'claim') {
      const { data: claim, why } = once(claimsRead, entry, () => parsed(value, Claim));
      if (claim === null) seen.refused.set(key, why);
      seen.claims.push({ subnet: place.subnet, claim, modified, lease });
    }
    if (place.kind === 'names') {
      const { data: names, why } = once(namesRead, entry, () => parsed(value, RemoteNames));
      if (names === null) seen.refused.set(key, why);
      else if (names.id !== place.id) seen.refused.set(key, `names another container: ${names.id}`);
      else seen.names.set(key, { host: place.host, names });
    }
  }
  return seen;
}

interface Schema<T> {
  safeParse(
    value: unknown,
  ): { success: true; data: T } | { success: false; error: { issues: { message: string; path: PropertyKey[] }[] } };
}

type Parsed<T> = { data: T; why: '' } | { data: null; why: string };

function parsed<T>(text: string, schema: Schema<T>): Parsed<T> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { data: null, why: 'its value is no JSON' };
  }
  const result = schema.safeParse(value);
  if (result.success) return { data: result.data, why: '' };
  const [issue] = result.error.issues;
  return { data: null, why: `its value is not one of cleat: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}` };
}

/** Returns what all hosts agree on; null if the text says nothing of the kind. */
export const readShared = (text: string): OverlayShared | null => parsed(text, OverlayShared).data;

/**
 * The meaning of a machine's state to others: whether it is at rest, and whether a container is complete or leaving.
 *
 * Guarantees: pure. A name is the path of states joined by dots, "configuring.attaching.attachment". It is complete, because
 * no machine here has parallel states. "error": a defect of cleat has stopped the machine, in whatever state it was.
 */

/** The part of a snapshot that matters here. A snapshot from disk has no tags. */
interface OnDisk {
  status?: string;
  value: unknown;
}
/** The part of any running machine's snapshot that matters here. */
export interface Running {
  status: string;
  hasTag(tag: string): boolean;
}
type Seen = OnDisk & Running;

/** States in which everything that a container's context names has been made, and nothing has been removed. */
const STEADY: ReadonlySet<string> = new Set(['created', 'up', 'degraded']);
/** States that lead to the end, and to nothing else. */
const LEAVING: ReadonlySet<string> = new Set([
  'tearingDown',
  'draining',
  'releasing',
  'teardownFailed',
  'abandoning',
  'gone',
]);
/** States that follow the removal of the namespace's pin. A crash may leave a container in one of them. */
const UNPINNED: ReadonlySet<string> = new Set([
  'tearingDown.removingFiles',
  'tearingDown.releasingPorts',
  'draining',
  'releasing',
  'gone',
]);

export function stateName(snapshot: OnDisk): string {
  if (snapshot.status === 'error') return 'error';
  const parts: string[] = [];
  let value = snapshot.value;
  while (typeof value === 'object' && value !== null) {
    const [key, inner] = Object.entries(value)[0] ?? ['', ''];
    parts.push(key);
    value = inner;
  }
  return [...parts, String(value)].join('.');
}

/** Returns the first part of the state's name. */
export const topState = (snapshot: OnDisk): string => stateName(snapshot).split('.')[0] ?? '';

/** Returns true if no operation is under way: the machine is at rest, or has ended. */
export const rests = (snapshot: Running): boolean => snapshot.status !== 'active' || snapshot.hasTag('rest');

export const isSteadyName = (name: string): boolean => STEADY.has(name);

export const isSteady = (snapshot: Seen): boolean =>
  snapshot.status === 'active' && STEADY.has(stateName(snapshot)) && snapshot.hasTag('rest');

export const isLeaving = (snapshot: OnDisk): boolean => snapshot.status === 'done' || LEAVING.has(topState(snapshot));

/** Returns true if the container's namespace has been given up: nothing removes a pin that is made for it now. */
export const isUnpinned = (snapshot: OnDisk): boolean => UNPINNED.has(stateName(snapshot));

/** Returns true if the container is leaving and will be gone soon. A failed teardown does not count. */
export const isDeparting = (snapshot: OnDisk): boolean =>
  isLeaving(snapshot) && stateName(snapshot) !== 'teardownFailed';

/** Returns the container if its namespace can be shared: it is neither being created nor leaving. */
export function sharable<Snapshot extends Seen>(snapshot: Snapshot | undefined): Snapshot | undefined {
  const shares = snapshot?.status === 'active' && !isLeaving(snapshot) && stateName(snapshot) !== 'creating';
  return shares ? snapshot : undefined;
}

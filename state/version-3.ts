/**
 * Container records of version 3, as version 4 has them: in 4 an uplink runs as a user of its own, and the firewall is held
 * for it; ports stay with a container whose last network is taken away; states are called as the effects that run in them
 * (docs/vocabulary.md).
 *
 * Guarantees: pure, over plain JSON. Who asks for leases or gives them back also speaks for its uplink; an uplink that was
 * being started or repaired is planned anew, with the arguments of now. A program that runs as root is found by its user
 * when the daemon starts, and replaced (service/uplink-watch.ts). A network that was being taken away takes no ports along.
 * Limits: what does not look like a record of 3 throws, or is judged by whoever calls.
 */

interface Child {
  src: unknown;
  snapshot: { status?: string; input?: object };
}

interface UplinkChild {
  snapshot: {
    value: string;
    context: { settings: { program: string; file: string }; launch: unknown };
    children: Record<string, Child>;
  };
}

interface Context {
  uplink?: unknown;
  configured: boolean;
  held?: boolean;
  owner?: string;
  outside?: string | null;
  change?: { networks: object; ports: unknown[] } | null;
}

interface Snapshot {
  value: unknown;
  context: Context;
  children: Record<string, Child | UplinkChild>;
}

export function fromVersion3(persisted: unknown): unknown {
  return renamed(planned(persisted as Snapshot));
}

/** The new names of states that are within another, by their names in version 3. All others have kept theirs. */
const STATES: Readonly<Record<string, string>> = {
  announcing: 'exposing',
  exposing: 'publishing',
  noting: 'writingFiles',
  retracting: 'unexposing',
  withdrawing: 'unpublishing',
  judging: 'checkingLeftovers',
  clearing: 'removingFiles',
  freeing: 'releasingPorts',
  mending: 'repairingLinks',
  mendingUplink: 'repairingUplink',
  asserting: 'republishing',
};

function renamed({ value, context, ...rest }: Snapshot): unknown {
  const { held, ...others } = context;
  return { ...rest, value: stateOf(value), context: held === undefined ? others : { ...others, ownerGone: held } };
}

function stateOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const inner = (name: unknown) => (typeof name === 'string' ? (STATES[name] ?? name) : name);
  return Object.fromEntries(Object.entries(value).map(([outer, name]) => [outer, inner(name)]));
}

function planned(snapshot: Snapshot): Snapshot {
  const { uplink, configured } = snapshot.context;
  const begins = uplink !== undefined && !configured;
  const ends = uplink !== undefined && snapshot.value === 'releasing';
  const children = { ...snapshot.children };
  if (children['lease'] !== undefined) children['lease'] = asked(children['lease'] as Child, begins);
  if (children['release'] !== undefined) children['release'] = asked(children['release'] as Child, begins || ends);
  if (children['uplink'] !== undefined) children['uplink'] = plannedAnew(children['uplink'] as UplinkChild);
  return keepingPorts({ ...snapshot, children });
}

/** Also passes over the step in which the outer publisher was told to stop: 4 has none. */
function keepingPorts(snapshot: Snapshot): Snapshot {
  const { value, context, children } = snapshot;
  const { change } = context;
  if (change === undefined || change === null) return snapshot;
  if (typeof value !== 'object' || value === null || !('disconnecting' in value)) return snapshot;
  const kept = { ...snapshot, context: { ...context, change: { ...change, ports: [] } } };
  const { release, unexpose, ...others } = children as Record<string, Child>;
  if (release === undefined && unexpose === undefined) return kept;
  const { owner, outside } = context;
  const input = { owner, outside, networks: Object.keys(change.networks), ports: [], uplink: false };
  const next = { ...(release ?? unexpose), src: 'release', snapshot: { status: 'active', input } };
  return { ...kept, value: { disconnecting: 'releasing' }, children: { ...others, release: next } };
}

const asked = (child: Child, uplink: boolean): Child => ({
  ...child,
  snapshot: { ...child.snapshot, input: { ...child.snapshot.input, uplink } },
});

/** Every way to a start begins with the probe. */
function plannedAnew(child: UplinkChild): UplinkChild {
  const { value, context, children } = child.snapshot;
  const under = children['startUplink'] ?? children['verifyUplink'];
  if (!['starting', 'verifying'].includes(value) || under === undefined) return child;
  const { program, file } = context.settings;
  const probe = { ...under, src: 'probeUplink', snapshot: { ...under.snapshot, input: { program, file } } };
  const again = { value: 'probing', context: { ...context, launch: null }, children: { probeUplink: probe } };
  return { ...child, snapshot: { ...child.snapshot, ...again } };
}

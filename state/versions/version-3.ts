/**
 * Migrates container records of version 3 to version 4. In 4 an uplink runs as a user of its own, and holds the firewall; ports
 * stay with a container whose last network is removed; states have the names of their effects (docs/vocabulary.md); a change
 * says by `kind` which operation it belongs to.
 *
 * Guarantees: pure, over plain JSON. Requests and releases of leases include the uplink. An uplink that was being started or
 * repaired is planned anew, with the arguments of this version. A program that runs as root is recognised by its user when the
 * daemon starts, and replaced (service/watch/uplink-watch.ts). A network that was being removed takes no ports along.
 * Limits: an input that is no record of 3 throws, or the caller's check refuses the result.
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
  request?: { networks: object };
  change?: Change | null;
}

/** A change of version 3, which has the members of all kinds. */
interface Change {
  networks: object;
  ports: unknown[];
  todo: unknown[];
  led: unknown[];
  wanted: unknown[];
  before: unknown[];
  taking: unknown;
  taker: unknown;
  force: boolean;
  uplink?: 'repair' | 'restart';
}

interface Snapshot {
  value: unknown;
  context: Context;
  children: Record<string, Child | UplinkChild>;
}

export function fromVersion3(persisted: unknown): unknown {
  return renamed(kinded(planned(persisted as Snapshot)));
}

/** The operation that a change belongs to, by the outermost state. Other states decide by what the change has. */
const KINDS: Readonly<Record<string, string>> = {
  configuring: 'configure',
  connecting: 'connect',
  publishing: 'publish',
  reloading: 'reload',
  rebuilding: 'rebuild',
  adjusting: 'adjust',
  disconnecting: 'disconnect',
  unpublishing: 'unpublish',
  yielding: 'yield',
  tearingDown: 'teardown',
  draining: 'teardown',
  releasing: 'teardown',
  teardownFailed: 'teardown',
};

function kinded({ value, context, ...rest }: Snapshot): Snapshot {
  const { change } = context;
  if (change === undefined || change === null) return { ...rest, value, context };
  const state = typeof value === 'string' ? value : (Object.keys(value as object)[0] ?? '');
  const kind = KINDS[state] ?? kindOf(state, context, change);
  const { networks, ports, todo, led, wanted, before, taking, taker, force, uplink } = change;
  const own: Record<string, object> = {
    configure: { wanted },
    publish: { wanted, taking },
    disconnect: { force },
    rebuild: { before },
    adjust: { before },
    repair: { uplink: uplink !== undefined },
    yield: { taker },
    teardown: { before },
  };
  const now = kind === null ? null : { kind, networks, ports, todo, led, ...own[kind] };
  return { ...rest, value, context: { ...context, change: now as unknown as Change | null } };
}

function kindOf(state: string, { configured, request }: Context, change: Change): string | null {
  const { networks, before, force, uplink } = change;
  const names = Object.keys(networks);
  if (state === 'repairing') return uplink === 'restart' ? 'restart' : 'repair';
  if (state === 'failed') {
    if (before.length > 0) return names.length === 0 ? 'rebuild' : 'adjust';
    const leaves = names.length > 0 && names.every((name) => Object.hasOwn(request?.networks ?? {}, name));
    if (force || (configured && leaves)) return 'disconnect';
  }
  if (state !== 'failed' && state !== 'rollingBack') return null;
  if (!configured) return 'configure';
  return names.length > 0 ? 'connect' : 'publish';
}

/** The new names of nested states, by their names in version 3. All other states keep their names. */
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

/** Also skips the step that stopped the outer publisher, which 4 does not have. */
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

/** Restarts with the probe, with which every path to a start begins. */
function plannedAnew(child: UplinkChild): UplinkChild {
  const { value, context, children } = child.snapshot;
  const under = children['startUplink'] ?? children['verifyUplink'];
  if (!['starting', 'verifying'].includes(value) || under === undefined) return child;
  const { program, file } = context.settings;
  const probe = { ...under, src: 'probeUplink', snapshot: { ...under.snapshot, input: { program, file } } };
  const again = { value: 'probing', context: { ...context, launch: null }, children: { probeUplink: probe } };
  return { ...child, snapshot: { ...child.snapshot, ...again } };
}

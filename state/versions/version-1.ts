/**
 * Migrates container records of version 1 to version 2.
 *
 * A container at rest stays in its state, and fields that 1 did not have are filled in. An operation under way moves to the
 * state of 2 from which idempotent effects lead to the right end: an addition is undone (`failed` tries that again), a
 * disconnect or unpublish is finished, a teardown is tried again. Version 2 chooses the target of published ports by the
 * metric, 1 by the order of attaching. If that gives another address, the ports move there in one transaction.
 *
 * Guarantees: pure, over plain JSON; the record names every object that 1 may have made.
 * Limits: an input that is no record of 1 throws or gives a wrong result: the caller checks both. An addition under way whose
 * ports 2 would lead elsewhere is refused, not guessed.
 */

interface Attachment {
  network: string;
  addresses: { address: string }[];
  internal: boolean;
  defaultMetric: number | null;
  ordinal: number;
}

interface Port {
  protocol: string;
  hostIp: string;
  hostPort: number;
  containerPort: number;
  range: number;
}

interface Change {
  networks: Record<string, object>;
  wanted: object[];
  ports: Port[];
  todo: string[];
}

interface Context {
  owner: string;
  outside: string | null;
  netns: object | null;
  request: { networks: Record<string, object>; ports: object[] };
  attachments: Attachment[];
  ports: Port[];
  configured: boolean;
  change: Change | null;
  operation: { n: number; type: string };
  fault: object | null;
  leftovers: object[];
  attempts: number;
}

interface Snapshot {
  value: unknown;
  context: Context;
  children: Record<string, unknown>;
}

const INTERRUPTED = { code: 'UNFINISHED', message: 'the daemon was replaced by a newer one in the middle of this' };

export function fromVersion1(persisted: unknown): unknown {
  const snapshot = persisted as Snapshot;
  const name = nameOf(snapshot.value);
  const [state = ''] = name.split('.');
  const { context } = snapshot;
  if (!Array.isArray(context.attachments) || !Array.isArray(context.ports)) throw new TypeError('not a record of 1');
  switch (state) {
    case 'up':
      return moves(context.attachments) && context.ports.length > 0 ? republished(snapshot) : whole(snapshot, {});
    case 'configuring':
    case 'connecting':
    case 'publishing':
    case 'rollingBack':
      return undone(snapshot);
    case 'reloading':
      return republished(snapshot);
    case 'disconnecting':
      return disconnected(snapshot);
    case 'unpublishing':
      return unpublished(snapshot);
    case 'failed':
      if (context.operation.type === 'disconnect') return disconnected(snapshot);
      if (context.operation.type === 'unpublish') return unpublished(snapshot);
      return undone(snapshot);
    case 'tearingDown':
    case 'teardownFailed':
      return torn(snapshot);
    default:
      // created, creating, abandoning, draining, releasing: the same in both.
      return whole(snapshot, { change: changeOf(snapshot, {}) });
  }
}

/** Adds every field that 1 did not have. */
function whole(snapshot: Snapshot, context: object, value = snapshot.value, children = snapshot.children): unknown {
  const was = snapshot.context;
  const outer = (ports: Port[]) => ports.map((port) => ({ ...port, outerIp: null }));
  const after = {
    ...was,
    hostname: null,
    pod: null,
    publisher: null,
    files: false,
    held: false,
    drift: [],
    operation: { ...was.operation, network: null },
    ...context,
  } as Context;
  return {
    ...snapshot,
    value,
    children,
    context: {
      ...after,
      netns: after.netns === null ? null : { ...after.netns, of: null },
      attachments: after.attachments.map((attachment) => ({ ...attachment, dns: null, gatewayPriority: 0 })),
      ports: outer(after.ports),
      change: after.change === null ? null : { ...after.change, ports: outer(after.change.ports) },
    },
  };
}

const changeOf = ({ context }: Snapshot, more: object): object | null =>
  context.change === null
    ? null
    : {
        ...context.change,
        before: [],
        led: ledBy1(staying(context)),
        taking: null,
        taker: null,
        force: false,
        ...more,
      };

/** Removes everything of the interrupted addition again. */
function undone(snapshot: Snapshot): unknown {
  const { context } = snapshot;
  if (moves(context.attachments) || moves(staying(context))) throw new TypeError('its ports would lead elsewhere');
  const { leftovers, fault } = context;
  const known = { leftovers: leftovers.length > 0 ? leftovers : [INTERRUPTED], fault: fault ?? INTERRUPTED };
  return whole(snapshot, { change: changeOf(snapshot, {}) ?? begun([]), ...known }, 'failed', waiting(context));
}

/** Removes the network in any case, as 1 did. Ports may be withdrawn, or lead to the next attachment of 1. */
function disconnected(snapshot: Snapshot): unknown {
  const { context } = snapshot;
  const gone = Object.keys(context.change?.networks ?? {});
  const rest = staying(context);
  const networks = Object.fromEntries(
    Object.entries(context.request.networks).filter(([name]) => !gone.includes(name)),
  );
  if (rest.length === context.attachments.length) {
    // Its link is gone already: only the ports have to move to the attachments that stay.
    const ports = context.ports.filter((port) => leads(port, ledBy2(rest)));
    const request = { ...context.request, networks, ports: ports.length === 0 ? [] : context.request.ports };
    return republished({ ...snapshot, context: { ...context, request, ports } });
  }
  const change = changeOf(snapshot, {
    ports: context.ports.filter((port) => !leads(port, ledBy2(rest))),
    todo: gone,
    led: ledBy1(context.attachments),
    force: true,
  });
  const leftovers = context.leftovers.length > 0 ? context.leftovers : [INTERRUPTED];
  return whole(snapshot, { change, leftovers }, 'failed', waiting(context));
}

/** Repeats the unpublish from its first step. */
function unpublished(snapshot: Snapshot): unknown {
  const { context } = snapshot;
  const led = ledBy1(context.attachments);
  const { owner, outside, change } = context;
  const replacing = (change?.ports ?? []).flatMap((port) => targetsOf(owner, port, led));
  const children = { unpublish: child('unpublish', { outside, targets: [], replacing }) };
  return whole(
    snapshot,
    { change: changeOf(snapshot, { led }), leftovers: [] },
    { unpublishing: 'withdrawing' },
    children,
  );
}

/** Tries the teardown again; ports may lead to any address of the container. */
function torn(snapshot: Snapshot): unknown {
  const { context } = snapshot;
  const led = context.attachments.flatMap(({ addresses }) => addresses.map(({ address }) => address));
  const leftovers = context.leftovers.length > 0 ? context.leftovers : [INTERRUPTED];
  return whole(
    snapshot,
    { change: changeOf(snapshot, { led }) ?? begun(led), leftovers },
    'teardownFailed',
    waiting(context),
  );
}

/** Makes an addition of nothing: its firewall transaction moves all ports from their targets in 1 to those in 2. */
function republished(snapshot: Snapshot): unknown {
  const { owner, outside, attachments } = snapshot.context;
  const led = moves(attachments) ? ledBy1(attachments) : [];
  const input = { owner, outside, networks: {}, ports: [], inside: null, taking: null };
  return whole(
    snapshot,
    { change: begun(led), leftovers: [], attempts: 0 },
    { publishing: 'leasing' },
    { lease: child('lease', input) },
  );
}

const begun = (led: string[]) => ({
  networks: {},
  wanted: [],
  ports: [],
  todo: [],
  before: [],
  led,
  taking: null,
  taker: null,
  force: false,
});

/** Returns the form in which XState keeps an effect or a request in flight: its input, to begin again. */
const child = (src: string, input: object) => ({ src, syncSnapshot: false, snapshot: { status: 'active', input } });

const waiting = ({ attempts }: Context) => ({ backOff: child('backOff', { attempt: Math.max(1, attempts) }) });

const staying = ({ attachments, change }: Context): Attachment[] =>
  attachments.filter(({ network }) => !(network in (change?.networks ?? {})));

const isV6 = (address: string): boolean => address.includes(':');

/** Returns the addresses that 1 led ports to: those of the first attached network that is not internal. */
function ledBy1(attachments: Attachment[]): string[] {
  return addressesOf(attachments.filter(({ internal }) => !internal).slice(0, 1));
}

/** Returns the addresses that 2 leads ports to: family by family, by the metric of the default route. */
function ledBy2(attachments: Attachment[]): string[] {
  const metric = ({ defaultMetric }: Attachment) => defaultMetric ?? Infinity;
  const order = attachments
    .filter(({ internal }) => !internal)
    .sort((a, b) => (metric(a) === metric(b) ? a.ordinal - b.ordinal : metric(a) - metric(b)));
  return addressesOf(order);
}

function addressesOf(attachments: Attachment[]): string[] {
  const all = attachments.flatMap(({ addresses }) => addresses.map(({ address }) => address));
  return [all.find((address) => !isV6(address)), all.find(isV6)].filter((address) => address !== undefined);
}

const moves = (attachments: Attachment[]): boolean => ledBy1(attachments).join() !== ledBy2(attachments).join();

const leads = (port: Port, led: string[]): boolean =>
  led.some((address) => port.hostIp === '' || isV6(port.hostIp) === isV6(address));

const targetsOf = (owner: string, { protocol, hostIp, hostPort, containerPort, range }: Port, led: string[]) =>
  Array.from({ length: range }, (_, i) =>
    led
      .filter((address) => hostIp === '' || isV6(hostIp) === isV6(address))
      .map((address) => ({
        owner,
        protocol,
        hostIp,
        hostPort: hostPort + i,
        address,
        containerPort: containerPort + i,
      })),
  ).flat();

function nameOf(value: unknown): string {
  if (typeof value === 'string') return value;
  const [[key, inner] = ['', '']] = Object.entries(value as object);
  return `${key}.${nameOf(inner)}`;
}

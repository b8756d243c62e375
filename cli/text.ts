/**
 * Formats the API's answers for people: ports, addresses, ages, notifications.
 *
 * Guarantees: pure; times are arguments.
 */
import type { ContainerView, PublishedPort } from '../state/answers/container/container.ts';
import type { JournalEntry } from '../state/answers/container/history.ts';
import type { Notification } from '../state/answers/notification.ts';

/** Returns "127.0.0.1:8080->80/tcp" or "*:8000-8010->9000-9010/udp". */
export function portText({ host_ip, host_port, container_port, protocol, range }: PublishedPort): string {
  const span = (first: number): string => (range > 1 ? `${first}-${first + range - 1}` : String(first));
  const host = host_ip === '' ? '*' : host_ip.includes(':') ? `[${host_ip}]` : host_ip;
  return `${host}:${span(host_port)}->${span(container_port)}/${protocol}`;
}

/** Returns the addresses of a container, in the order of its networks, or those behind its uplink. */
export function addressesOf({ networks, uplink }: Pick<ContainerView, 'networks' | 'uplink'>): string[] {
  const own = Object.values(networks).flatMap(({ interfaces }) =>
    Object.values(interfaces).flatMap(({ subnets }) => subnets.map(({ ipnet }) => ipnet.split('/')[0] ?? '')),
  );
  return [...own, ...(uplink?.addresses ?? []).map(({ address }) => address)];
}

/** Returns the networks that a container is connected to; before configure, those it will be connected to. */
export function networksOf({ networks, requested_networks, uplink, netns }: ContainerView): string[] {
  if (uplink !== null) return [uplink.program];
  const names = Object.keys(networks).length > 0 ? Object.keys(networks) : Object.keys(requested_networks);
  if (names.length > 0) return names;
  if (netns.mode === 'host') return ['host'];
  if (netns.mode === 'container') return [`container:${netns.id}`];
  if (netns.mode === 'path') return [`ns:${netns.path}`];
  return ['none'];
}

export const PS_HEADINGS = ['ID', 'NAME', 'STATE', 'NETWORKS', 'ADDRESSES', 'PORTS', 'AGE'];

/** Returns the columns of a container in `ps` and `watch`. */
export const psRow = (container: ContainerView, now: number): string[] => [
  container.id,
  container.name,
  stateText(container),
  networksOf(container).join(','),
  addressesOf(container).join(','),
  container.ports.map(portText).join(', '),
  ageText(container.created, now),
];

/**
 * Returns the outer state. Adds the fault's code if the container is not up, and "drift" if it is up and part of it was taken
 * away.
 */
export function stateText({
  state,
  fault,
  leftovers,
  drift,
  owner_gone: ownerGone,
}: Pick<ContainerView, 'state' | 'fault' | 'leftovers' | 'drift' | 'owner_gone'>): string {
  const [outer = state] = state.split('.');
  if (outer === 'up' && drift.length > 0) return 'up (drift)';
  if (ownerGone) return `${outer} (owner gone)`;
  if (outer === 'up') return outer;
  const why = fault ?? leftovers[0] ?? null;
  return why === null ? outer : `${outer} (${why.code})`;
}

/** Formats a size as `docker stats` does: three digits, powers of 1000. */
export function sizeText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let [size, unit] = [bytes, 0];
  // Rounds before comparing: 999.9 kB is 1 MB, not 1000 kB.
  while (Number(size.toPrecision(3)) >= 1000 && unit < units.length - 1) [size, unit] = [size / 1000, unit + 1];
  return `${Number(size.toPrecision(3))}${units[unit]}`;
}

/** Shortens the names of events in the journal, which are those of XState. */
export function eventText(event: string): string {
  if (event === 'xstate.init') return 'start';
  const [, outcome, actor] = /^xstate\.(done|error)\.actor\.(.+)$/.exec(event) ?? [];
  return actor === undefined ? event : `${actor} ${outcome === 'done' ? 'done' : 'failed'}`;
}

export function ageText(created: string, now: number): string {
  const seconds = Math.max(0, Math.floor((now - Date.parse(created)) / 1000));
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}h`;
  return `${Math.floor(hours / 24)}d`;
}

export function timeText(t: number): string {
  return new Date(t).toISOString();
}

export function notificationText(notification: Notification): string {
  const start = `${timeText(notification.t)}  ${notification.id ?? '-'}  `;
  switch (notification.type) {
    case 'state':
      return `${start}${notification.from === '' ? '' : `${notification.from} -> `}${notification.to}`;
    case 'failed':
      return `${start}${whatText(notification)} failed: ${notification.fault.message} (${notification.fault.code})`;
    case 'requested':
    case 'done':
      return `${start}${whatText(notification)} ${notification.type}`;
    case 'drift': {
      const by = notification.by === null ? '' : `, by ${notification.by}`;
      return `${start}drift (${notification.action}${by}): ${driftText(notification)}`;
    }
    case 'repaired':
      return `${start}repaired: ${driftText(notification)}`;
    case 'limited': {
      const { what, entries, limit, forgotten, id, network } = notification;
      const whose =
        id !== null ? '' : network === null ? ' of link-local addresses' : ` of other addresses in ${network}`;
      return `${start}too many ${what}${whose}: ${entries}, ${limit} allowed, ${forgotten} forgotten`;
    }
    case 'machine': {
      const { machine, network, from, to, fault } = notification;
      const what = `${machine}${network === null ? '' : ` ${network}`}: ${from === '' ? '' : `${from} -> `}${to}`;
      return `${start}${what}${fault === null ? '' : `: ${fault.message} (${fault.code})`}`;
    }
    case 'forwarder':
      return `${start}forwarder (pid ${notification.pid}) ${notification.action}`;
    case 'daemon': {
      const more = notification.action === 'stopping' ? notification.why : `version ${notification.version}`;
      return `${start}daemon (pid ${notification.pid}) ${notification.action}: ${more}`;
    }
    case 'missed':
      return `${start}events are missing here: ${notification.why === 'restarted' ? 'the daemon was restarted' : 'too many have happened'}`;
    default:
      // A newer daemon sends types of notification that this client does not know.
      return `${start}${JSON.stringify(notification)}`;
  }
}

/** Returns what an entry of the journal is due to: a fault, or what others changed. */
export function whyText({ fault, drift, by }: Pick<JournalEntry, 'fault' | 'drift' | 'by'>): string {
  if (drift !== undefined) return `${driftText({ network: null, drift })}${by === undefined ? '' : `, by ${by}`}`;
  return fault === undefined ? '' : `${fault.message} (${fault.code})`;
}

/** Returns "of web: link ve1, address 10.89.0.2/24 on eth0". */
const driftText = ({ network, drift }: { network: string | null; drift: { kind: string; object: string }[] }): string =>
  `${network === null ? '' : `of ${network}: `}${drift.map(({ kind, object }) => `${kind} ${object}`).join(', ')}`;

const whatText = ({ event, network }: { event: string; network: string | null }): string =>
  network === null ? event : `${event} ${network}`;

/**
 * A listener on a daemon's events (GET /v1/events), and the properties that they must have: what ended was requested
 * before, or is an operation of the daemon's own; what was requested ends once; a container's states follow one
 * another.
 *
 * Limits: the stream names an event and a network, never an address or a port: it cannot show the specifications
 * (specifications.ts) who owns what. Operations under way when a daemon was killed may end in the life of the next, or
 * not.
 */
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { LifecycleEvent } from '../../state/event.ts';
import type { Notification, LimitedNotification } from '../../state/answers/notification.ts';

const WORDS = new Set<string>(LifecycleEvent.options.map(({ shape }) => shape.type.value));

/** The events of one life of a daemon about one container. */
interface Heard {
  /** Requested, and not ended: "connect web". */
  open: string[];
  /** Null: nothing yet. */
  state: string | null;
  /** A request of an earlier life may still end, once. */
  inherited: boolean;
}

export class Hearing {
  readonly violations: string[] = [];
  /** The number of judged notifications. */
  heard = 0;
  readonly #containers = new Map<string, Heard>();
  #inherits = false;

  /** The open operations of each container. */
  owed(): string[] {
    return [...this.#containers].flatMap(([id, { open }]) => open.map((what) => `${id}: ${what} has not ended`));
  }

  /** The daemon was killed: the next one begins without a known past. */
  died(): void {
    this.#containers.clear();
    this.#inherits = true;
  }

  hear(notification: Notification): void {
    const { type, id } = notification;
    if (id === null || !('event' in notification || type === 'state')) return;
    this.heard++;
    const of = this.#containers.get(id) ?? { open: [], state: null, inherited: this.#inherits };
    this.#containers.set(id, of);
    const wrong = (what: string) => this.violations.push(`${what}: ${JSON.stringify(notification)}`);
    if (type === 'state') {
      if (of.state !== null && notification.from !== of.state) wrong(`it was ${of.state}`);
      of.state = notification.to === 'gone' ? '' : notification.to;
      return;
    }
    const what = `${notification.event} ${notification.network ?? ''}`;
    if (type === 'requested') {
      of.open.push(what);
      return;
    }
    const at = of.open.indexOf(what);
    if (at !== -1) of.open.splice(at, 1);
    else if (of.inherited) of.inherited = false;
    else if (WORDS.has(notification.event)) wrong('it was not requested, or has ended before');
  }
}

/** Follows a daemon from now on, until it ends. */
export async function follow(socketPath: string, hear: (notification: Notification) => void): Promise<void> {
  const outgoing = request({ socketPath, path: '/v1/events', agent: false });
  outgoing.end();
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
  answer.on('error', () => {}); // it was killed
  createInterface({ input: answer })
    .on('line', (line) => {
      // The last line of a killed daemon may be cut short.
      if (line.endsWith('}')) hear(JSON.parse(line) as Notification);
    })
    .on('error', () => {});
}

/** Collects notifications of limits, until the daemon ends. */
export function hearLimited(socketPath: string, tell: (notification: LimitedNotification) => void): void {
  follow(socketPath, (notification) => {
    if (notification.type === 'limited') tell(notification);
  }).catch(() => {}); // it was killed before it answered
}

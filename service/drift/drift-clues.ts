/**
 * Turns the kernel's announcements into clues: the places to look at.
 *
 * Guarantees: changes nothing and asks nothing, so that our own changes cost next to nothing here; the kernel announces them like
 * all others. A clue is never lost: the next look takes all clues at once.
 * What the kernel says of the links of containers that are being torn down is no clue (`Departures`).
 * Limits: the kernel announces only that something goes away or down. A changed MTU or MAC is found when something else leads
 * there.
 */
import type { RtnlNotification } from '../../native/index.ts';

/** The announcements that the monitor of an outside subscribes to. */
export const CLUES = ['link.down', 'link.del', 'port.del', 'address.del', 'route.del', 'rule.del', 'switch'] as const;

export class Clues {
  /** Announcements were lost: look at everything. */
  everything = false;
  /** A switch was turned in the outside. */
  switches = false;
  readonly networks = new Set<string>();
  /** Owners (id:generation) whose host link is down or gone, with the networks of these links. */
  readonly hosts = new Map<string, Set<string>>();
  /** Owners in whose namespace something was removed. */
  readonly insides = new Set<string>();
  /** Namespaces, by their nsid, in which something was removed. */
  readonly nsids = new Set<number>();
  /** Links that have left their bridge. */
  readonly ports = new Set<string>();
  /** Addresses, and destinations with prefix, that were removed from the outside. */
  readonly gone = new Set<string>();

  /** Adds the clues of an event. Returns true if there is anything new to look at. `prefix`: the beginning of our aliases. */
  take(event: RtnlNotification, prefix: string): boolean {
    if (event.type === 'overrun') {
      this.everything = true;
      return true;
    }
    if (event.nsid !== null) return this.#inside(event, event.nsid);
    switch (event.type) {
      case 'port.del':
        this.ports.add(event.name);
        return true;
      case 'link.new':
      case 'link.del':
        if (event.type === 'link.del') this.ports.delete(event.name);
        return event.alias.startsWith(prefix) && this.#ofLink(event.alias.slice(prefix.length));
      case 'address.del':
        this.gone.add(event.address);
        return true;
      case 'route.del':
        if (ofTheKernel(event.destination)) return false;
        this.gone.add(`${event.destination}/${event.prefix}`);
        return true;
      case 'switch':
        this.switches = true;
        return true;
      case 'address.new':
      case 'route.new':
      case 'rule.del':
        return false;
    }
  }

  /** Parses an alias after the prefix: network:<name>, or <id>:<generation>:<network>. */
  #ofLink(rest: string): boolean {
    const parts = rest.split(':');
    const [first = '', second = '', third] = parts;
    if (third === undefined) this.networks.add(second);
    else {
      const owner = `${first}:${second}`;
      this.hosts.set(owner, (this.hosts.get(owner) ?? new Set()).add(third));
    }
    return true;
  }

  #inside(event: Exclude<RtnlNotification, { type: 'overrun' }>, nsid: number): boolean {
    if (event.type === 'route.del' && ofTheKernel(event.destination)) return false;
    if (event.type === 'address.del' && ofTheKernel(event.address)) return false;
    this.nsids.add(nsid);
    return true;
  }
}

/** Knows the announcements that our own teardowns cause, and that lead nowhere. */
export class Departures {
  readonly #prefix: string;
  readonly #leaves: (owner: string) => boolean;
  /**
   * The links that have been reported as down. A link leaves its bridge after that, which is announced without its alias, and goes
   * up to 30 ms later: a look in between would dump all links, to find whose it was.
   */
  readonly #links = new Set<string>();

  /** `prefix`: the beginning of our aliases. `leaves`: true for an owner that is gone, or on its way out. */
  constructor(prefix: string, leaves: (owner: string) => boolean) {
    this.#prefix = prefix;
    this.#leaves = leaves;
  }

  cause(event: RtnlNotification): boolean {
    if (event.type === 'overrun') {
      this.#links.clear();
      return false;
    }
    if (event.nsid !== null) return false;
    if (event.type === 'port.del') return this.#links.has(event.name);
    if (event.type !== 'link.new' && event.type !== 'link.del') return false;
    this.#links.delete(event.name);
    const [id = '', generation = '', network] = event.alias.startsWith(this.#prefix)
      ? event.alias.slice(this.#prefix.length).split(':')
      : [];
    if (network === undefined || !this.#leaves(`${id}:${generation}`)) return false;
    if (event.type === 'link.new') this.#links.add(event.name);
    return true;
  }
}

/** Returns true for link-local and multicast addresses. They come and go with every link, and no plan contains them. */
function ofTheKernel(address: string): boolean {
  return address.startsWith('fe80:') || address.startsWith('ff00:');
}

/**
 * From what the kernel announces to where one has to look.
 *
 * Guarantees: touches nothing and asks nobody, so that our own changes cost next to nothing here: they are announced like
 * everybody else's. A clue is never lost: it is taken, all at once, by whoever looks.
 * Limits: only what goes away or down is announced to us: a changed MTU or MAC is found when something else leads there.
 */
import type { RtnlNotification } from '../native/index.ts';

/** What the monitor of an outside has to ask for. */
export const CLUES = ['link.down', 'link.del', 'port.del', 'address.del', 'route.del', 'rule.del', 'switch'] as const;

export class Clues {
  /** Something went by unseen: look at all there is. */
  everything = false;
  /** A switch was turned in the outside. */
  switches = false;
  readonly networks = new Set<string>();
  /** Owners (id:generation) whose host link is down or gone, and on which networks. */
  readonly hosts = new Map<string, Set<string>>();
  /** Owners in whose namespace something went. */
  readonly insides = new Set<string>();
  /** Namespaces, by their nsid, in which something went. */
  readonly nsids = new Set<number>();
  /** Links that have left their bridge. */
  readonly ports = new Set<string>();
  /** Addresses, and destinations with prefix, that went in the outside. */
  readonly gone = new Set<string>();

  /** `prefix`: how aliases of ours begin. Answers whether there is anything new to look at. */
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

  /** network:<name>, or <id>:<generation>:<network>. */
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

/** Link-local and multicast: they come and go with every link, and are nobody's plan. */
function ofTheKernel(address: string): boolean {
  return address.startsWith('fe80:') || address.startsWith('ff00:');
}

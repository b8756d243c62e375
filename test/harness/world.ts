/**
 * A kernel of strings: what containers and networks have in it, changed by the same effects with the same inputs as the
 * real one, and a stage on which a test decides when each effect ends and how.
 *
 * Guarantees: effects here are the strictest reading of what the real ones promise (links stay until someone waits for
 * them or removes them, a port's element is only removed by who knows where it leads, addresses answer to one owner);
 * what may never happen is collected in `violations`.
 * Limits: no partial effect: one has happened or not, whatever its answer was.
 */
import type { AttachmentInput } from '../../machines/attachment.ts';
import type { DrainInput, NamespaceInput, PublishInput } from '../../machines/container.ts';
import type { RaiseInput } from '../../machines/network.ts';

interface Link {
  owner: string;
  netns: string;
  bridge: string;
  network: string;
  addresses: string[];
}

export class World {
  readonly namespaces = new Map<string, 'ours' | 'joined'>();
  readonly links = new Map<string, Link>();
  /** Published ports: what the packet matches -> where it goes. */
  readonly elements = new Map<string, { to: string; owner: string }>();
  readonly bridges = new Set<string>();
  readonly violations: string[] = [];
  firewall = false;
  readonly #bridged: boolean;
  #inodes = 4_026_532_000;

  /** `bridged`: bridges and the firewall are part of the test. */
  constructor(bridged: boolean) {
    this.#bridged = bridged;
  }

  /** Everything there is, one line each: empty when nothing of ours is left. */
  contents(): string[] {
    return [
      ...[...this.namespaces.keys()].map((path) => `namespace ${path}`),
      ...[...this.links].map(([name, { owner }]) => `link ${name} of ${owner}`),
      ...[...this.elements].map(([key, { to, owner }]) => `port ${key} -> ${to} of ${owner}`),
      ...[...this.bridges].map((name) => `bridge ${name}`),
      ...(this.firewall ? ['firewall'] : []),
    ].sort();
  }

  readonly effects: Record<string, (input: never) => unknown> = {
    ensureNamespace: ({ path, source }: NamespaceInput) => {
      if (!this.namespaces.has(path)) this.namespaces.set(path, source.mode === 'new' ? 'ours' : 'joined');
      return { dev: 4, ino: this.#inodes++ };
    },
    removeNamespace: ({ path }: NamespaceInput) => void this.namespaces.delete(path),
    ensureLink: ({ attachment, netns, owner }: AttachmentInput) => {
      const { hostLink, bridge, network } = attachment;
      const there = this.links.get(hostLink);
      this.#never(there !== undefined && there.owner !== owner, `link ${hostLink} is made twice`);
      this.#never(!this.namespaces.has(netns), `link ${hostLink} is made in a namespace that is not there`);
      this.#never(this.#bridged && !this.bridges.has(bridge), `link ${hostLink} is made without its bridge`);
      this.links.set(hostLink, { owner, netns, bridge, network, addresses: there?.addresses ?? [] });
    },
    ensureAddresses: ({ attachment, owner }: AttachmentInput) => {
      const mine = this.links.get(attachment.hostLink);
      this.#never(mine === undefined, `addresses are given to ${attachment.hostLink}, which is not there`);
      for (const { address } of attachment.addresses) {
        for (const link of this.links.values()) {
          const twice = link !== mine && link.network === attachment.network && link.addresses.includes(address);
          this.#never(twice, `${address} answers for ${link.owner} and for ${owner}`);
        }
        if (mine?.addresses.includes(address) === false) mine.addresses.push(address);
      }
    },
    removeLink: ({ attachment }: AttachmentInput) => void this.links.delete(attachment.hostLink),
    awaitLinksGone: ({ links }: DrainInput) => links.forEach((name) => this.links.delete(name)),
    publish: ({ owner, targets }: PublishInput) => {
      for (const target of targets) {
        const { key, to } = element(target);
        const there = this.elements.get(key);
        if (there !== undefined && (there.to !== to || there.owner !== owner)) throw new Error(`EEXIST: port ${key}`);
        const leads = [...this.links.values()].some(
          (link) => link.owner === owner && link.addresses.includes(target.address),
        );
        this.#never(!leads, `port ${key} of ${owner} leads to ${to}, which it does not have`);
      }
      for (const target of targets) this.elements.set(element(target).key, { to: element(target).to, owner });
    },
    unpublish: ({ targets }: PublishInput) => {
      for (const target of targets) {
        const { key, to } = element(target);
        if (this.elements.get(key)?.to === to) this.elements.delete(key);
      }
    },
    raiseNetwork: ({ definition }: RaiseInput) => {
      this.#never(!this.firewall, `bridge ${definition.network_interface} is raised without the firewall`);
      this.bridges.add(definition.network_interface);
    },
    lowerNetwork: ({ definition }: RaiseInput) => {
      const used = [...this.links.values()].some(({ bridge }) => bridge === definition.network_interface);
      this.#never(used, `bridge ${definition.network_interface} is lowered under its links`);
      this.bridges.delete(definition.network_interface);
    },
    readSwitches: () => ({ 'net/ipv4/ip_forward': '0' }),
    raiseFirewall: () => void (this.firewall = true),
    lowerFirewall: () => {
      // A bridge that a crash left behind, without users, may be there: its network raises the firewall again first.
      this.#never(this.links.size > 0, 'the firewall is lowered under links');
      this.firewall = false;
    },
  };

  #never(happened: boolean, what: string): void {
    if (happened) this.violations.push(what);
  }
}

function element({ protocol, hostIp, hostPort, address, containerPort }: PublishInput['targets'][number]) {
  const any = ['', '0.0.0.0', '::'].includes(hostIp);
  const family = address.includes(':') ? 6 : 4;
  return { key: `${family} ${protocol} ${any ? '*' : hostIp}:${hostPort}`, to: `${address}:${containerPort}` };
}

/** done: happened, answered with success. failed: did not happen. late: happened, but the answer was a failure. */
export type Ending = 'done' | 'failed' | 'late';

export interface Pending {
  name: string;
  input: unknown;
  end(how: Ending): void;
}

/** Effects that have begun wait here until the test ends them, oldest first. */
export class Stage {
  readonly pending: Pending[] = [];
  readonly world: World;
  /** Told of each effect as it begins. */
  readonly begun: (name: string, input: unknown) => void;
  /** Once the machine under test is dead, nothing happens any more. */
  dead = false;

  constructor(world: World, begun: (name: string, input: unknown) => void = () => {}) {
    this.world = world;
    this.begun = begun;
  }

  body(name: string) {
    return (input: unknown): Promise<never> => {
      if (this.dead) return Promise.reject(new Error('dead'));
      this.begun(name, input);
      return new Promise((resolve, reject) => {
        const entry: Pending = {
          name,
          input,
          end: (how) => {
            this.pending.splice(this.pending.indexOf(entry), 1);
            try {
              const output = how === 'failed' || this.dead ? undefined : this.world.effects[name]?.(input as never);
              if (how === 'done' && !this.dead) resolve(output as never);
              else reject(new Error(`${name} ${how}`));
            } catch (error) {
              reject(error as Error);
            }
          },
        };
        this.pending.push(entry);
      });
    };
  }
}

/** Everything that can happen without the test has happened: microtasks, and one turn of the event loop. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

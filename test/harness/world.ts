/**
 * A kernel of strings: the objects of containers and networks, changed by the same effects with the same inputs as the
 * real one, and a stage on which a test decides when each effect ends and how.
 *
 * Guarantees: effects here are the strictest reading of what the real ones promise (links stay until they are waited
 * for or removed, addresses until they are replaced, a port's element is only removed by its owner with its target,
 * addresses answer to one owner); forbidden events are collected in `violations`.
 * Limits: no partial effect: one has happened or not, whatever its answer was.
 */
import type { AttachmentInput } from '../../machines/container/attachment.ts';
import type { DrainInput, NamespaceInput, OuterInput } from '../../machines/container/container-inputs.ts';
import type { Switches } from '../../machines/firewall.ts';
import type { RaiseInput, ReviseInput } from '../../machines/network.ts';
import type { OwnedTarget, PublishInput } from '../../plan/containers/change.ts';
import type { FilesInput } from '../../plan/containers/hosts.ts';
import type { NameEntry, Zone } from '../../plan/names/names.ts';
import type { UplinkStart, UplinkVerify } from '../../plan/uplinks/uplink.ts';
import type { ResolvedPort } from '../../state/container.ts';
import type { UplinkLink } from '../../state/uplink.ts';
import { MADE, type Snapshot } from './container-model.ts';
import { ANSWER } from './fixtures.ts';

/** The paths of namespaces that containers of ours can share. */
export const OURS = '/run/cleat/netns';

interface Link {
  owner: string;
  netns: string;
  bridge: string;
  network: string;
  /** Its name in the container. */
  inside: string;
  addresses: string[];
}

/** The bridge of plugins. */
const EXTERNAL_BRIDGE = 'cni0';

/** The features of slirp4netns 1.2 that are probed. */
const FLAGS = [
  '--api-socket',
  '--cidr',
  '--configure',
  '--disable-host-loopback',
  '--enable-sandbox',
  '--enable-seccomp',
  '--exit-fd',
  '--mtu',
  '--netns-type',
  '--ready-fd',
];

export class World {
  /** Path -> made by us, or the original path of the namespace that was joined. */
  readonly namespaces = new Map<string, string>();
  readonly links = new Map<string, Link>();
  /** Published ports: the match -> the target. */
  readonly elements = new Map<string, { to: string; owner: string; within?: string }>();
  /** The resolver's answers: owner and network -> addresses. */
  readonly names = new Map<string, string>();
  /** Host ports on which the outer publisher listens. */
  readonly exposed = new Set<string>();
  /** Uplink programs: their directory -> what each has made. */
  readonly uplinks = new Map<string, UplinkLink>();
  /** Containers that have files. */
  readonly files = new Set<string>();
  readonly bridges = new Set<string>();
  readonly violations: string[] = [];
  firewall = false;
  /** True if the switches are set: for networks. */
  forwarding = false;
  /** True if others removed links: a port may lead to one that is still to be made again. */
  damaged = false;
  readonly #bridged: boolean;
  #inodes = 4_026_532_000;

  /** `bridged`: bridges and the firewall are part of the test. */
  constructor(bridged: boolean) {
    this.#bridged = bridged;
  }

  /** Everything that exists, one line each: empty when nothing of ours is left. */
  contents(): string[] {
    return [
      ...[...this.namespaces.keys()].map((path) => `namespace ${path}`),
      ...[...this.links].map(([name, { owner }]) => `link ${name} of ${owner}`),
      ...[...this.elements].map(([key, { to, owner }]) => `port ${key} -> ${to} of ${owner}`),
      ...[...this.names.keys()].map((key) => `name of ${key}`),
      ...[...this.exposed].map((key) => `outer ${key}`),
      ...[...this.uplinks.keys()].map((directory) => `uplink in ${directory}`),
      ...[...this.files].map((id) => `files of ${id}`),
      ...[...this.bridges].map((name) => `bridge ${name}`),
      ...(this.firewall ? ['firewall'] : []),
      ...(this.forwarding ? ['forwarding'] : []),
    ].sort();
  }

  readonly effects: Record<string, (input: never) => unknown> = {
    ensureNamespace: ({ path, source }: NamespaceInput) => {
      if (source.mode === 'path' && source.path.startsWith(`${OURS}/`) && !this.namespaces.has(source.path)) {
        throw new Error(`ENOENT: ${source.path}`);
      }
      const shared = source.mode === 'path' ? this.namespaces.get(source.path) : undefined;
      const from = source.mode === 'path' ? source.path : source.mode === 'process' ? 'a process' : 'ours';
      const origin = shared === undefined || shared === 'ours' ? from : shared;
      if (!this.namespaces.has(path)) this.namespaces.set(path, origin);
      return { dev: 4, ino: this.#inodes++ };
    },
    removeNamespace: ({ path }: NamespaceInput) => {
      for (const [user, from] of this.namespaces) {
        this.#never(from === path, `namespace ${path} is taken away under ${user}`);
      }
      this.namespaces.delete(path);
    },
    ensureLink: (input: AttachmentInput) => this.#link(input),
    ensureAddresses: ({ attachment, owner }: AttachmentInput) => {
      const mine = this.links.get(attachment.hostLink);
      this.#never(mine === undefined, `addresses are given to ${attachment.hostLink}, which is not there`);
      this.#answer(attachment, owner, []);
    },
    replaceLink: (input: AttachmentInput) => {
      const { attachment, predecessor, owner } = input;
      this.#link(input);
      if (predecessor !== null) this.links.delete(predecessor.hostLink);
      this.#answer(attachment, owner, []);
    },
    reviseLink: ({ attachment, predecessor, owner }: AttachmentInput) => {
      if (!this.links.has(attachment.hostLink)) throw new Error(`ENODEV: ${attachment.hostLink}`);
      const kept = new Set(attachment.addresses.map(({ address }) => address));
      const gone = (predecessor?.addresses ?? []).filter(({ address }) => !kept.has(address));
      this.#answer(
        attachment,
        owner,
        gone.map(({ address }) => address),
      );
    },
    removeLink: ({ attachment, predecessor }: AttachmentInput) => {
      for (const one of [attachment, predecessor]) if (one !== null) this.links.delete(one.hostLink);
    },
    // As in effects/external/external.ts: what may be there goes first.
    addExternal: (input: AttachmentInput) => {
      this.#link({ ...input, attachment: { ...input.attachment, bridge: EXTERNAL_BRIDGE } });
      const mine = this.links.get(input.attachment.hostLink);
      if (mine !== undefined) mine.addresses = ANSWER.ips.map(({ address }) => address.split('/')[0] ?? '');
      return ANSWER;
    },
    recordAnswer: () => {},
    checkExternal: ({ attachment }: AttachmentInput) => {
      if (!this.links.has(attachment.hostLink)) throw new Error(`ENODEV: ${attachment.hostLink}`);
    },
    removeExternal: ({ attachment }: AttachmentInput) => void this.links.delete(attachment.hostLink),
    awaitLinksGone: ({ links }: DrainInput) => links.forEach((name) => this.links.delete(name)),
    // As in effects/ports/ports.ts: the whole change; if that is impossible, the new ports, and of the old ones those that
    // are still ours.
    publish: ({ targets, replacing, through }: PublishInput) => {
      const within = through?.handler === 'slirp4netns' ? { within: through.directory } : {};
      const untouched = (target: OwnedTarget) => {
        const there = this.elements.get(element(target).key);
        return there === undefined || (there.to === element(target).to && there.owner === target.owner);
      };
      const goes = new Set(replacing.every(untouched) ? replacing.map((target) => element(target).key) : []);
      for (const target of targets) {
        const { key, to } = element(target);
        if (!untouched(target) && !goes.has(key)) throw new Error(`EEXIST: port ${key}`);
        const ways = [...this.links.values()].filter((link) => link.owner === target.owner);
        const behind = [...this.uplinks.values()].flatMap(({ addresses }) => addresses);
        const leads =
          ways.some(({ addresses }) => addresses.includes(target.address)) ||
          behind.some(({ address }) => address === target.address);
        this.#never(!leads && !this.damaged, `port ${key} of ${target.owner} leads to ${to}, which it does not have`);
      }
      this.#withdraw(replacing);
      for (const target of targets)
        this.elements.set(element(target).key, { ...element(target), owner: target.owner, ...within });
    },
    unpublish: ({ replacing }: PublishInput) => this.#withdraw(replacing),
    expose: ({ publisher, ports }: OuterInput) => {
      this.#never(publisher === null, 'ports are announced to nobody');
      for (const port of ports) this.exposed.add(outerOf(port));
    },
    unexpose: ({ ports }: OuterInput) => ports.forEach((port) => this.exposed.delete(outerOf(port))),
    probeUplink: () => ({ flags: FLAGS }),
    startUplink: ({ directory, netns }: UplinkStart) => {
      this.#never(!this.namespaces.has(netns), `an uplink is started in a namespace that is not there`);
      this.#never(this.#bridged && !this.firewall, `an uplink is started without the firewall`);
      this.uplinks.set(directory, MADE);
    },
    verifyUplink: ({ directory }: UplinkVerify) => {
      this.#never(!this.uplinks.has(directory), `an uplink is looked at that was not started`);
      return MADE;
    },
    stopUplink: ({ directory }: { directory: string }) => this.#endUplink(directory),
    ensureFiles: ({ id }: FilesInput) => void this.files.add(id),
    removeFiles: ({ id }: FilesInput) => void this.files.delete(id),
    raiseNetwork: ({ definition }: RaiseInput) => {
      this.#never(!this.firewall, `bridge ${definition.network_interface} is raised without the firewall`);
      this.#never(!this.forwarding, `bridge ${definition.network_interface} is raised without forwarding`);
      this.bridges.add(definition.network_interface);
    },
    reviseNetwork: ({ to }: ReviseInput) => {
      this.#never(!this.bridges.has(to.network_interface), `bridge ${to.network_interface} is changed, and not there`);
    },
    repairNetwork: ({ definition }: RaiseInput) => void this.bridges.add(definition.network_interface),
    programPeers: () => {},
    recordDefinition: () => {},
    lowerNetwork: ({ definition }: RaiseInput) => {
      const used = [...this.links.values()].some(({ bridge }) => bridge === definition.network_interface);
      this.#never(used, `bridge ${definition.network_interface} is lowered under its links`);
      this.bridges.delete(definition.network_interface);
    },
    readSwitches: () => ({ 'net/ipv4/ip_forward': '0' }),
    raiseFirewall: ({ found }: { found: Switches | null }) => {
      this.firewall = true;
      if (found !== null) this.forwarding = true;
    },
    restoreSwitches: () => {
      this.#never(this.links.size > 0, 'the switches are put back under links');
      this.forwarding = false;
    },
    lowerFirewall: () => {
      // A bridge that a crash left behind, without users, may exist: its network raises the firewall again first.
      this.#never(this.links.size > 0, 'the firewall is lowered under links');
      this.firewall = false;
      this.forwarding = false;
    },
  };

  /** A program ends by itself. */
  end(key: string): void | Promise<void> {
    this.damaged = true;
    this.#endUplink(key);
  }

  /** Others remove links. */
  lose(names: readonly string[]): void | Promise<void> {
    this.damaged = true;
    for (const name of names) this.links.delete(name);
  }

  /** Ports that another container publishes. */
  lend(targets: readonly OwnedTarget[]): void | Promise<void> {
    for (const target of targets) this.elements.set(element(target).key, { ...element(target), owner: target.owner });
  }

  /** Removes the ports of these owners, whichever handler has them. */
  reclaim(targets: readonly OwnedTarget[]): void | Promise<void> {
    for (const target of targets) {
      const { key } = element(target);
      if (this.elements.get(key)?.owner === target.owner) this.elements.delete(key);
    }
  }

  /** Objections of other observers to a container in this state: here there is none. */
  audit(_state: Snapshot): Promise<string[]> {
    return Promise.resolve([]);
  }

  /** The resolver gets this. */
  name(owner: string, entries: readonly NameEntry[]): void {
    for (const { network, addresses } of entries) this.names.set(`${owner} on ${network}`, addresses.join(' '));
  }

  writeZones(zones: readonly Zone[]): void {
    this.names.clear();
    for (const { network, entries } of zones) {
      for (const { owner, addresses } of entries) this.names.set(`${owner} on ${network}`, addresses.join(' '));
    }
  }

  unname(owner: string, networks: readonly string[]): void {
    for (const network of networks) this.names.delete(`${owner} on ${network}`);
  }

  #link({ verb, attachment, netns, owner }: AttachmentInput): void {
    const { hostLink, bridge, network, link } = attachment;
    const there = this.links.get(hostLink);
    this.#never(there !== undefined && there.owner !== owner, `link ${hostLink} is made twice`);
    this.#never(!this.namespaces.has(netns), `link ${hostLink} is made in a namespace that is not there`);
    const bridgeless = this.#bridged && !this.bridges.has(bridge);
    // A link that is made again may have lost its bridge too; a new one has a bridge.
    if (bridgeless && verb === 'repair') throw new Error(`ENODEV: ${bridge}`);
    this.#never(bridgeless, `link ${hostLink} is made without its bridge`);
    this.links.set(hostLink, { owner, netns, bridge, network, inside: link, addresses: there?.addresses ?? [] });
  }

  #answer({ hostLink, network, addresses }: AttachmentInput['attachment'], owner: string, gone: string[]): void {
    const mine = this.links.get(hostLink);
    if (mine === undefined) return;
    mine.addresses = mine.addresses.filter((address) => !gone.includes(address));
    for (const { address } of addresses) {
      for (const link of this.links.values()) {
        const twice = link !== mine && link.network === network && link.addresses.includes(address);
        this.#never(twice, `${address} answers for ${link.owner} and for ${owner}`);
      }
      if (!mine.addresses.includes(address)) mine.addresses.push(address);
    }
  }

  /** The ports that it carries go with it. */
  #endUplink(directory: string): void {
    this.uplinks.delete(directory);
    for (const [key, { within }] of this.elements) if (within === directory) this.elements.delete(key);
  }

  #withdraw(targets: readonly OwnedTarget[]): void {
    for (const target of targets) {
      const { key, to } = element(target);
      const there = this.elements.get(key);
      if (there?.to === to && there.owner === target.owner) this.elements.delete(key);
    }
  }

  #never(happened: boolean, what: string): void {
    if (happened) this.violations.push(what);
  }
}

/** A published port in the firewall: the match, and the target. */
export function element({ protocol, hostIp, hostPort, address, containerPort }: OwnedTarget) {
  const any = ['', '0.0.0.0', '::'].includes(hostIp);
  const family = address.includes(':') ? 6 : 4;
  return { key: `${family} ${protocol} ${any ? '*' : hostIp}:${hostPort}`, to: `${address}:${containerPort}` };
}

/** A host port at the outer publisher. */
export const outerOf = ({ protocol, outerIp, hostPort }: ResolvedPort): string =>
  `${outerIp ?? ''}:${hostPort}/${protocol}`;

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
  /** Resolves when the last effect that was ended has happened: in a world of strings at once. */
  notification: Promise<unknown> = Promise.resolve();
  readonly world: World;
  /** Called for each effect as it begins. */
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
            const answer = (output: unknown) => {
              if (how === 'done' && !this.dead) resolve(output as never);
              else reject(new Error(`${name} ${how}`));
            };
            try {
              const output = how === 'failed' || this.dead ? undefined : this.world.effects[name]?.(input as never);
              if (output instanceof Promise) this.notification = output.then(answer, reject);
              else answer(output);
            } catch (error) {
              reject(error);
            }
          },
        };
        this.pending.push(entry);
      });
    };
  }
}

/** Waits until everything that can happen without the test has happened: microtasks, and one turn of the event loop. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

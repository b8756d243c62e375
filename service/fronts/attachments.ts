/**
 * Attaches containers of engines to networks, and detaches them, by the lifecycle events of the socket. Engines speak of one
 * attachment at a time; a container of cleat is made with its first one, and torn down with its last.
 *
 * Guarantees: an attachment that is requested twice is made once, and one that is gone already is detached. When one of several
 * cannot be made, those that this request has made are removed. Requests for one container take turns. Each event is authorised as
 * one that its caller has sent. A container whose engine started it again, in another namespace, begins anew.
 * Limits: the answer to a detachment waits GONE_MS at most until the kernel has removed everything.
 */
import { isDeepStrictEqual } from 'node:util';
import { stateName } from '../../plan/states.ts';
import { inTurn } from '../../effects/turns.ts';
import { identityAt } from '../../effects/kernel.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { AttachmentOptions, LifecycleEvent, PortMapping } from '../../state/event.ts';
import { FaultError } from '../../state/faults.ts';
import type { Containers } from '../containers/containers.ts';
import type { DescribedNetwork } from '../networks/described.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import type { EngineNetworks } from './engine-networks.ts';
import type { HostLinks } from './host-links.ts';

/** Bounds the time in which the kernel removes what a container had. */
const GONE_MS = 10_000;

export interface Attachment {
  id: string;
  name?: string | undefined;
  hostname?: string | undefined;
  /** Leads to the container's network namespace, as the daemon finds it. */
  netns: string;
  /** Names the networks to be attached. */
  networks: Record<string, AttachmentOptions>;
  ports: PortMapping[];
  /** The engine expects the names of netavark for the host's ends: veth0, veth1, ... */
  numberedHostLinks?: boolean;
  /** The engine holds the host ports open itself. */
  portsReserved?: boolean;
  /** Defines those of the networks that the engine keeps. */
  described: DescribedNetwork[];
}

export interface AttachmentsParts {
  hostLinks: HostLinks;
  containers: Pick<Containers, 'get' | 'isTaken' | 'waitFor'>;
  networks: EngineNetworks;
}

/** Sends an event as the caller of a request, and resolves with the container when it is at rest. */
export type Send = (event: LifecycleEvent) => Promise<ContainerSnapshot>;

export class Attachments {
  readonly #parts: AttachmentsParts;
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(parts: AttachmentsParts) {
    this.#parts = parts;
  }

  /** Resolves with the container, which then has all of these attachments. */
  attach(wish: Attachment, send: Send): Promise<ContainerContext> {
    const work = () => this.#parts.networks.having(wish.described, () => this.#attach(wish, send));
    return inTurn(this.#turns, wish.id, work);
  }

  /**
   * Resolves when the container has none of these attachments, and networks that only it was on are forgotten: what an engine
   * keeps them in may be gone as soon as it has its answer. `networks`: names, or all of them.
   */
  async detach(id: string, networks: readonly string[] | 'all', send: Send): Promise<void> {
    await inTurn(this.#turns, id, () => this.#detach(id, networks, send));
    await this.#parts.networks.forgetUnused();
  }

  async #attach(wish: Attachment, send: Send): Promise<ContainerContext> {
    const present = await this.#present(wish, send);
    const make = (named: Attachment) =>
      present === null ? this.#create(named, send) : this.#connect(present.context, named, send);
    const unnamed = wish.numberedHostLinks === true ? withoutHostLink(wish, present?.context) : [];
    if (unnamed.length === 0) return make(wish);
    for (let left = 3; ; left--) {
      try {
        return await this.#parts.hostLinks.having(unnamed.length, (names) => make(withHostLinks(wish, unnamed, names)));
      } catch (error) {
        // Another program was faster with one of these names.
        const isTaken = error instanceof FaultError && error.fault.code === 'NAME_TAKEN_IN_KERNEL';
        if (!isTaken || left === 0) throw error;
      }
    }
  }

  /** Returns the container if it has this namespace. One that had another namespace under this id is torn down first. */
  async #present({ id, netns }: Attachment, send: Send): Promise<ContainerSnapshot | null> {
    const before = this.#parts.containers.get(id);
    if (before === undefined) return null;
    const isSame = isIn(before.context, netns);
    if (isSame && ['created', 'up', 'degraded'].includes(stateName(before))) return before;
    const { boundTo, request } = before.context;
    if (!isSame && (boundTo !== null || request.netns.mode !== 'path')) {
      const which = boundTo === null ? 'which has' : `which has process ${boundTo.pid} and`;
      const message = `container ${id} is another one, ${which} a namespace of its own`;
      throw new FaultError('CONTAINER_EXISTS', message, { owner: id });
    }
    await this.#tearDown(id, send);
    return null;
  }

  async #create(wish: Attachment, send: Send): Promise<ContainerContext> {
    const { id, name, hostname, netns, networks, ports, portsReserved } = wish;
    const create = {
      type: 'create' as const,
      id,
      ...(hostname === undefined ? {} : { hostname }),
      netns: { mode: 'path' as const, path: netns },
      networks,
      port_mappings: ports,
      ...(portsReserved === true ? { ports_reserved: true } : {}),
    };
    // Names are unique within an engine alone. A second container of a name is called by its id.
    const isTaken = name !== undefined && this.#parts.containers.isTaken(id, name);
    await send(name === undefined || isTaken ? create : { ...create, name });
    try {
      return (await send({ type: 'configure', id })).context;
    } catch (error) {
      await this.#undo(() => this.#tearDown(id, send));
      throw error;
    }
  }

  /** Adds what a container that exists lacks. */
  async #connect(
    context: ContainerContext,
    { id, networks, ports }: Attachment,
    send: Send,
  ): Promise<ContainerContext> {
    const made: string[] = [];
    let now = context;
    try {
      for (const [network, options] of Object.entries(networks)) {
        const has = now.request.networks[network];
        const wanted = { ...hostLinkOf(has), ...options };
        if (isDeepStrictEqual(has, wanted)) continue;
        // It was asked for otherwise before, by an engine that has not heard of the success, and has chosen again.
        if (has !== undefined) await send({ type: 'disconnect', id, network, force: true });
        now = (await send({ type: 'connect', id, network, options: wanted })).context;
        made.push(network);
      }
      const missing = ports.filter((port) => !isPublished(now, port));
      if (missing.length > 0) now = (await send({ type: 'publish', id, port_mappings: missing })).context;
      return now.configured ? now : (await send({ type: 'configure', id })).context;
    } catch (error) {
      for (const network of made) await this.#undo(() => send({ type: 'disconnect', id, network, force: true }));
      throw error;
    }
  }

  /** Undoes a part of what has failed. If this fails too, the container keeps what is left, with the reason, and tries again. */
  async #undo(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
    }
  }

  async #detach(id: string, networks: readonly string[] | 'all', send: Send): Promise<void> {
    const now = this.#parts.containers.get(id);
    if (now === undefined) return;
    const on = Object.keys(now.context.request.networks);
    const leaving = networks === 'all' ? on : on.filter((network) => networks.includes(network));
    if (networks !== 'all' && leaving.length === 0) return;
    // One that has more than its networks of the engines (a namespace, a process) was made by others, and stays.
    const isEngines = now.context.request.netns.mode === 'path';
    if (leaving.length === on.length && isEngines) return this.#tearDown(id, send);
    for (const network of leaving) await send({ type: 'disconnect', id, network, force: true });
  }

  /** Resolves when nothing is left of the container. */
  async #tearDown(id: string, send: Send): Promise<void> {
    const { containers } = this.#parts;
    if (containers.get(id) === undefined) return;
    await send({ type: 'teardown', id });
    const left = containers.get(id);
    // One whose namespace other containers use goes with the last of them.
    if (left !== undefined && !left.context.ownerGone) await containers.waitFor(id, 'gone', GONE_MS);
  }
}

/** Returns true if the container has the namespace at this path. */
export function isIn({ identity }: ContainerContext, netns: string): boolean {
  const there = identityAt(netns);
  return identity !== null && there !== null && identity.dev === there.dev && identity.ino === there.ino;
}

const hostLinkOf = (options: AttachmentOptions | undefined): Pick<AttachmentOptions, 'host_interface_name'> =>
  options?.host_interface_name === undefined ? {} : { host_interface_name: options.host_interface_name };

/** Returns the bridges among the networks for which the host's end has no name yet. */
function withoutHostLink({ networks, described }: Attachment, context: ContainerContext | undefined): string[] {
  const isBridge = (name: string) =>
    described.some(({ request }) => request.name === name && request.driver === 'bridge');
  return Object.entries(networks).flatMap(([name, options]) => {
    const has = context?.request.networks[name] ?? options;
    return isBridge(name) && has.host_interface_name === undefined ? [name] : [];
  });
}

function withHostLinks(wish: Attachment, networks: readonly string[], names: readonly string[]): Attachment {
  const named = Object.entries(wish.networks).map(([network, options]) => {
    const name = names[networks.indexOf(network)];
    return [network, name === undefined ? options : { ...options, host_interface_name: name }] as const;
  });
  return { ...wish, networks: Object.fromEntries(named) };
}

/** Returns true if the container has this port, or for a port that cleat chooses, any that leads to the same place. */
export function isPublished({ ports }: ContainerContext, asked: PortMapping): boolean {
  const { protocol = 'tcp', host_ip: ip = '', host_port: port = 0, container_port: inner, range = 1 } = asked;
  return ports.some(
    (has) =>
      has.protocol === protocol &&
      (has.outerIp ?? has.hostIp) === ip &&
      has.containerPort <= inner &&
      inner + range <= has.containerPort + has.range &&
      (port === 0 || port - inner === has.hostPort - has.containerPort),
  );
}

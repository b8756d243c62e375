/**
 * The machines that containers share: per outside namespace a firewall, its ports, its resolver, and each network in use
 * there.
 *
 * Guarantees: one machine per thing, started when first asked for, or at recovery with what the snapshots say. Of these
 * only the firewall's memory of what it found is on disk; leases, claims and names are read back from the containers.
 * Limits: machines of an outside live until the daemon ends; idle ones own nothing in the kernel.
 */
import { createActor, waitFor, type ActorRefFrom, type AnyActorRef } from 'xstate';
import { z } from 'zod';
import type { Directory } from '../effects/ask.ts';
import { ROOT } from '../effects/effect.ts';
import { insist } from '../effects/insist.ts';
import { outsideKey } from '../effects/kernel.ts';
import type { firewallMachine, RulesetFindings, Switches } from '../machines/firewall.ts';
import type { networkMachine } from '../machines/network.ts';
import { nameEntries, type Names } from '../machines/plan/names.ts';
import { portsMachine } from '../machines/ports.ts';
import type { resolverMachine } from '../machines/resolver.ts';
import type { Claims } from '../machines/plan/ports.ts';
import type { Leases } from '../machines/plan/lease.ts';
import type { ContainerContext } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import type { NetworkDefinition } from '../state/network.ts';
import type { SnapshotStore } from '../state/store.ts';

export interface SharedMachines {
  firewall: typeof firewallMachine;
  network: typeof networkMachine;
  resolver: typeof resolverMachine;
}

/** What the file of an outside holds. */
const OutsideRecord = z.strictObject({
  outside: z.string().nullable(),
  bootId: z.string(),
  found: z.record(z.string(), z.string()).nullable(),
});
type OutsideRecord = z.infer<typeof OutsideRecord>;

interface Outside {
  firewall: ActorRefFrom<typeof firewallMachine>;
  ports: ActorRefFrom<typeof portsMachine>;
  resolver: ActorRefFrom<typeof resolverMachine>;
  networks: Map<string, ActorRefFrom<typeof networkMachine>>;
}

/** What the snapshots say of an outside. */
interface Adopted {
  networks: string[];
  found: Switches | null;
  claims: Claims;
  names: Names;
  recovering: boolean;
}

const NOTHING: Adopted = { networks: [], found: null, claims: {}, names: {}, recovering: false };

/** Who wants to know of outsides: that there is one more, and what a look at its table has found. */
export interface OutsideWatcher {
  opened(outside: string | null): void;
  found(outside: string | null, findings: RulesetFindings): void;
}

export class Shared implements Directory {
  readonly #watcher: () => OutsideWatcher | null;
  readonly #machines: () => SharedMachines;
  readonly #definitions: ReadonlyMap<string, NetworkDefinition>;
  readonly #previous: ReadonlyMap<string, NetworkDefinition>;
  readonly #store: SnapshotStore;
  readonly #bootId: string;
  readonly #failed: (what: string, error: unknown) => void;
  readonly #outsides = new Map<string | null, Outside>();

  constructor(parts: {
    machines: () => SharedMachines;
    watcher?: () => OutsideWatcher | null;
    definitions: ReadonlyMap<string, NetworkDefinition>;
    /** What definitions were before an update that a crash interrupted. */
    previous?: ReadonlyMap<string, NetworkDefinition>;
    store: SnapshotStore;
    bootId: string;
    failed: (what: string, error: unknown) => void;
  }) {
    this.#machines = parts.machines;
    this.#watcher = parts.watcher ?? (() => null);
    this.#definitions = parts.definitions;
    this.#previous = parts.previous ?? new Map();
    this.#store = parts.store;
    this.#bootId = parts.bootId;
    this.#failed = parts.failed;
  }

  network(outside: string | null, name: string): AnyActorRef | null {
    const on = this.#outside(outside);
    return on.networks.get(name) ?? this.#startNetwork(on, outside, name, {}, false);
  }

  firewall(outside: string | null): AnyActorRef {
    return this.#outside(outside).firewall;
  }

  ports(outside: string | null): AnyActorRef {
    return this.#outside(outside).ports;
  }

  /** Those of one outside, by name. */
  networksIn(outside: string | null): ReadonlyMap<string, ActorRefFrom<typeof networkMachine>> {
    return this.#outsides.get(outside)?.networks ?? new Map();
  }

  /** Definitions of the networks whose bridge and rules are there, or about to be. */
  standingIn(outside: string | null): NetworkDefinition[] {
    const all = [...this.networksIn(outside).values()].map((actor) => actor.getSnapshot());
    return all.filter((state) => state.hasTag('standing')).map(({ context }) => context.definition);
  }

  /** What is wrong with machines that try by themselves to mend it. */
  troubles(): { outside: string | null; what: string; fault: Fault }[] {
    return [...this.#outsides].flatMap(([outside, { firewall, resolver, networks }]) => {
      const all: [string, AnyActorRef][] = [
        ['firewall', firewall],
        ['resolver', resolver],
      ];
      for (const [name, actor] of networks) all.push([`network ${name}`, actor]);
      return all.flatMap(([what, actor]) => {
        const { context } = actor.getSnapshot() as { context: { fault: Fault | null; attempts: number } };
        return context.fault === null || context.attempts === 0 ? [] : [{ outside, what, fault: context.fault }];
      });
    });
  }

  outsides(): (string | null)[] {
    return [...this.#outsides.keys()];
  }

  /** The machines of a network, one per outside in which it was ever asked for. */
  machinesOf(name: string): ActorRefFrom<typeof networkMachine>[] {
    return [...this.#outsides.values()].flatMap((on) => on.networks.get(name) ?? []);
  }

  resolver(outside: string | null): AnyActorRef {
    return this.#outside(outside).resolver;
  }

  /** The server of an outside has ended by itself. */
  resolverExited(outside: string | null): void {
    this.#outsides.get(outside)?.resolver.send({ type: 'resolver.exited' });
  }

  /** The host's resolv.conf has changed: every server reads it again. */
  refreshResolvers(): void {
    for (const { resolver } of this.#outsides.values()) resolver.send({ type: 'refresh' });
  }

  /** Owners that hold a lease of this network, in any outside. */
  usersOf(name: string): string[] {
    return [...this.#outsides.values()].flatMap((on) => {
      const leases = on.networks.get(name)?.getSnapshot().context.leases ?? {};
      return Object.keys(leases);
    });
  }

  /** Resolves with true once nothing of the network is in any kernel: its definition may go. False if it is stuck. */
  async whenDown(name: string): Promise<boolean> {
    for (const on of this.#outsides.values()) {
      const actor = on.networks.get(name);
      if (actor === undefined) continue;
      const idle = await waitFor(actor, (state) => state.hasTag('rest') && !state.matches('up'), { timeout: 10_000 });
      if (!idle.matches('down')) return false;
    }
    return true;
  }

  /** Resolves when nothing is being raised or lowered, or after `ms`: what is left then is the next start's. */
  async settled(ms: number): Promise<void> {
    const settle = (actors: AnyActorRef[]) =>
      Promise.allSettled(
        actors.map((actor) =>
          waitFor(actor, (snapshot: { hasTag(tag: string): boolean }) => snapshot.hasTag('rest'), { timeout: ms }),
        ),
      );
    const outsides = [...this.#outsides.values()];
    await settle(outsides.flatMap((on) => [...on.networks.values(), on.resolver]));
    await settle(outsides.map((on) => on.firewall)); // lowered after its last network
  }

  /** Stop the machines of a network whose definition is gone. */
  forget(name: string): void {
    for (const on of this.#outsides.values()) {
      on.networks.get(name)?.stop();
      on.networks.delete(name);
    }
  }

  /**
   * Start everything that the snapshots of containers and outsides speak of. Call once, before the containers start.
   * Answers the files that had to be set aside.
   */
  recover(containers: readonly ContainerContext[]): string[] {
    const { records, unreadable } = this.#store.load();
    const found = new Map<string | null, Switches | null>();
    for (const { id, record } of records) {
      const { data } = OutsideRecord.safeParse(record);
      if (data === undefined || outsideKey(data.outside) !== id) unreadable.push(this.#store.setAside(id));
      else if (data.bootId === this.#bootId) found.set(data.outside, data.found);
      else this.#store.remove(id); // another boot: nothing that it speaks of exists
    }
    const outsides = new Set([null, ...found.keys(), ...containers.map(({ outside }) => outside)]);
    for (const outside of outsides) {
      const mine = containers.filter((container) => container.outside === outside);
      const leases = new Map<string, Leases>();
      const claims: Record<string, Claims[string]> = {};
      const names: Record<string, Names[string]> = {};
      for (const container of mine) {
        const { owner, attachments, ports, change } = container;
        for (const attachment of attachments) {
          leases.set(attachment.network, { ...leases.get(attachment.network), [owner]: attachment });
        }
        const claimed = [...ports, ...(change?.ports ?? [])];
        if (claimed.length > 0) claims[owner] = claimed;
        // Also those on their way in or out: registering again is theirs to do, and so is taking out, at the latest with the
        // lease.
        const entries = nameEntries(container, attachments);
        if (entries.length > 0) names[owner] = entries;
      }
      const on = this.#start(outside, {
        networks: [...leases.keys()],
        found: found.get(outside) ?? null,
        claims,
        names,
        recovering: true,
      });
      for (const name of this.#definitions.keys()) this.#startNetwork(on, outside, name, leases.get(name) ?? {}, true);
    }
    return unreadable;
  }

  #outside(outside: string | null): Outside {
    return this.#outsides.get(outside) ?? this.#start(outside, NOTHING);
  }

  #start(outside: string | null, { networks, found, claims, names, recovering }: Adopted): Outside {
    const key = outsideKey(outside);
    const record = (): OutsideRecord => ({
      outside,
      bootId: this.#bootId,
      found: firewall.getSnapshot().context.found,
    });
    const firewall = createActor(this.#machines().firewall, {
      id: key,
      systemId: ROOT,
      input: { outside, adopted: networks, found },
      inspect: (event) => {
        // At every inspection event: an effect asks for its commit before the snapshot that shows it is announced.
        this.#store.touch(key, { read: record });
        const down =
          event.type === '@xstate.snapshot' && event.actorRef === firewall && firewall.getSnapshot().matches('down');
        // Once this turn is over: what is still inspected of it would mark the record as changed again, to be written
        // by the next commit of another outside.
        if (!down) return;
        queueMicrotask(() => this.#forgetFound(key, firewall));
      },
    });
    const ports = createActor(portsMachine, { systemId: ROOT, input: { adopted: claims } });
    const resolver = createActor(this.#machines().resolver, {
      id: 'resolver',
      systemId: ROOT,
      input: { outside, adopted: names, recovering },
    });
    const on: Outside = { firewall, ports, resolver, networks: new Map() };
    this.#outsides.set(outside, on);
    firewall.on('found', (findings) => this.#watcher()?.found(outside, findings));
    this.#watcher()?.opened(outside);
    this.#run(firewall, `firewall of ${outside ?? 'the host'}`);
    this.#run(ports, `ports of ${outside ?? 'the host'}`);
    this.#run(resolver, `resolver of ${outside ?? 'the host'}`);
    return on;
  }

  /** Left on disk, it would have the next start put back what may not be so any more. */
  #forgetFound(key: string, firewall: Outside['firewall']): void {
    const forget = () => {
      if (firewall.getSnapshot().matches('down')) this.#store.remove(key);
    };
    insist(forget, (error) => this.#failed(`file of outside ${key}`, error));
  }

  #startNetwork(on: Outside, outside: string | null, name: string, adopted: Leases, recovering: boolean) {
    const definition = this.#definitions.get(name);
    if (definition === undefined) return null;
    const actor = createActor(this.#machines().network, {
      id: name,
      systemId: ROOT,
      input: {
        definition,
        previous: recovering ? (this.#previous.get(name) ?? null) : null,
        outside,
        adopted,
        recovering,
      },
    });
    on.networks.set(name, actor);
    this.#run(actor, `network ${name}`);
    return actor;
  }

  #run(actor: AnyActorRef, what: string): void {
    actor.subscribe({ error: (error) => this.#failed(what, error) });
    actor.start();
  }
}

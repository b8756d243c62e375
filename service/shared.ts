/**
 * The machines that containers share: per outside namespace a firewall, its ports, and each network in use there.
 *
 * Guarantees: one machine per thing, started when first asked for, or at recovery with what the snapshots say. Of these
 * only the firewall's memory of what it found is on disk; leases and claims are read back from the containers.
 * Limits: machines of an outside live until the daemon ends; idle ones own nothing in the kernel.
 */
import { createActor, waitFor, type ActorRefFrom, type AnyActorRef } from 'xstate';
import type { Directory } from '../effects/ask.ts';
import { ROOT } from '../effects/effect.ts';
import type { firewallMachine, Switches } from '../machines/firewall.ts';
import type { networkMachine } from '../machines/network.ts';
import { portsMachine } from '../machines/ports.ts';
import type { Claims } from '../machines/plan/ports.ts';
import type { Leases } from '../machines/plan/lease.ts';
import type { ContainerContext } from '../state/container.ts';
import type { NetworkDefinition } from '../state/network.ts';
import type { SnapshotStore } from '../state/store.ts';

export interface SharedMachines {
  firewall: typeof firewallMachine;
  network: typeof networkMachine;
}

/** What the file of an outside holds. */
interface OutsideRecord {
  outside: string | null;
  bootId: string;
  found: Switches | null;
}

interface Outside {
  firewall: ActorRefFrom<typeof firewallMachine>;
  ports: ActorRefFrom<typeof portsMachine>;
  networks: Map<string, ActorRefFrom<typeof networkMachine>>;
}

export class Shared implements Directory {
  readonly #machines: () => SharedMachines;
  readonly #definitions: ReadonlyMap<string, NetworkDefinition>;
  readonly #store: SnapshotStore;
  readonly #bootId: string;
  readonly #failed: (what: string, error: unknown) => void;
  readonly #outsides = new Map<string | null, Outside>();

  constructor(parts: {
    machines: () => SharedMachines;
    definitions: ReadonlyMap<string, NetworkDefinition>;
    store: SnapshotStore;
    bootId: string;
    failed: (what: string, error: unknown) => void;
  }) {
    this.#machines = parts.machines;
    this.#definitions = parts.definitions;
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
      const idle = await waitFor(actor, (state) => state.matches('down') || state.matches('lowerFailed'), {
        timeout: 10_000,
      });
      if (!idle.matches('down')) return false;
    }
    return true;
  }

  /** Resolves when nothing is being raised or lowered, or after `ms`: what is left then is the next start's. */
  async settled(ms: number): Promise<void> {
    const idle = ['up', 'down', 'lowerFailed'];
    const settle = (actors: AnyActorRef[]) =>
      Promise.allSettled(
        actors.map((actor) =>
          waitFor(actor, (snapshot: { value: unknown }) => idle.includes(String(snapshot.value)), { timeout: ms }),
        ),
      );
    const outsides = [...this.#outsides.values()];
    await settle(outsides.flatMap((on) => [...on.networks.values()]));
    await settle(outsides.map((on) => on.firewall)); // lowered after its last network
  }

  /** Stop the machines of a network whose definition is gone. */
  forget(name: string): void {
    for (const on of this.#outsides.values()) {
      on.networks.get(name)?.stop();
      on.networks.delete(name);
    }
  }

  /** Start everything that the snapshots of containers and outsides speak of. Call once, before the containers start. */
  recover(containers: readonly ContainerContext[]): void {
    const { records } = this.#store.load();
    const found = new Map<string | null, Switches | null>();
    for (const { id, record } of records) {
      const { outside, bootId, found: switches } = record as OutsideRecord;
      if (bootId === this.#bootId) found.set(outside, switches);
      else this.#store.remove(id); // another boot: nothing that it speaks of exists
    }
    const outsides = new Set([null, ...found.keys(), ...containers.map(({ outside }) => outside)]);
    for (const outside of outsides) {
      const mine = containers.filter((container) => container.outside === outside);
      const leases = new Map<string, Leases>();
      const claims: Record<string, Claims[string]> = {};
      for (const { owner, attachments, ports, change } of mine) {
        for (const attachment of attachments) {
          leases.set(attachment.network, { ...leases.get(attachment.network), [owner]: attachment });
        }
        const claimed = [...ports, ...(change?.ports ?? [])];
        if (claimed.length > 0) claims[owner] = claimed;
      }
      const on = this.#start(outside, [...leases.keys()], found.get(outside) ?? null, claims);
      for (const name of this.#definitions.keys()) this.#startNetwork(on, outside, name, leases.get(name) ?? {}, true);
    }
  }

  #outside(outside: string | null): Outside {
    return this.#outsides.get(outside) ?? this.#start(outside, [], null, {});
  }

  #start(outside: string | null, networks: string[], found: Switches | null, claims: Claims): Outside {
    const key = outside === null ? 'own' : Buffer.from(outside).toString('base64url').slice(0, 200);
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
        queueMicrotask(() => {
          if (firewall.getSnapshot().matches('down')) this.#store.remove(key);
        });
      },
    });
    const ports = createActor(portsMachine, { systemId: ROOT, input: { adopted: claims } });
    const on: Outside = { firewall, ports, networks: new Map() };
    this.#outsides.set(outside, on);
    this.#run(firewall, `firewall of ${outside ?? 'the host'}`);
    this.#run(ports, `ports of ${outside ?? 'the host'}`);
    return on;
  }

  #startNetwork(on: Outside, outside: string | null, name: string, adopted: Leases, recovering: boolean) {
    const definition = this.#definitions.get(name);
    if (definition === undefined) return null;
    const actor = createActor(this.#machines().network, {
      id: name,
      systemId: ROOT,
      input: { definition, outside, adopted, recovering },
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

/**
 * The daemon without a kernel and without a socket: real machines, questions, stores and recovery, on a world of
 * strings. It can be ended as abruptly as by SIGKILL, and started again from its directory.
 *
 * Guarantees: nothing that an ended one still does reaches the world or the disk. An effect in flight at the end has
 * happened or has not, as the test says.
 * Limits: waits between attempts end when the test says so; host ports are never in use by others.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromCallback, type AnyActorRef, type EventObject } from 'xstate';
import * as ask from '../../effects/ask.ts';
import { defineEffect, type EffectRunner, type Verb } from '../../effects/effect.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { attachmentMachine } from '../../machines/attachment.ts';
import { containerMachine } from '../../machines/container.ts';
import { firewallMachine } from '../../machines/firewall.ts';
import { networkMachine } from '../../machines/network.ts';
import { Containers } from '../../service/containers.ts';
import { recover } from '../../service/recovery.ts';
import { Shared, type SharedMachines } from '../../service/shared.ts';
import { Journal } from '../../state/journal.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { SnapshotStore } from '../../state/store.ts';
import { settled, Stage, World } from './world.ts';

export const BOOT = 'this boot';

/** Nobody listens on the host's ports. */
const quiet = { outside: () => ({ kernel: { portProbe: () => Promise.resolve([]) } }) } as unknown as Kernel;

interface Life {
  stage: Stage;
  containers: Containers;
  shared: Shared;
  /** Ends the oldest wait between two attempts. */
  waits: (() => void)[];
}

export class Fleet {
  readonly world = new World(true);
  readonly problems: string[] = [];
  readonly #definitions: ReadonlyMap<string, NetworkDefinition>;
  #directory = mkdtempSync(join(tmpdir(), 'fleet-'));
  #life: Life;

  constructor(definitions: ReadonlyMap<string, NetworkDefinition>) {
    this.#definitions = definitions;
    this.#life = this.#start();
  }

  get containers(): Containers {
    return this.#life.containers;
  }

  get stage(): Stage {
    return this.#life.stage;
  }

  get waits(): (() => void)[] {
    return this.#life.waits;
  }

  users(network: string): string[] {
    return this.#life.shared.usersOf(network);
  }

  /** What the files say of containers: what a crash now would leave to go by. */
  onDisk(): ContainerContext[] {
    const folder = join(this.#directory, 'containers');
    return readdirSync(folder)
      .filter((name) => name.endsWith('.json'))
      .map((name) => {
        const record = JSON.parse(readFileSync(join(folder, name), 'utf8')) as {
          snapshot: { context: ContainerContext };
        };
        return record.snapshot.context;
      });
  }

  /** Claims of host ports, as the machine that grants them has them. */
  claims(): Record<string, unknown> {
    return (this.#life.shared.ports(null).getSnapshot() as { context: { claims: Record<string, unknown> } }).context
      .claims;
  }

  /** `happened`: whether the n-th effect in flight took place before the end. */
  async crash(happened: (n: number) => boolean): Promise<void> {
    const { stage } = this.#life;
    const inFlight = [...stage.pending];
    inFlight.forEach((effect, n) => {
      if (!happened(n)) return;
      try {
        this.world.effects[effect.name]?.(effect.input as never);
      } catch {
        // the kernel refused, and nobody heard it
      }
    });
    stage.dead = true;
    // What the old one still writes, it writes where nobody reads.
    const next = mkdtempSync(join(tmpdir(), 'fleet-'));
    cpSync(this.#directory, next, { recursive: true });
    this.#directory = next;
    for (const effect of inFlight) effect.end('failed');
    for (let i = 0; i < 3; i++) await settled();
    this.#life = this.#start();
    await settled();
  }

  #start(): Life {
    const stage = new Stage(this.world);
    const waits: (() => void)[] = [];
    const failpoint = () => {};
    const failed = (what: string, error: unknown) => {
      if (!stage.dead) this.problems.push(`${what}: ${String(error)}`);
    };
    const containerStore = new SnapshotStore(join(this.#directory, 'containers'), failpoint);
    const outsideStore = new SnapshotStore(join(this.#directory, 'outsides'), failpoint);
    const journal = new Journal(join(this.#directory, 'journal'));
    // As in service/daemon.ts.
    const containerRunner: EffectRunner = {
      failpoint,
      commit: (root: AnyActorRef, verb: Verb) =>
        verb === 'add' && containers.namesAreDurable(root) ? Promise.resolve() : containerStore.commit(root.id),
    };
    const outsideRunner: EffectRunner = { failpoint, commit: (root: AnyActorRef) => outsideStore.commit(root.id) };
    const effect = (runner: EffectRunner, name: string) => {
      const verb = /^(ensure|publish|raise|read)/.test(name) ? 'add' : 'remove';
      return defineEffect(runner, verb, name, stage.body(name)) as never;
    };
    const backOff = fromCallback<EventObject, { attempt: number }>(({ sendBack }) => {
      const retry = () => sendBack({ type: 'retry' });
      waits.push(retry);
      return () => {
        const at = waits.indexOf(retry);
        if (at >= 0) waits.splice(at, 1);
      };
    });

    const machines: { of: SharedMachines | null } = { of: null };
    const shared = new Shared({
      machines: () => machines.of!,
      definitions: this.#definitions,
      store: outsideStore,
      bootId: BOOT,
      failed,
    });
    const outside = (name: string) => effect(outsideRunner, name);
    machines.of = {
      firewall: firewallMachine.provide({
        actors: {
          readSwitches: outside('readSwitches'),
          raiseFirewall: outside('raiseFirewall'),
          lowerFirewall: outside('lowerFirewall'),
          backOff,
        },
      }),
      network: networkMachine.provide({
        actors: {
          raiseNetwork: outside('raiseNetwork'),
          lowerNetwork: outside('lowerNetwork'),
          holdFirewall: ask.holdFirewall(shared),
          releaseFirewall: ask.releaseFirewall(shared),
          backOff,
        },
      }),
    };
    const own = (name: string) => effect(containerRunner, name);
    const machine = containerMachine.provide({
      actors: {
        attachment: attachmentMachine.provide({
          actors: {
            ensureLink: own('ensureLink'),
            ensureAddresses: own('ensureAddresses'),
            removeLink: own('removeLink'),
          },
        }),
        ensureNamespace: own('ensureNamespace'),
        removeNamespace: own('removeNamespace'),
        publish: own('publish'),
        unpublish: own('unpublish'),
        awaitLinksGone: own('awaitLinksGone'),
        lease: ask.lease(shared, quiet),
        release: ask.release(shared),
        backOff,
      },
    });
    const containers = new Containers({
      machine,
      store: containerStore,
      journal,
      bootId: BOOT,
      instance: 'main',
      netnsDir: '/run/cleat/netns',
      failed,
    });
    const found = recover({ store: containerStore, journal, machine, bootId: BOOT });
    for (const path of found.unreadable) this.problems.push(`set aside: ${path}`);
    shared.recover(found.containers.map(({ context }) => context));
    for (const { id, snapshot } of found.containers) containers.restore(id, snapshot);
    return { stage, containers, shared, waits };
  }
}

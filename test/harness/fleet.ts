/**
 * The daemon without a kernel and without a socket: real machines, requests, stores and recovery, on a world of
 * strings. It can be ended as abruptly as by SIGKILL, and started again from its directory.
 *
 * Guarantees: whatever an ended daemon still does reaches neither the world nor the disk. An effect in flight at the
 * end has happened or has not, as the test says. The daemon can also end between two of the files that it writes
 * together.
 * Limits: pauses between attempts end when the test says so; host ports are never in use by others.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fromPromise, type AnyActorRef } from 'xstate';
import { stateName } from '../../plan/states.ts';
import * as ask from '../../effects/ask.ts';
import { lease, NO_EXTERNALS } from '../../effects/lease.ts';
import { defineEffect, type EffectRunner, type Verb } from '../../effects/effect.ts';
import { fanOut } from '../../effects/fan-out.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { attachmentMachine } from '../../machines/container/attachment.ts';
import { containerMachine } from '../../machines/container/container.ts';
import { firewallMachine } from '../../machines/firewall.ts';
import { firewalldMachine } from '../../machines/firewalld.ts';
import { networkMachine } from '../../machines/network.ts';
import { hasLease } from '../../plan/containers/attachment.ts';
import { rootlessMachine } from '../../machines/rootless.ts';
import { resolverMachine, type WriteInput } from '../../machines/resolver.ts';
import { uplinkMachine } from '../../machines/uplink.ts';
import { Containers } from '../../service/containers/containers.ts';
import { Roster } from '../../service/containers/roster.ts';
import type { ContainerActor } from '../../service/records/snapshot.ts';
import { recover } from '../../service/records/recovery.ts';
import { USUAL_PROGRAMS } from '../../service/events/uplink-request.ts';
import type { SharedMachines } from '../../service/outsides/outside.ts';
import { Shared } from '../../service/outsides/shared.ts';
import { Journal } from '../../state/files/journal.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { LIMITS } from '../../state/limits.ts';
import { SnapshotStore } from '../../state/files/store.ts';
import { OURS, settled, Stage, World } from './world.ts';

export const BOOT = 'this boot';

/** Nobody listens on the host's ports, and no namespace has links that are not ours. */
const quiet = {
  outside: () => ({ kernel: { links: () => Promise.resolve([]) } }),
  listening: () => ({ portProbe: () => Promise.resolve([]) }),
} as unknown as Kernel;

interface Life {
  stage: Stage;
  containers: Containers;
  shared: Shared;
  /** Ends the oldest pause between two attempts. */
  waits: (() => void)[];
}

export class Fleet {
  readonly world = new World(true);
  readonly problems: string[] = [];
  readonly #definitions: ReadonlyMap<string, NetworkDefinition>;
  #directory = mkdtempSync(join(tmpdir(), 'fleet-'));
  #life: Life;
  /** Writes of containers until the end; the content of the disk then. */
  #writesLeft = Infinity;
  #left: string | null = null;
  /** How often it was started. */
  lives = 0;

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

  /** The state of each container, and what is under way. */
  states(): string {
    const containers = this.containers.all().map((snapshot) => `${snapshot.context.id} ${stateName(snapshot)}`);
    return [...containers, ...this.stage.pending.map(({ name }) => `(${name})`)].join(', ');
  }

  users(network: string): string[] {
    return this.#life.shared.usersOf(network);
  }

  /** The content of the containers' files: what a crash now would leave. */
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

  /** The container with this id, for events that no lifecycle event brings. */
  actor(id: string): ContainerActor | null {
    const owner = this.containers.get(id)?.context.owner;
    return owner === undefined ? null : this.containers.neighbours.container(owner);
  }

  /** Ends after the n-th write of a container from now: the others of the same turn are not written. */
  crashAfterWrites(n: number): void {
    this.#writesLeft = n;
  }

  /** It has ended by itself, and is started again. */
  async revive(): Promise<void> {
    if (this.#left !== null) await this.crash(() => false);
  }

  #written(): void {
    if (--this.#writesLeft > 0 || this.#left !== null) return;
    this.#life.stage.dead = true;
    this.#left = this.#copy();
  }

  #copy(): string {
    const next = mkdtempSync(join(tmpdir(), 'fleet-'));
    cpSync(this.#directory, next, { recursive: true });
    return next;
  }

  /** `happened`: whether the n-th effect in flight took place before the end. */
  async crash(happened: (n: number) => boolean): Promise<void> {
    const { stage } = this.#life;
    this.#writesLeft = Infinity;
    const inFlight = [...stage.pending];
    inFlight.forEach((effect, n) => {
      if (stage.dead || !happened(n)) return;
      try {
        this.world.effects[effect.name]?.(effect.input as never);
      } catch {
        // the kernel refused, and the daemon did not learn of it
      }
    });
    stage.dead = true;
    // The old one writes to a place that nobody reads.
    this.#directory = this.#left ?? this.#copy();
    this.#left = null;
    for (const effect of inFlight) effect.end('failed');
    for (let i = 0; i < 3; i++) await settled();
    this.#life = this.#start();
    this.#look();
    await settled();
  }

  /** As the drift watch does at a start: removals in the meantime are noticed. */
  #look(): void {
    for (const { context } of this.containers.all()) {
      const gone = context.attachments.filter(({ hostLink }) => !this.world.links.has(hostLink));
      const drift = gone.map(({ link, network }) => ({ kind: 'link' as const, object: link, network }));
      if (drift.length > 0) this.actor(context.id)?.send({ type: 'drifted', drift });
    }
  }

  #start(): Life {
    this.lives++;
    const stage = new Stage(this.world);
    const waits: (() => void)[] = [];
    const failpoint = () => {};
    const failed = (what: string, error: unknown) => {
      if (!stage.dead) this.problems.push(`${what}: ${String(error)}`);
    };
    const containerStore = new SnapshotStore(join(this.#directory, 'containers'), (name) => {
      if (name === 'containers.write:after' && !stage.dead) this.#written();
    });
    const outsideStore = new SnapshotStore(join(this.#directory, 'outsides'), failpoint);
    const journal = new Journal(join(this.#directory, 'journal'), failpoint, failed);
    const roster = new Roster();
    // As in service/start/machines.ts.
    const containerRunner: EffectRunner = {
      failpoint,
      commit: (root: AnyActorRef, verb: Verb) =>
        verb === 'add' && roster.namesAreDurable(root) ? Promise.resolve() : containerStore.commit(root.id),
    };
    const outsideRunner: EffectRunner = { failpoint, commit: (root: AnyActorRef) => outsideStore.commit(root.id) };
    const effect = (runner: EffectRunner, name: string) => {
      const verb = /^(ensure|publish|expose|raise|read|revise|repair|record)/.test(name) ? 'add' : 'remove';
      return defineEffect(runner, verb, name, stage.body(name)) as never;
    };
    const backOff = fromPromise<void, { attempt: number }>(
      ({ signal }) =>
        new Promise((resolve) => {
          const forget = () => {
            const at = waits.indexOf(retry);
            if (at >= 0) waits.splice(at, 1);
          };
          const retry = () => {
            forget();
            resolve();
          };
          waits.push(retry);
          signal.addEventListener('abort', forget);
        }),
    );

    const firewallOf = fromPromise<void, { outside: string | null }>(({ signal }) => nextTurn(undefined, { signal }));

    const { neighbours } = roster;
    const outside = (name: string) => effect(outsideRunner, name);
    // Every request is granted, and zones are written: resolver.paths.test.ts drives the machine itself.
    const well = (output: unknown) => fromPromise(() => Promise.resolve(output)) as never;
    const sharedMachines = (shared: Shared): SharedMachines => ({
      rootless: rootlessMachine,
      resolver: resolverMachine.provide({
        actors: {
          writeZones: fromPromise<{ changed: boolean }, WriteInput>(({ input }) => {
            if (!stage.dead) this.world.writeZones(input.zones);
            return Promise.resolve({ changed: true });
          }),
          ensureResolver: well(undefined),
          askNames: well({ silent: [] }),
          stopResolver: fromPromise(() => {
            if (!stage.dead) this.world.writeZones([]);
            return Promise.resolve();
          }) as never,
          backOff,
        },
      }),
      firewall: firewallMachine.provide({
        actors: {
          readSwitches: outside('readSwitches'),
          raiseFirewall: outside('raiseFirewall'),
          restoreSwitches: outside('restoreSwitches'),
          lowerFirewall: outside('lowerFirewall'),
          backOff,
        },
      }),
      firewalld: firewalldMachine.provide({ actors: { lookAtZones: well(null), backOff } }),
      network: networkMachine.provide({
        actors: {
          raiseNetwork: outside('raiseNetwork'),
          lowerNetwork: outside('lowerNetwork'),
          reviseNetwork: outside('reviseNetwork'),
          repairNetwork: outside('repairNetwork'),
          programPeers: outside('programPeers'),
          recordDefinition: outside('recordDefinition'),
          fanOut: fanOut(neighbours, hasLease),
          holdFirewall: ask.holdFirewall(shared),
          releaseFirewall: ask.releaseFirewall(shared),
          backOff,
        },
      }),
    });
    const shared = new Shared({
      machines: sharedMachines,
      definitions: this.#definitions,
      containers: () => roster.all().map(({ context }) => context),
      store: outsideStore,
      bootId: BOOT,
      failed,
    });
    const own = (name: string) => effect(containerRunner, name);
    const machine = containerMachine.provide({
      actors: {
        attachment: attachmentMachine.provide({
          actors: {
            ensureLink: own('ensureLink'),
            ensureAddresses: own('ensureAddresses'),
            replaceLink: own('replaceLink'),
            reviseLink: own('reviseLink'),
            removeLink: own('removeLink'),
          },
        }),
        uplink: uplinkMachine.provide({
          actors: {
            probeUplink: own('probeUplink'),
            startUplink: own('startUplink'),
            verifyUplink: own('verifyUplink'),
            stopUplink: own('stopUplink'),
          },
        }),
        ensureNamespace: own('ensureNamespace'),
        removeNamespace: own('removeNamespace'),
        publish: own('publish'),
        unpublish: own('unpublish'),
        expose: own('expose'),
        unexpose: own('unexpose'),
        ensureFiles: own('ensureFiles'),
        removeFiles: own('removeFiles'),
        awaitLinksGone: own('awaitLinksGone'),
        lease: lease(shared, neighbours, quiet, NO_EXTERNALS),
        release: ask.release(shared, (root) => containerRunner.commit(root, 'remove')),
        name: ask.name(shared),
        unname: ask.unname(shared),
        verifyFirewall: firewallOf,
        awaitVerdict: ask.awaitVerdict(neighbours),
        backOff,
      },
    });
    const containers = new Containers({
      roster,
      outsideName: (path) => path,
      outsideReady: () => Promise.resolve(),
      machine,
      store: containerStore,
      journal,
      bootId: BOOT,
      instance: 'main',
      netnsDir: OURS,
      publisher: null,
      uplinks: USUAL_PROGRAMS,
      rootless: false,
      limits: LIMITS,
      networkName: (text) => text,
      reclaim: (context) => shared.reclaim(context),
      failed,
    });
    const found = recover({ store: containerStore, journal, machine, bootId: BOOT });
    for (const path of found.unreadable) this.problems.push(`set aside: ${path}`);
    shared.recover(found.containers.map(({ context }) => context));
    for (const { id, snapshot } of found.containers) containers.restore(id, snapshot);
    containers.restored();
    return { stage, containers, shared, waits };
  }
}

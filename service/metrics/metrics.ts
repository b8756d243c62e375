/**
 * Counts for Prometheus (GET /metrics): what the daemon has done since it started, and what there is now.
 *
 * Guarantees: counted from the first container on, whether or not anybody asks. What there is now is read when it is asked for, and
 * stored nowhere. No label has a value that a client chooses, other than names of networks: their number is bounded by the networks.
 * Limits: counters begin at 0 with each start of the daemon, as Prometheus expects. The program that leads a rootless daemon's
 * networks out is not counted when it is started again.
 */
import type { AnyActorRef } from 'xstate';
import Counter from 'prom-client/lib/counter.js';
import Gauge from 'prom-client/lib/gauge.js';
import Histogram from 'prom-client/lib/histogram.js';
import Registry from 'prom-client/lib/registry.js';
import { freeAddresses } from '../../plan/networks/free-addresses.ts';
import { stateName, topState } from '../../plan/states.ts';
import type { Notification } from '../../state/answers/notification.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Roster } from '../containers/roster.ts';
import { subjectOf } from '../notifications/operations.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';

/** Holds seconds: an effect takes a tenth of a millisecond, a stuck helper some seconds. */
const BUCKETS = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 10];

export interface Present {
  version: string;
  instance: string;
  networks: readonly NetworkDefinition[];
  containers: readonly ContainerSnapshot[];
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #operations = this.#counter('operations', 'Operations that have ended', ['event', 'result']);
  readonly #operationTimes = this.#histogram('operation', 'From the request of an operation to its end', 'event');
  readonly #effects = this.#histogram('effect', 'From the start of an effect to its end, with its waits', 'effect');
  readonly #faults = this.#counter('faults', 'Faults, of operations and of effects', ['where', 'code']);
  readonly #drift = this.#counter('drift', 'Objects that others have changed or removed', ['kind', 'action']);
  readonly #repaired = this.#counter('repaired', 'Objects that were put back', ['kind']);
  readonly #restarts = this.#counter('helper_restarts', 'Helper processes that have ended, and were started again', [
    'helper',
  ]);
  readonly #limited = this.#counter('limited', 'Entries of kernel tables that were taken from a container', ['what']);
  readonly #build = this.#gauge('build_info', 'The daemon', ['version', 'instance']);
  readonly #containers = this.#gauge('containers', 'Containers by state', ['state']);
  readonly #ports = this.#gauge('published_ports', 'Published host ports', ['protocol']);
  readonly #users = this.#gauge('network_containers', 'Containers on a network', ['network']);
  readonly #free = this.#gauge('network_addresses_free', 'Addresses that a subnet has left', ['network', 'subnet']);
  readonly #memory = this.#gauge('resident_memory_bytes', 'Resident memory of the daemon');
  readonly #cpu = this.#counter('cpu_seconds', 'Processor time of the daemon', []);
  readonly #started = this.#gauge('start_time_seconds', 'Start of the daemon, in seconds since the epoch');
  /** When the operation under way of each container and network began (performance.now()). */
  readonly #since = new Map<string, number>();

  constructor({ bus }: Pick<Roster, 'bus'>) {
    this.#started.set(performance.timeOrigin / 1000);
    bus.on('notification', (notification) => this.#count(notification));
    bus.on('effect', (effect, ms, fault) => {
      this.#effects.observe({ effect }, ms / 1000);
      if (fault !== null) this.#faults.inc({ where: effect, code: fault.code });
    });
  }

  /** Counts the restarts of the name server, which is no container's own. */
  watch(machine: AnyActorRef): void {
    let last = '';
    machine.subscribe({
      next: (snapshot: { value?: unknown }) => {
        const now = snapshot.value === undefined ? '' : stateName(snapshot as { value: unknown });
        if (now === 'restarting' && last !== now) this.#restarts.inc({ helper: 'aardvark-dns' });
        last = now;
      },
      // Without this, XState takes a defect of the machine for one that nobody handles, and throws it at the daemon.
      error: () => {},
    });
  }

  /** Returns everything in the text format of Prometheus (version 0.0.4). */
  text({ version, instance, networks, containers }: Present): Promise<string> {
    for (const gauge of [this.#build, this.#containers, this.#ports, this.#users, this.#free]) gauge.reset();
    this.#build.set({ version, instance }, 1);
    this.#memory.set(process.memoryUsage.rss());
    const { user, system } = process.cpuUsage();
    this.#cpu.reset();
    this.#cpu.inc((user + system) / 1e6);
    const attached = containers.flatMap(({ context }) => context.attachments);
    for (const snapshot of containers) {
      this.#containers.inc({ state: topState(snapshot) });
      for (const { protocol, range } of snapshot.context.ports) this.#ports.inc({ protocol }, range);
    }
    for (const definition of networks) {
      const on = attached.filter(({ network }) => network === definition.name);
      this.#users.set({ network: definition.name }, on.length);
      const taken = on.flatMap(({ addresses }) => addresses.map(({ address }) => address));
      for (const [subnet, free] of freeAddresses(definition, taken))
        this.#free.set({ network: definition.name, subnet }, free);
    }
    return this.#registry.metrics();
  }

  #count(notification: Notification): void {
    switch (notification.type) {
      case 'requested':
        this.#since.set(subjectOf(notification), performance.now());
        break;
      case 'done':
      case 'failed': {
        const { event, type: result } = notification;
        const subject = subjectOf(notification);
        this.#operations.inc({ event, result });
        const since = this.#since.get(subject);
        if (since !== undefined) this.#operationTimes.observe({ event }, (performance.now() - since) / 1000);
        this.#since.delete(subject);
        if (result === 'failed') this.#faults.inc({ where: event, code: notification.fault.code });
        break;
      }
      case 'state':
        if (notification.to === 'gone') this.#since.delete(notification.id);
        break;
      case 'drift':
        for (const { kind } of notification.drift) this.#drift.inc({ kind, action: notification.action });
        break;
      case 'repaired':
        for (const { kind, object } of notification.drift) {
          this.#repaired.inc({ kind });
          if (kind === 'uplink' || object === 'forwarder') this.#restarts.inc({ helper: object });
        }
        break;
      case 'limited':
        this.#limited.inc({ what: notification.what }, notification.forgotten);
        break;
      case 'machine':
      case 'forwarder':
      case 'daemon':
      case 'missed': // what they say is counted elsewhere, or is no count
    }
  }

  #counter<Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> {
    return new Counter({ name: `cleat_${name}_total`, help, labelNames, registers: [this.#registry] });
  }

  #gauge<Label extends string>(name: string, help: string, labelNames: Label[] = []): Gauge<Label> {
    return new Gauge({ name: `cleat_${name}`, help, labelNames, registers: [this.#registry] });
  }

  #histogram<Label extends string>(name: string, help: string, label: Label): Histogram<Label> {
    const names = { name: `cleat_${name}_duration_seconds`, help, labelNames: [label] };
    return new Histogram({ ...names, buckets: BUCKETS, registers: [this.#registry] });
  }
}

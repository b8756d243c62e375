/**
 * Tells of the machines that containers share, and of uplinks, when they come to rest in another state (GET /v1/events).
 *
 * Guarantees: what a machine passes through and comes back from is not told, so a container that joins a network which is up is no
 * news of the network. A defect that stops a machine is told, and so is the state at rest of the machine that replaces it.
 * Limits: ports are granted by a machine with a single state. A machine that begins with nothing is not told of.
 */
import type { AnyActorLogic, AnyActorRef } from 'xstate';
import { rests, stateName, type Running } from '../../plan/states.ts';
import type { MachineNotification } from '../../state/answers/notification.ts';
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { OverlayShared } from '../../state/overlay.ts';
import type { Roster } from '../containers/roster.ts';
import { defectOf } from '../records/snapshot.ts';

/** In these states a machine owns nothing. */
const NOTHING = new Set(['down', 'idle', 'released']);
/** The machine of an uplink ends in one of these. */
const UPLINK_ENDS = new Set(['ready', 'stopped', 'stuck']);

interface Snapshot extends Running {
  value: unknown;
  context: {
    /** Absent of an overlay, which is of this host. */
    outside?: string | null;
    definition?: NetworkDefinition;
    shared?: OverlayShared;
    fault?: Fault | null;
    attempts?: number;
  };
}

export class MachineStates {
  readonly #bus: Roster['bus'];
  /** Holds the last state that was told of each machine that owns something. */
  readonly #told = new Map<string, string>();

  constructor(bus: Roster['bus']) {
    this.#bus = bus;
    bus.on('passage', (id, { entry: { machine, from, to, t, fault = null } }) => {
      if (machine !== 'uplink' || !UPLINK_ENDS.has(to)) return;
      this.#tell({ type: 'machine', t, id, network: null, outside: null, machine, from, to, fault });
    });
  }

  /** Follows a shared machine that is about to run. */
  watch(actor: AnyActorRef): void {
    const { id: machine } = (actor as AnyActorRef & { logic: AnyActorLogic & { id: string } }).logic;
    if (machine === 'ports') return;
    const look = () => this.#look(machine as MachineNotification['machine'], actor.getSnapshot() as Snapshot);
    actor.subscribe({ next: look, error: look });
  }

  #look(machine: MachineNotification['machine'], snapshot: Snapshot): void {
    if (!rests(snapshot)) return;
    const { outside = null, definition, shared, fault = null, attempts = 0 } = snapshot.context;
    const network = (definition ?? shared)?.name ?? null;
    const key = JSON.stringify([machine, outside, network]);
    const from = this.#told.get(key) ?? '';
    const to = stateName(snapshot);
    if (to === from || (from === '' && NOTHING.has(to))) return;
    if (NOTHING.has(to)) this.#told.delete(key);
    else this.#told.set(key, to);
    const defect = defectOf(snapshot, network === null ? machine : `network ${network}`);
    const why = defect ?? (attempts > 0 || machine === 'overlay' ? fault : null);
    this.#tell({ type: 'machine', t: Date.now(), id: null, network, outside, machine, from, to, fault: why });
  }

  #tell(notification: MachineNotification): void {
    this.#bus.emit('notification', notification);
  }
}

/**
 * The interface of every contender of a benchmark, and the floor as one of them.
 *
 * Guarantees: `create` and `teardown` return the contender's own milliseconds, nothing of the harness's bookkeeping.
 * Limits: ids are numbers, unique per contender while they live.
 */
import { NO_PORTS, type Floor, type PortRun, type Timing } from '../floor/floor.ts';

export interface Contender {
  readonly name: string;
  /** Peers are slow: they get fewer turns than the floor and cleat. */
  readonly peer: boolean;
  /** True if its callers hold a lock around it: in a burst one follows the other. */
  readonly serial?: boolean;
  create(id: number, ports: PortRun): Promise<Timing>;
  /** Measures until the reply; what the kernel still reaps afterwards is not in it. */
  teardown(id: number): Promise<Timing>;
}

export function floorContender(floor: Floor): Contender {
  return {
    name: 'floor',
    peer: false,
    create: (id, ports) => floor.create(id, ports),
    teardown: (id) => floor.command(`teardown ${id}`),
  };
}

/** The same contender, with none of the ports that the others publish. */
export function withoutPorts(contender: Contender, name: string): Contender {
  return { ...contender, name, create: (id) => contender.create(id, NO_PORTS) };
}

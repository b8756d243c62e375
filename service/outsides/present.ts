/**
 * Returns the machines of an outside with their present states; a machine that does not run is shown in the state that it would
 * begin in.
 *
 * Guarantees: nothing is started, and nothing is asked of a machine that runs.
 * Limits: a machine that does not run begins as at its first use, which is not how it begins at recovery.
 */
import { initialTransition, type AnyStateMachine, type InputFrom, type SnapshotFrom } from 'xstate';
import type { NetworkInput } from '../../machines/network.ts';
import type { RootlessInput } from '../../machines/rootless.ts';
import { portsMachine } from '../../machines/ports.ts';
import { firewalldInput, firewallInput, NOTHING, resolverInput, type Outside, type SharedMachines } from './outside.ts';

/** Holds a machine and the state that it is in. */
interface Present<Machine extends AnyStateMachine> {
  machine: Machine;
  snapshot: SnapshotFrom<Machine>;
}

export interface PresentMachines {
  firewall: () => Present<SharedMachines['firewall']>;
  firewalld: () => Present<SharedMachines['firewalld']>;
  ports: () => Present<typeof portsMachine>;
  resolver: () => Present<SharedMachines['resolver']>;
  /** Null if this outside has other ways out. */
  rootless: () => Present<SharedMachines['rootless']> | null;
  /** Null when no network has this name. */
  network: (name: string) => Present<SharedMachines['network']> | null;
}

/**
 * `on` is null if none of the machines runs. `wayOut` is what the way out of this outside begins with, null if it has others;
 * `networkInput` returns the same for a network, null if there is none.
 */
export function presentMachines(
  machines: SharedMachines,
  outside: string | null,
  on: Outside | null,
  wayOut: RootlessInput | null,
  networkInput: (name: string) => NetworkInput | null,
): PresentMachines {
  const { firewall, firewalld, resolver, rootless, network } = machines;
  return {
    firewall: () => present(firewall, on?.firewall, firewallInput(outside, NOTHING)),
    firewalld: () => present(firewalld, on?.firewalld, firewalldInput(outside, NOTHING)),
    ports: () => present(portsMachine, on?.ports, { adopted: NOTHING.claims }),
    resolver: () => present(resolver, on?.resolver, resolverInput(outside, NOTHING)),
    rootless: () => (wayOut === null ? null : present(rootless, on?.rootless ?? undefined, wayOut)),
    network: (name) => {
      const running = on?.networks.get(name);
      if (running !== undefined) return { machine: network, snapshot: running.getSnapshot() };
      const input = networkInput(name);
      return input === null ? null : present(network, undefined, input);
    },
  };
}

function present<Machine extends AnyStateMachine>(
  machine: Machine,
  running: { getSnapshot(): SnapshotFrom<Machine> } | undefined,
  input: InputFrom<Machine>,
): Present<Machine> {
  return { machine, snapshot: running?.getSnapshot() ?? initialTransition(machine, input)[0] };
}

/**
 * The facts about one container that the reasons are made of. The service gathers them (service/views/why.ts).
 *
 * Guarantees: plain data, taken at one moment; `now` is that moment. All of it concerns the outside of the container.
 */
import type { UplinkProcess } from '../../state/answers/container/inspection.ts';
import type { JournalEntry } from '../../state/answers/container/history.ts';
import type { ContainerContext, Difference, Drift } from '../../state/container.ts';
import type { DriftPolicies } from '../../state/drift.ts';
import type { Fault, FaultCode } from '../../state/faults.ts';

/** A machine that containers share. */
export interface SharedFact {
  /** Its state, which words.ts has a sentence for; "error": a defect has stopped it. */
  state: string;
  fault: Fault | null;
  /** The number of its failures in a row. */
  attempts: number;
}

export interface NetworkFact extends SharedFact {
  network: string;
  bridge: string;
  unmanaged: boolean;
}

/** Another container of the same outside. */
export interface OtherFact {
  name: string;
  state: string;
  /** True if it is on its way out. */
  departing: boolean;
  context: ContainerContext;
}

export interface Facts {
  now: number;
  context: ContainerContext;
  /** The path of states joined by dots. */
  state: string;
  /** The defect that has stopped its machine. */
  defect: Fault | null;
  legal: readonly string[];
  history: readonly JournalEntry[];
  /** Where the kernel differs from the plan, or is known to. */
  differences: readonly Difference[];
  policies: DriftPolicies;
  /** Drift of shared objects that policy does not repair. */
  left: readonly (Drift & { t: number; by: string | null })[];
  /** The machines of the networks that it is on, or is to be on. Those that were never used here are missing. */
  networks: readonly NetworkFact[];
  /** The names of networks that are defined. */
  defined: ReadonlySet<string>;
  /** Null: never used in this outside. */
  firewall: SharedFact | null;
  firewalld: SharedFact | null;
  /** `named`: the networks on which the resolver has names of this container. */
  resolver: (SharedFact & { named: readonly string[] }) | null;
  /** What a shared machine has granted it: the networks that it has a lease of. */
  leased: readonly string[];
  /** The process of its uplink. */
  process: UplinkProcess | null;
  /** How many of its ports the forwarder carries; why it does not answer; null if it does not run, or is not used. */
  forwarder: { carried: number } | { fault: Fault } | null;
  /** Why the outer publisher does not answer; null if it does, or is not used. */
  publisher: Fault | null;
  /** The container whose namespace it shares; null if it shares none, or that container is gone. */
  owner: { name: string; state: string; whole: boolean; gone: boolean; verdict: string } | null;
  /** The names of the containers that share its namespace. */
  users: readonly string[];
  others: readonly OtherFact[];
  /** What the reader of a fault can do. */
  hintOf: (code: FaultCode) => string;
}

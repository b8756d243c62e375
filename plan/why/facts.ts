/**
 * Declares the facts about one container that it is judged by. The service gathers them (service/views/why.ts).
 *
 * Guarantees: plain data, taken at one moment; `now` is that moment. All of it concerns the outside of the container.
 */
import type { UplinkProcess } from '../../state/answers/container/inspection.ts';
import type { JournalEntry } from '../../state/answers/container/history.ts';
import type { ChildLink, ContainerContext, Difference, Drift } from '../../state/container.ts';
import type { DriftPolicies } from '../../state/drift.ts';
import type { Fault, FaultCode } from '../../state/faults.ts';

/** Describes a machine that containers share. */
export interface SharedFact {
  /** Is named as in states.ts, which has a sentence for it; "error" if a defect has stopped the machine. */
  state: string;
  fault: Fault | null;
  /** Counts its failures in a row. */
  attempts: number;
}

export interface NetworkFact extends SharedFact {
  network: string;
  bridge: string;
  unmanaged: boolean;
  /** Is there if a program of others makes the network. */
  external?: true;
  /** Names the kind of the links on a parent, which `bridge` is then. Is absent for a bridge. */
  driver?: ChildLink['kind'];
}

/** Describes an overlay that this host takes part in; the state is "absent" if the daemon has no store. Times are as `now`. */
export interface OverlayFact extends SharedFact {
  network: string;
  shares: readonly string[];
  /** Is null while containers can be attached. */
  closedAt: number | null;
  /** Is null if no share is held. */
  leaseEnds: number | null;
  /** Is null while etcd answers. */
  outage: { since: number; why: string } | null;
  renumbered: { at: number; from: readonly string[]; to: readonly string[] } | null;
}

/** Describes another container of the same outside. */
export interface OtherFact {
  name: string;
  state: string;
  /** Is true if the container is on its way out. */
  departing: boolean;
  context: ContainerContext;
}

export interface Facts {
  now: number;
  context: ContainerContext;
  /** Is the path of states, joined by dots. */
  state: string;
  /** Says which defect has stopped its machine. */
  defect: Fault | null;
  legal: readonly string[];
  history: readonly JournalEntry[];
  /** Lists where the kernel differs from the plan, or is known to. */
  differences: readonly Difference[];
  policies: DriftPolicies;
  /** Lists the drift of shared objects that policy does not repair. */
  left: readonly (Drift & { t: number; by: string | null })[];
  /** Lists the machines of the networks that it is on, or is to be on. Those that were never used here are missing. */
  networks: readonly NetworkFact[];
  /** Lists the overlays among the networks that it is on, or is to be on. */
  overlays: readonly OverlayFact[];
  /** Has the names of all networks that are defined. */
  defined: ReadonlySet<string>;
  /** Is null if it was never used in this outside. */
  firewall: SharedFact | null;
  firewalld: SharedFact | null;
  /** The way out of a rootless daemon's own outside; null for any other outside. */
  rootless: SharedFact | null;
  /** Lists in `named` the networks on which the resolver has names of this container. */
  resolver: (SharedFact & { named: readonly string[] }) | null;
  /** Lists the networks whose machine has a lease of this container. */
  leased: readonly string[];
  /** Is null without an uplink. */
  process: UplinkProcess | null;
  /** Counts the forwarder's rules for this container, or says why it does not answer; null if it does not run, or is not used. */
  forwarder: { carried: number } | { fault: Fault } | null;
  /** Says why the outer publisher does not answer; null if it does, or is not used. */
  publisher: Fault | null;
  /** Describes the container whose namespace it shares; null if it shares none, or that container is gone. */
  owner: { name: string; state: string; whole: boolean; gone: boolean; verdict: string } | null;
  /** Has the names of the containers that share its namespace. */
  users: readonly string[];
  others: readonly OtherFact[];
  /** Returns what the reader of a fault can do. */
  hintOf: (code: FaultCode) => string;
}

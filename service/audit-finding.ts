/**
 * What the auditor finds: something that nobody names, or something named that is not there; and how it goes away.
 *
 * Guarantees: a finding as others see it is what is in JSON: what takes it away is no part of it.
 */
import type { ContainerContext } from '../state/container.ts';
import type { DriftKind } from '../state/drift.ts';
import type { NetworkDefinition } from '../state/network.ts';

export interface Finding {
  kind: DriftKind | 'namespace' | 'network' | 'snapshot' | 'process' | 'file';
  object: string;
  problem: 'leaked' | 'missing' | 'changed' | 'owned twice' | 'unreadable';
  owner?: string;
  /** It is ours and nobody's: a repair takes it away. Absent for what a repair leaves as it is. */
  removable?: true;
}

/** What is in use at this moment, by the account of those who would know first. */
export interface InUse {
  containers: readonly ContainerContext[];
  networks: readonly NetworkDefinition[];
  /** Outsides whose table stands or is being raised: it is held before a container knows what it will have. */
  tables: ReadonlySet<string | null>;
}

/**
 * Takes away what was found. `inUse` is asked in the same turn in which the removal begins: what is named by then is left
 * alone. Absent is fine.
 */
export type Removal = (inUse: () => InUse) => Promise<void>;

/** A finding with what takes it away. */
export interface Found extends Finding {
  remove?: Removal;
}

/** That `object` leaked; `named` says whether somebody names it. */
export function leaked(
  finding: Pick<Finding, 'kind' | 'object' | 'owner'>,
  named: (inUse: InUse) => boolean,
  remove: () => Promise<void>,
): Found {
  return {
    ...finding,
    problem: 'leaked',
    removable: true,
    remove: async (inUse) => {
      if (!named(inUse())) await remove();
    },
  };
}

/** A finding without what takes it away, as it is sent to whoever asked. */
export function shown({ remove: _how, ...finding }: Found): Finding {
  return finding;
}

/**
 * A finding of the audit: an object that nothing names, or a named object that is missing; and how to remove it.
 *
 * Guarantees: a finding is sent as JSON without its removal.
 */
import type { Finding } from '../../state/answers/audit.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { NetworkDefinition } from '../../state/network.ts';

/** The objects that are in use at this moment, according to the machines. */
export interface InUse {
  containers: readonly ContainerContext[];
  networks: readonly NetworkDefinition[];
  /** Outsides whose table stands or is being raised. A table is held before a container knows its attachments. */
  tables: ReadonlySet<string | null>;
}

/**
 * Removes the object that was found. Calls `inUse` in the same tick in which the removal begins, and leaves the object alone if
 * it is named by then. Succeeds if the object is already gone.
 */
export type Removal = (inUse: () => InUse) => Promise<void>;

/** A finding with its removal. */
export interface Found extends Finding {
  remove?: Removal;
}

/** Returns the finding that `object` leaked. `named` returns whether something names the object. */
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

/** Returns a finding without its removal, as it is sent to a client. */
export function shown({ remove: _how, ...finding }: Found): Finding {
  return finding;
}

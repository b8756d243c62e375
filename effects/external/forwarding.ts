/**
 * Has the table of cleat let the packets of external networks be forwarded. They need nothing else of the outside.
 *
 * Guarantees: a host that forwarded nothing before cleat does not become a router by networks of cleat (others4, others6), but
 * the programs of external networks turn forwarding on for theirs. While one is in use, packets between other interfaces pass the
 * table; afterwards they do not again.
 * Limits: whose packets they are cannot be told: the links of such a network are known to its program alone.
 */
import type { RaiseInput, ReviseInput } from '../../machines/network.ts';
import { isExternal } from '../../plan/networks/external.ts';

interface Table {
  /** True if the table of an outside stands. */
  isRaised: (outside: string | null) => boolean;
  /** Compares the table with what it should be now, and repairs it. */
  verify: (outside: string | null) => Promise<void>;
}

/** Passes the networks of cleat on to `ours`. For one of a program of others, only the table is looked at; it answers `nothing`. */
export const unlessExternal =
  <Input extends RaiseInput | ReviseInput, Output>(
    { isRaised, verify }: Table,
    ours: (input: Input) => Promise<Output>,
    nothing: Output,
  ) =>
  async (input: Input): Promise<Output> => {
    if (!isExternal('definition' in input ? input.definition : input.to)) return ours(input);
    if (isRaised(input.outside)) await verify(input.outside);
    return nothing;
  };

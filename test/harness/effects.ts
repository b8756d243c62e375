/** Helpers of effect tests: an effect's failure as a value. */
import { type Fault, FaultError } from '../../state/faults.ts';

/** For effects whose helpers stay in the cgroup of the test. */
export const NO_SCOPES = { own: () => {} };

/** The fault that a promise (or a function) fails with; anything else is a failed test. */
export async function faultOf(work: Promise<unknown> | (() => unknown)): Promise<Fault> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    if (error instanceof FaultError) return error.fault;
    throw error;
  }
  throw new Error('it did not fail');
}

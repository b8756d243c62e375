/**
 * What tests of effects have in common: how one fails, as a value.
 */
import { EffectError } from '../../effects/effect.ts';
import type { Fault } from '../../state/faults.ts';

/** The fault that a promise (or a function) fails with; anything else is a failed test. */
export async function faultOf(work: Promise<unknown> | (() => unknown)): Promise<Fault> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    if (error instanceof EffectError) return error.fault;
    throw error;
  }
  throw new Error('it did not fail');
}

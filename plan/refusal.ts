/**
 * A refusal, as planning returns it in place of a plan.
 *
 * Guarantees: pure; a value, not an exception.
 */
import type { Fault } from '../state/faults.ts';

export function refuse(code: Fault['code'], message: string, owner?: string): { fault: Fault } {
  return { fault: { code, message, ...(owner === undefined ? {} : { owner }) } };
}

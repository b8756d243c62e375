/**
 * What the kernel refused, or what somebody else has, as errors of an effect.
 *
 * Guarantees: pure. Each names the object that it is about.
 * Limits: replies of rtnetlink; other calls reject with their own error.
 */
import { EffectError } from './effect.ts';

/** Throw for the first reply that is not success. */
export function refuse(replies: readonly { errno: number; code: string }[], object: string): void {
  const failed = replies.find(({ errno }) => errno !== 0);
  if (failed === undefined) return;
  throw new EffectError({
    code: 'KERNEL',
    message: `rtnetlink ${object}: ${failed.code}`,
    errno: failed.code,
    syscall: 'rtnetlink',
    object,
  });
}

export function stranger(name: string, alias: string): EffectError {
  const whose = alias === '' ? 'something else' : alias;
  return new EffectError({
    code: 'NAME_TAKEN_IN_KERNEL',
    message: `link ${name} exists and belongs to ${whose}`,
    object: name,
    owner: whose,
  });
}

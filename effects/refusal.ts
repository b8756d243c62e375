/**
 * Makes errors of an effect from what the kernel refused, what somebody else has, and what the daemon may not do.
 *
 * Guarantees: changes nothing. Each names the object that it is about. A helper is not started by a daemon that could not make
 * it the user that it is to be, or not end it again.
 * Limits: replies of rtnetlink; other calls reject with their own error.
 */
import { capabilitiesFor, lacking, listed, type Helper } from './capabilities.ts';
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

/** Throws when the daemon lacks what it takes to start this helper. */
export function requireFor(helper: Helper): void {
  const names = capabilitiesFor(helper).filter((name) => lacking().includes(name));
  if (names.length === 0) return;
  throw new EffectError({
    code: 'CAPABILITY_MISSING',
    message: `${helper} cannot be started: the daemon lacks ${listed(names)}`,
    object: helper,
  });
}

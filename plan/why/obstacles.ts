/**
 * Says what keeps a container from being well, and when it tries again by itself.
 *
 * Guarantees: pure. Each obstacle is said once.
 */
import { failuresOf, pauseAfter } from '../pauses.ts';
import { isLeaving, topState } from '../states.ts';
import type { Why, WhyPart } from '../../state/answers/container/why.ts';
import { causes } from './causes.ts';
import type { Facts } from './facts.ts';
import { arrival } from './story.ts';
import { underWay } from './states.ts';
import { holders, waits } from './waits.ts';
import { faultText, sentence, spanText } from './words.ts';

/** Has the states that a container leaves by itself after a pause. */
const RETRYING: ReadonlySet<string> = new Set(['degraded', 'failed', 'teardownFailed']);

/** Returns the next attempt that a container makes by itself; null if it makes none. */
export function retryOf(facts: Facts): Why['retry'] {
  const { now, context, state } = facts;
  if (!RETRYING.has(state)) return null;
  const failures = state === 'degraded' ? failuresOf(context) : context.attempts;
  const since = arrival(facts)?.t ?? now;
  const in_ms = Math.max(0, since + pauseAfter(failures) - now);
  return { attempt: context.attempts + 1, at: now + in_ms, in_ms };
}

/** Says what has failed when a container is in such a state and has faults. */
const FAILED: Readonly<Record<string, string>> = {
  created: 'configure failed',
  degraded: 'the last repair failed',
  failed: 'it could neither be made nor undone',
  teardownFailed: 'this could not be removed',
  error: 'its machine stopped',
};

const SHARED: ReadonlySet<WhyPart['part']> = new Set([
  'network',
  'overlay',
  'firewall',
  'firewalld',
  'rootless',
  'resolver',
]);

const NOUN: Partial<Record<WhyPart['part'], string>> = {
  publisher: 'outer publisher',
  forwarder: 'port forwarder',
  rootless: 'way out of rootless networks',
};

/** Returns a part as the clause of a sentence: "network web could not be repaired: ...". */
export function clauseOf({ part, object, text }: WhyPart): string {
  const noun = NOUN[part] ?? part;
  if (part === 'ports') return text.startsWith('port ') ? `its ${text}` : `its port ${text}`;
  if (part === 'names') return `its name ${text}`;
  if (part === 'leases') return text;
  if (part === 'attachment') return `on network ${object}, ${text}`;
  if (part === 'uplink') return `its uplink ${object} ${text}`;
  if (part === 'namespace') return `its namespace ${text}`;
  return object === null ? `the ${noun} ${text}` : `${noun} ${object} ${text}`;
}

/** A machine at work waits for shared machines that are at work, too. One at rest is only kept from being well by what is wrong. */
function partObstacles(facts: Facts, parts: readonly WhyPart[]): string[] {
  const busy = underWay(facts.state) !== undefined && !isLeaving({ value: facts.state });
  const obstacles = parts.filter(
    ({ part, condition }) =>
      condition === 'wrong' || (condition === 'waiting' && ((busy && SHARED.has(part)) || facts.state === 'up')),
  );
  return obstacles.map(clauseOf);
}

/** Returns everything that keeps it from being well; nothing if it is well. */
export function obstaclesOf(facts: Facts, parts: readonly WhyPart[], retry: Why['retry']): string[] {
  const failed = causes(facts).map(
    (fault) => `${FAILED[topState({ value: facts.state })] ?? 'a step failed'}: ${faultText(fault)}`,
  );
  const again =
    retry === null ? [] : [`it is tried again by itself in ${spanText(retry.in_ms)} (attempt ${retry.attempt})`];
  const tried = facts.history.some(({ event }) => event === 'configure');
  const untried = tried ? 'it is not configured again by itself' : 'nobody has configured it yet';
  const idle = facts.state === 'created' ? [untried] : [];
  const all = [...failed, ...holders(facts), ...partObstacles(facts, parts), ...waits(facts), ...idle, ...again];
  return [...new Set(all)].map(sentence);
}

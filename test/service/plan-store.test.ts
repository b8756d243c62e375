/**
 * The plans that are kept: each for its user, once, for ten minutes, and not too many.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FaultError } from '../../state/faults.ts';
import { PlanStore, type KeptPlan } from '../../service/plans/plan-store.ts';

const plan = (uid: number, text = 'x'): KeptPlan => ({
  uid,
  event: { type: 'configure', id: 'a' },
  basis: {},
  promised: null,
  token: undefined,
  text,
});

let now = 0;
const minutes = (n: number): number => n * 60_000;
const keeping = (): PlanStore => new PlanStore(() => now);
/** Returns those of these plans of a user that are kept. */
const kept = (plans: PlanStore, uid: number, hashes: readonly string[]): string[] =>
  hashes.filter((hash) => {
    try {
      return plans.get(uid, hash).uid === uid;
    } catch (error) {
      if (error instanceof FaultError && error.fault.code === 'NO_SUCH_PLAN') return false;
      throw error;
    }
  });

const MEBIBYTE = 1024 * 1024;
const store = suite('kept plans');

store.before.each(() => {
  now = 0;
});

store('a plan is found by its user alone, and is taken once', () => {
  const plans = keeping();
  plans.keep('h', plan(1000));
  assert.equal([kept(plans, 0, ['h']), kept(plans, 1001, ['h']), kept(plans, 1000, ['h'])], [[], [], ['h']]);
  assert.throws(() => plans.take(0, 'h'));
  assert.is(plans.take(1000, 'h').uid, 1000);
  assert.throws(
    () => plans.take(1000, 'h'),
    (error: FaultError) => error.fault.code === 'NO_SUCH_PLAN',
  );
});

store('a plan is kept ten minutes, and ten more if it is made again', () => {
  const plans = keeping();
  plans.keep('old', plan(0));
  plans.keep('again', plan(0));
  now = minutes(9);
  plans.keep('again', plan(0));
  assert.equal(kept(plans, 0, ['old', 'again']), ['old', 'again']);
  now = minutes(10);
  assert.equal(kept(plans, 0, ['old', 'again']), ['again']);
  now = minutes(19);
  assert.equal(kept(plans, 0, ['again']), []);
});

store('a user keeps 32 plans, the newest', () => {
  const plans = keeping();
  const hashes = Array.from({ length: 34 }, (_, i) => `h${i}`);
  plans.keep('other', plan(1000));
  for (const hash of hashes) plans.keep(hash, plan(0));
  assert.equal(kept(plans, 0, hashes), hashes.slice(2));
  assert.equal(kept(plans, 1000, ['other']), ['other']);
});

store('a user keeps 16 MiB, and all together 64 MiB; the newest is always kept', () => {
  const plans = keeping();
  const large = 'x'.repeat(9 * MEBIBYTE);
  plans.keep('one', plan(0, large));
  plans.keep('two', plan(0, large));
  assert.equal(kept(plans, 0, ['one', 'two']), ['two']);
  plans.keep('huge', plan(0, 'x'.repeat(17 * MEBIBYTE)));
  assert.equal(kept(plans, 0, ['two', 'huge']), ['huge']);
  for (const uid of [1, 2, 3, 4, 5, 6]) plans.keep('mine', plan(uid, large));
  assert.equal(kept(plans, 0, ['huge']), []);
  assert.equal(
    [1, 2, 3, 4, 5, 6].map((uid) => kept(plans, uid, ['mine']).length),
    [1, 1, 1, 1, 1, 1],
  );
});

store.run();

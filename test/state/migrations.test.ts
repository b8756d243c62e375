/** Records of older versions: brought forward step by step, or refused. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { migrate, type Migrations } from '../../state/versions/migrations.ts';

const steps: Migrations = {
  '1': (snapshot) => ({ ...(snapshot as object), two: true }),
  '2': (snapshot) => ({ ...(snapshot as object), three: true }),
};

test('every step between the two versions is taken, in order', () => {
  const old = { machine: 'container', version: '1', snapshot: { one: true } };
  const snapshot = { one: true, two: true, three: true };
  assert.equal(migrate(old, steps, '3'), { machine: 'container', version: '3', snapshot });
  assert.equal(old.snapshot, { one: true }, 'the record that was read is not changed');
});

test('the present version is left as it is', () => {
  const record = { machine: 'container', version: '3', snapshot: {} };
  assert.equal(migrate(record, steps, '3'), record);
});

test('a future version, a missing step and an invalid record are refused', () => {
  const of = (version: unknown) => ({ machine: 'container', version, snapshot: {} });
  for (const record of [of('4'), of('0'), of('x'), of(1), of(undefined), { version: '1' }, null, 'text', []]) {
    assert.is(migrate(record, steps, '3'), null, JSON.stringify(record));
  }
});

test('a record that a step cannot convert is refused', () => {
  const strict: Migrations = { '1': (snapshot) => ({ two: (snapshot as { one: { deep: number } }).one.deep }) };
  const of = (snapshot: unknown) => ({ machine: 'container', version: '1', snapshot });
  assert.is(migrate(of({}), strict, '2'), null);
  assert.equal(migrate(of({ one: { deep: 7 } }), strict, '2')?.snapshot, { two: 7 });
});

test.run();

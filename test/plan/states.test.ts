/**
 * The names of states, and what they mean to others.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AnyStateNode } from 'xstate';
import { containerMachine } from '../../machines/container/container.ts';
import {
  isDeparting,
  isLeaving,
  isSteady,
  isSteadyName,
  isUnpinned,
  rests,
  sharable,
  stateName,
  topState,
} from '../../plan/states.ts';

const seen = (value: unknown, { status = 'active', rest = true } = {}) => ({
  status,
  value,
  hasTag: (tag: string) => rest && tag === 'rest',
});

const STATES = ['created', 'up', 'degraded', 'failed', 'creating', 'configuring'];
const LEAVING = ['tearingDown', 'draining', 'releasing', 'teardownFailed', 'abandoning', 'gone'];

const states = suite('states');

states('a name is the path of states, and error where a defect has stopped the machine', () => {
  assert.is(stateName({ value: 'up' }), 'up');
  assert.is(stateName({ value: { configuring: { attaching: 'linking' } } }), 'configuring.attaching.linking');
  assert.is(stateName({ value: { configuring: 'leasing' }, status: 'active' }), 'configuring.leasing');
  assert.is(stateName({ value: 'up', status: 'error' }), 'error');
  assert.is(stateName({ value: null }), 'null');
  assert.is(stateName({ value: {} }), '.');
  assert.is(topState({ value: { configuring: { attaching: 'linking' } } }), 'configuring');
  assert.is(topState({ value: 'up' }), 'up');
});

states('a machine rests when it is tagged so, or has ended', () => {
  assert.equal([rests(seen('up')), rests(seen('up', { rest: false }))], [true, false]);
  for (const status of ['done', 'error']) assert.ok(rests(seen('up', { status, rest: false })));
});

states('a container is complete in created, up and degraded, at rest and while its machine runs', () => {
  const complete = [...STATES, ...LEAVING].filter((name) => isSteadyName(name));
  assert.equal(complete, ['created', 'up', 'degraded']);
  assert.equal(
    [...STATES, ...LEAVING].filter((name) => isSteady(seen(name))),
    complete,
  );
  assert.not.ok(isSteady(seen('up', { rest: false })));
  assert.not.ok(isSteady(seen('up', { status: 'error' })));
  assert.not.ok(isSteady(seen('up', { status: 'done' })));
});

states('a container that leaves is departing, unless its teardown has failed', () => {
  assert.equal(
    [...STATES, ...LEAVING].filter((name) => isLeaving(seen(name))),
    LEAVING,
  );
  assert.ok(isLeaving(seen({ tearingDown: 'unnaming' })));
  assert.equal([isLeaving(seen('up', { status: 'done' })), isLeaving(seen('up', { status: 'error' }))], [true, false]);
  assert.equal(
    [...STATES, ...LEAVING].filter((name) => isDeparting(seen(name))),
    LEAVING.filter((name) => name !== 'teardownFailed'),
  );
});

states('a namespace can be shared while its container is neither created nor leaving', () => {
  const shared = [...STATES, ...LEAVING].filter((name) => sharable(seen(name)) !== undefined);
  assert.equal(shared, ['created', 'up', 'degraded', 'failed', 'configuring']);
  const up = seen('up');
  assert.is(sharable(up), up);
  assert.is(sharable(undefined), undefined);
  assert.is(sharable(seen('up', { status: 'error' })), undefined);
  assert.is(sharable(seen('up', { status: 'done' })), undefined);
});

states('a start pins no namespace in a state to which only the removal of the pin leads', () => {
  const steps = new Map(Object.entries<AnyStateNode>(containerMachine.root.states['tearingDown']?.states ?? {}));
  const removingNamespace = steps.get('removingNamespace');
  assert.ok(removingNamespace);
  const after = new Set<AnyStateNode>();
  const follow = (node: AnyStateNode): void => {
    for (const { target } of [...(node.always ?? []), ...[...node.transitions.values()].flat()])
      for (const next of target ?? []) {
        if (next === node || next.key === 'teardownFailed' || after.has(next)) continue;
        after.add(next);
        follow(next);
      }
  };
  follow(removingNamespace);
  const kept = [...after].filter((node) => node.invoke.length > 0 || node.type === 'final');
  const name = (node: AnyStateNode) => node.path.join('.');
  assert.ok(kept.length > 4, kept.map(name).join());
  for (const node of kept) assert.ok(isUnpinned({ value: valueAt(node) }), name(node));
  for (const node of [...steps.values()].filter((step) => !after.has(step)))
    assert.not.ok(isUnpinned({ value: valueAt(node) }), name(node));
  for (const value of ['creating', 'up', 'failed', 'teardownFailed']) assert.not.ok(isUnpinned({ value }), value);
});

/** The value of a snapshot in this state. */
const valueAt = ({ path }: AnyStateNode): unknown =>
  path.toReversed().reduce<unknown>((inner, key) => (inner === null ? key : { [key]: inner }), null);

states.run();

/**
 * Records of version 3: a request for leases says whether it is for an uplink, and an uplink that was under way is
 * planned again.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fromVersion3 } from '../../state/versions/version-3.ts';

const child = (src: string, input: object) => ({ src, syncSnapshot: false, snapshot: { status: 'active', input } });
const settings = { program: 'slirp4netns', file: '/usr/bin/slirp4netns' };
const behind = (configured: boolean) => ({ uplink: { settings, made: null }, configured });

const inputsOf = (value: unknown, context: object, src: 'lease' | 'release'): unknown => {
  const record = { value, context, children: { [src]: child(src, { owner: 'c1:7' }) } };
  const kept = structuredClone(record);
  const { children } = fromVersion3(record) as { children: Record<string, { snapshot: { input: unknown } }> };
  assert.equal(record, kept, 'the record that was read is not changed');
  return children[src]?.snapshot.input;
};

test('a lease is for an uplink until configure, and is released by a rollback and at the end', () => {
  const cases = [
    [{ configuring: 'leasing' }, behind(false), 'lease', true],
    [{ publishing: 'leasing' }, behind(true), 'lease', false],
    [{ configuring: 'leasing' }, { configured: false }, 'lease', false],
    [{ rollingBack: 'releasing' }, behind(false), 'release', true],
    [{ rollingBack: 'releasing' }, behind(true), 'release', false],
    ['releasing', behind(true), 'release', true],
    ['releasing', { configured: true }, 'release', false],
  ] as const;
  for (const [value, context, src, uplink] of cases) {
    assert.equal(inputsOf(value, context, src), { owner: 'c1:7', uplink }, JSON.stringify(value));
  }
});

test('an uplink that was started or probed begins with the probe, and one that is being stopped goes on', () => {
  const under = (value: string, src: string) => ({
    src: 'uplink',
    snapshot: {
      status: 'active',
      value,
      context: { settings, launch: { args: ['--runas'], ownMounts: true } },
      children: { [src]: child(src, { args: ['--runas'] }) },
    },
  });
  const of = (value: string, src: string) => {
    const record = { value: 'x', context: behind(false), children: { uplink: under(value, src) } };
    return (fromVersion3(record) as typeof record).children.uplink;
  };
  for (const [value, src] of [
    ['starting', 'startUplink'],
    ['verifying', 'verifyUplink'],
  ] as const) {
    assert.equal(of(value, src).snapshot, {
      status: 'active',
      value: 'probing',
      context: { settings, launch: null },
      children: { probeUplink: child('probeUplink', settings) },
    });
  }
  assert.equal(of('stopping', 'stopUplink'), under('stopping', 'stopUplink'));
});

test('a network that is being removed leaves its ports with the container', () => {
  const common = { networks: { web: {} }, ports: [{ hostPort: 8080 }], todo: [], led: ['10.89.0.2'] };
  const change = { ...common, wanted: [], before: [], taking: null, taker: null, force: true };
  const context = { configured: true, owner: 'c1:7', outside: null, change };
  const input = { owner: 'c1:7', outside: null, networks: ['web'], ports: [], uplink: false };
  for (const [step, src] of [
    ['releasing', 'release'],
    ['retracting', 'unexpose'],
  ] as const) {
    const record = {
      value: { disconnecting: step },
      context,
      children: { [src]: child(src, { ports: change.ports }) },
    };
    assert.equal(fromVersion3(record), {
      value: { disconnecting: 'releasing' },
      context: { ...context, change: { kind: 'disconnect', ...common, ports: [], force: true } },
      children: { release: child('release', input) },
    });
  }
  const detaching = {
    value: { disconnecting: 'detaching' },
    context,
    children: { attachment: child('attachment', {}) },
  };
  const left = { kind: 'disconnect', ...common, ports: [], force: true };
  assert.equal(fromVersion3(detaching), { ...detaching, context: { ...context, change: left } });
});

test('a change says which operation it belongs to, and keeps the members of its kind alone', () => {
  const wanted = [{ container_port: 80 }];
  const taking = { owner: 'c2:3', ports: [], targets: [] };
  const rest = { ports: [], todo: ['web'], led: ['10.89.0.2'] };
  const web = { web: {} };
  const all = { networks: {}, ...rest, wanted, before: [], taking, taker: 'c3:5', force: false };
  const kindOf = (value: unknown, more: object = {}, context: object = {}) => {
    const change = { ...all, ...more };
    const record = {
      value,
      context: { configured: true, request: { networks: web }, change, ...context },
      children: {},
    };
    const { networks, ports, todo, led, ...own } = (fromVersion3(record) as typeof record).context.change;
    assert.equal({ networks, ports, todo, led }, { networks: change.networks, ...rest });
    return own;
  };
  assert.equal(kindOf({ configuring: 'attaching' }), { kind: 'configure', wanted });
  assert.equal(kindOf({ connecting: 'attaching' }), { kind: 'connect' });
  assert.equal(kindOf({ publishing: 'exposing' }), { kind: 'publish', wanted, taking });
  assert.equal(kindOf({ unpublishing: 'releasing' }), { kind: 'unpublish' });
  assert.equal(kindOf({ reloading: 'verifying' }), { kind: 'reload' });
  assert.equal(kindOf({ rebuilding: 'replacing' }), { kind: 'rebuild', before: [] });
  assert.equal(kindOf({ adjusting: 'revising' }), { kind: 'adjust', before: [] });
  assert.equal(kindOf({ repairing: 'mending' }), { kind: 'repair', uplink: false });
  assert.equal(kindOf({ repairing: 'mendingUplink' }, { uplink: 'repair' }), { kind: 'repair', uplink: true });
  assert.equal(kindOf({ repairing: 'stoppingUplink' }, { uplink: 'restart' }), { kind: 'restart' });
  assert.equal(kindOf({ yielding: 'waiting' }), { kind: 'yield', taker: 'c3:5' });
  for (const value of [{ tearingDown: 'detaching' }, 'draining', 'releasing', 'teardownFailed'])
    assert.equal(kindOf(value), { kind: 'teardown', before: [] });
  for (const value of ['failed', { rollingBack: 'detaching' }]) {
    assert.equal(kindOf(value, {}, { configured: false }), { kind: 'configure', wanted });
    assert.equal(kindOf(value, { networks: { new: {} } }), { kind: 'connect' });
    assert.equal(kindOf(value), { kind: 'publish', wanted, taking });
  }
  assert.equal(kindOf('failed', { before: ['web'] }), { kind: 'rebuild', before: ['web'] });
  assert.equal(kindOf('failed', { before: ['web'], networks: web }), { kind: 'adjust', before: ['web'] });
  assert.equal(kindOf('failed', { networks: web }), { kind: 'disconnect', force: false });
  assert.equal(kindOf('failed', { networks: web, force: true }), { kind: 'disconnect', force: true });
  const rests = { value: 'up', context: { configured: true, change: all }, children: {} };
  assert.is((fromVersion3(rests) as { context: { change: unknown } }).context.change, null);
});

test('every other state is unchanged', () => {
  const record = { value: 'up', context: behind(true), children: {} };
  assert.equal(fromVersion3(record), record);
});

test('states have the names of their effects, and ownerGone its own', () => {
  const cases = [
    [{ configuring: 'announcing' }, { configuring: 'exposing' }],
    [{ configuring: 'exposing' }, { configuring: 'publishing' }],
    [{ connecting: 'noting' }, { connecting: 'writingFiles' }],
    [{ reloading: 'announcing' }, { reloading: 'exposing' }],
    [{ repairing: 'mending' }, { repairing: 'repairingLinks' }],
    [{ repairing: 'mendingUplink' }, { repairing: 'repairingUplink' }],
    [{ repairing: 'asserting' }, { repairing: 'republishing' }],
    [{ rollingBack: 'retracting' }, { rollingBack: 'unexposing' }],
    [{ unpublishing: 'withdrawing' }, { unpublishing: 'unpublishing' }],
    [{ tearingDown: 'judging' }, { tearingDown: 'checkingLeftovers' }],
    [{ tearingDown: 'clearing' }, { tearingDown: 'removingFiles' }],
    [{ tearingDown: 'freeing' }, { tearingDown: 'releasingPorts' }],
    [{ tearingDown: 'detaching' }, { tearingDown: 'detaching' }],
    ['publishing', 'publishing'],
    ['up', 'up'],
  ];
  for (const [value, now] of cases) {
    for (const held of [false, true]) {
      const migrated = fromVersion3({ value, context: { id: 'c1', configured: true, held }, children: {} });
      assert.equal(migrated, { value: now, context: { id: 'c1', configured: true, ownerGone: held }, children: {} });
    }
  }
});

test.run();

/** Records of version 3: who asks for leases speaks for its uplink, and an uplink that was under way is planned anew. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fromVersion3 } from '../../state/version-3.ts';

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

test('a lease is for an uplink while the container is not configured; it is given back by a rollback and at the end', () => {
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

test('an uplink that was started or looked at begins with the probe; one that is being stopped goes on', () => {
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

test('a network that is being taken away leaves its container the ports', () => {
  const change = { networks: { web: {} }, ports: [{ hostPort: 8080 }], todo: [] };
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
      context: { ...context, change: { ...change, ports: [] } },
      children: { release: child('release', input) },
    });
  }
  const detaching = {
    value: { disconnecting: 'detaching' },
    context,
    children: { attachment: child('attachment', {}) },
  };
  assert.equal(fromVersion3(detaching), { ...detaching, context: { ...context, change: { ...change, ports: [] } } });
});

test('every other state is as it was', () => {
  const record = { value: 'up', context: behind(true), children: {} };
  assert.equal(fromVersion3(record), record);
});

test('states are called as the effects that run in them, and the owner of a namespace that has ended is', () => {
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

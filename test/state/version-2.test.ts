/**
 * Records of version 2: a container that waits for its links to go gets the bridges' neighbours; nothing else changes.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fromVersion2 } from '../../state/versions/version-2.ts';

const on = (bridge: string, ...addresses: string[]) => ({
  bridge,
  addresses: addresses.map((address) => ({ address })),
});
const child = (input: object) => ({
  src: 'awaitLinksGone',
  syncSnapshot: false,
  snapshot: { status: 'active', input },
});

test('draining has the addresses of present and of former attachments', () => {
  const context = {
    attachments: [on('cl-web', '10.89.0.2', 'fd00::2'), on('cl-back', '10.89.1.2')],
    change: { before: [on('cl-web', '10.89.0.9')] },
  };
  const input = { owner: 'c1:7', outside: null, links: ['ve0', 've1'], addresses: ['10.89.0.2'] };
  const before = { value: 'draining', context, children: { awaitLinksGone: child(input) } };
  const neighbours = [
    { bridge: 'cl-web', address: '10.89.0.2' },
    { bridge: 'cl-web', address: 'fd00::2' },
    { bridge: 'cl-back', address: '10.89.1.2' },
    { bridge: 'cl-web', address: '10.89.0.9' },
  ];
  const kept = structuredClone(before);
  assert.equal(fromVersion2(before), { ...before, children: { awaitLinksGone: child({ ...input, neighbours }) } });
  assert.equal(before, kept, 'the record that was read is not changed');
});

test('every other state is unchanged', () => {
  const before = { value: 'up', context: { attachments: [on('cl-web', '10.89.0.2')], change: null }, children: {} };
  assert.equal(fromVersion2(before), before);
});

test.run();

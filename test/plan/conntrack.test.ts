/** The owner of a tracked connection, the share of one owner, and when connections are counted. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { connectionOwners } from '../../plan/kernel/conntrack.ts';
import { countedSince, isWorthCounting, shareLimit } from '../../plan/kernel/share.ts';

const plan = suite('plan of connections');

plan('containers have a share by their addresses, networks by their subnets; this host has none', () => {
  const address = (text: string) => ({ address: text, prefix: 24, gateway: null });
  const { owners, exempt } = connectionOwners(
    [{ id: 'a', attachments: [{ addresses: [address('10.1.0.2'), address('fd00::2')] }] }],
    [{ name: 'web', subnets: [{ subnet: '10.1.0.0/24', gateway: '10.1.0.1' }] }] as never,
  );
  assert.equal(owners, [
    { id: 'a', network: null, addresses: ['10.1.0.2/32', 'fd00::2/128'] },
    { id: null, network: 'web', addresses: ['10.1.0.0/24'] },
    { id: null, network: null, addresses: ['fe80::/10', '::/128', '0.0.0.0/32'] },
  ]);
  assert.equal(exempt, ['10.1.0.1/32']);
});

plan('a share is a quarter of the table, unless the operator sets another', () => {
  assert.is(shareLimit(null, 262_144), 65_536);
  assert.is(shareLimit(null, 1), 1);
  assert.is(shareLimit(7, 262_144), 7);
});

plan('connections are counted as soon as somebody can have too many, and not before', () => {
  const last = { t: 0, entries: 1000, most: 80 };
  assert.not(isWorthCounting(100, 100, null, 0), 'all together have no more than one may have');
  assert.ok(isWorthCounting(101, 100, null, 0));
  assert.not(isWorthCounting(1020, 100, last, 1000), 'who had most has 100 at most');
  assert.ok(isWorthCounting(1021, 100, last, 1000));
  assert.ok(isWorthCounting(1000, 100, last, 10_000), 'some may have gone, and others come');
});

plan('entries that have gone since the last count make no room for unnoticed growth', () => {
  const last = { t: 0, entries: 1000, most: 80 };
  const dipped = countedSince(last, 200, 100);
  assert.equal(dipped, { t: 0, entries: 200, most: 80 });
  assert.equal(countedSince(dipped, 230, 100), dipped);
  assert.ok(isWorthCounting(230, 100, dipped, 1000));
  assert.is(countedSince(last, 100, 100), null, 'nobody can have more than one may have');
});

plan.run();

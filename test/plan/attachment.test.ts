/**
 * From a lease to an attachment: its whole content, the metric of its default route beside others, and which of several
 * attachments has the published ports.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  byPrecedence,
  canPublish,
  hasLease,
  netnsName,
  planAttachments,
  publishAddresses,
  relinked,
  revised,
} from '../../plan/containers/attachment.ts';
import { bridgeMac } from '../../plan/addresses/neighbours.ts';
import type { Attachment, ContainerContext, Lease } from '../../state/container.ts';
import type { AttachmentOptions } from '../../state/event.ts';
import { containerInput, leaseOf, TOKEN } from '../harness/fixtures.ts';

const container = (more: Partial<ContainerContext> = {}): ContainerContext =>
  ({
    ...containerInput({ id: '0123456789abcdef', hostname: 'web1' }),
    attachments: [],
    nextOrdinal: 0,
    ...more,
  }) as ContainerContext;

function planned(
  leases: Lease[],
  options: Record<string, AttachmentOptions> = {},
  more: Partial<ContainerContext> = {},
): Attachment[] {
  const plan = planAttachments(container(more), leases, options, []);
  if ('fault' in plan) throw new Error(plan.fault.message);
  return plan.attachments;
}

const plan = suite('plan of attachments');

plan('everything that an attachment makes has a name in the plan', () => {
  const [first, second] = planned(
    [leaseOf('web'), leaseOf('back')],
    { web: { aliases: ['db', 'web1'] } },
    { nextOrdinal: 35 },
  );
  assert.equal(first, {
    ...leaseOf('web'),
    ordinal: 35,
    hostLink: 've01234567z',
    link: 'eth0',
    alias: 'cleat:main:c1:7:web',
    aliases: ['db', 'web1', '0123456789ab'],
    gatewayPriority: 0,
  });
  assert.equal([second?.ordinal, second?.hostLink, second?.aliases], [36, 've0123456710', ['0123456789ab', 'web1']]);
  assert.equal(planned([leaseOf('web')], {}, { hostname: null })[0]?.aliases, ['0123456789ab']);
  assert.is(netnsName(TOKEN), 'netns-01234567-89ab-cdef-0123-456789abcdef');
  assert.is(netnsName(`${TOKEN}ff`), netnsName(TOKEN));
});

plan('new links keep everything except the names of the host ends', () => {
  const attachments = planned([leaseOf('web'), leaseOf('back')]);
  assert.equal(relinked(container({ attachments, nextOrdinal: 2 })), [
    { ...attachments[0], ordinal: 2, hostLink: 've012345672' },
    { ...attachments[1], ordinal: 3, hostLink: 've012345673' },
  ]);
});

plan('metrics: equals get the next free one, a higher priority one below, a lower one above', () => {
  const NETWORKS = ['web', 'back', 'a', 'b', 'c'];
  const metrics = (...priorities: number[]) => {
    const names = NETWORKS.slice(0, priorities.length);
    const options = Object.fromEntries(names.map((name, i) => [name, { gateway_priority: priorities[i] ?? 0 }]));
    return planned(names.map(leaseOf), options).map(({ defaultMetric }) => defaultMetric);
  };
  assert.equal(metrics(0, 0, 0), [100, 101, 102]);
  assert.equal(metrics(0, 7), [100, 90]);
  assert.equal(metrics(0, -7), [100, 110]);
  assert.equal(metrics(0, 7, 7), [100, 90, 91]);
  assert.equal(metrics(0, 7, 3), [100, 90, 95]);
  assert.equal(metrics(7, 0, 3), [100, 110, 105]);
  assert.equal(metrics(0, -7, -3), [100, 110, 105]);
  assert.equal(metrics(0, 7, 5, 6), [100, 90, 95, 93]);
  // An internal network has no default route, and affects no other.
  const inner = planned([leaseOf('inner'), leaseOf('web')]).map(({ defaultMetric }) => defaultMetric);
  assert.equal(inner, [null, 100]);
  const above = planned([leaseOf('inner'), leaseOf('web')], { web: { gateway_priority: 7 } });
  assert.is(above[1]?.defaultMetric, 100);
});

plan('metrics: a lack of room between two priorities is reported', () => {
  const beside = (defaultMetric: number, gatewayPriority: number): Attachment => ({
    ...planned([leaseOf('a')])[0]!,
    network: `n${defaultMetric}`,
    link: `to${defaultMetric}`,
    defaultMetric,
    gatewayPriority,
  });
  const between = (above: number, below: number) => {
    const attachments = [beside(above, 9), beside(below, 0)];
    const answer = planAttachments(container({ attachments }), [leaseOf('web')], { web: { gateway_priority: 5 } }, []);
    return 'fault' in answer ? answer.fault : answer.attachments.at(-1)?.defaultMetric;
  };
  assert.equal(between(7, 9), 8);
  assert.equal(between(99, 101), 100);
  assert.equal([between(7, 30), between(7, 10), between(101, 104)], [19, 9, 103], 'the middle, rounded up');
  assert.equal(between(7, 8), {
    code: 'BAD_REQUEST',
    message: 'no route metric is left for gateway priority 5: the networks beside it have 7 and 8',
  });
});

plan('under a changed lease, names and MAC stay, and other attachments are left alone', () => {
  const [web, back] = planned([leaseOf('web'), leaseOf('back')]) as [Attachment, Attachment];
  const lease: Lease = { ...leaseOf('web'), mtu: 1400, mac: '02:00:00:00:00:ff', routes: [], defaultMetric: 500 };
  const moved = { ...lease, addresses: [{ address: '10.89.0.99', prefix: 24, gateway: null }] };
  assert.equal(revised([web, back], moved, false), [{ ...web, mtu: 1400, addresses: moved.addresses }, back]);
  assert.equal(revised([web, back], moved, true)[0], {
    ...web,
    mtu: 1400,
    addresses: moved.addresses,
    defaultMetric: 500,
  });
  const without = { ...lease, defaultMetric: null };
  assert.is(revised([web, back], without, true)[0]?.defaultMetric, null);
  assert.is(revised([web, back], without, false)[0]?.defaultMetric, 100);

  const held = { ...lease, mtu: null, defaultMetric: 100 };
  assert.ok(hasLease([web, back], held, true));
  assert.ok(hasLease([web, back], { ...held, defaultMetric: 500 }, false));
  assert.not(hasLease([web, back], { ...held, defaultMetric: 500 }, true));
  assert.not(hasLease([web, back], { ...held, mtu: 1400 }, true));
  assert.ok(hasLease([back], lease, true), 'who is not on the network has nothing to follow');
});

const on = (more: Partial<Attachment>): Attachment => ({ ...planned([leaseOf('web')])[0]!, ...more });
const address = (text: string) => ({ address: text, prefix: 24, gateway: null });

plan('precedence: the lowest metric is first, then the oldest; no default route is last', () => {
  const all = [
    on({ network: 'none', defaultMetric: null, ordinal: 0 }),
    on({ network: 'late', defaultMetric: 100, ordinal: 7 }),
    on({ network: 'early', defaultMetric: 100, ordinal: 3 }),
    on({ network: 'first', defaultMetric: 90, ordinal: 9 }),
    on({ network: 'nor', defaultMetric: null, ordinal: 1 }),
  ];
  for (const order of [all, all.toReversed()]) {
    assert.equal(
      byPrecedence(order).map(({ network }) => network),
      ['first', 'early', 'late', 'none', 'nor'],
    );
  }
});

plan('ports lead to the first attachment that can have them, per family', () => {
  const both = on({ addresses: [address('10.0.0.2'), address('10.0.0.3'), address('fd00::2'), address('fd00::3')] });
  assert.equal(publishAddresses([both]), ['10.0.0.2', 'fd00::2']);
  const four = on({ ordinal: 1, defaultMetric: 50, addresses: [address('10.1.0.2')] });
  assert.equal(publishAddresses([both, four]), ['10.1.0.2', 'fd00::2']);
  assert.equal(publishAddresses([on({ addresses: [address('fd00::2')] })]), ['fd00::2']);
  assert.equal(publishAddresses([]), []);
  assert.equal(publishAddresses([on({ ...both, internal: true })]), []);
  const theirs = on({ ...both, unmanaged: true });
  const handlers = [undefined, 'firewall', 'forwarder', 'slirp4netns'] as const;
  assert.equal(
    handlers.map((handler) => publishAddresses([theirs], handler).length),
    [0, 0, 2, 0],
  );
  const others = on({ ...both, external: { ports: [], result: null } as never });
  assert.equal(
    handlers.map((handler) => publishAddresses([others], handler).length),
    [0, 0, 2, 0],
    'a program of others has made it: the forwarder leads there all the same',
  );
  assert.not.ok(canPublish({ ...others, internal: true }, 'forwarder'));
  assert.equal(
    handlers.map((handler) => canPublish(both, handler)),
    [true, true, true, true],
  );
  assert.equal(
    handlers.map((handler) => canPublish({ ...both, internal: true }, handler)),
    [false, false, false, false],
  );
});

plan('the MAC of a bridge is derived from its network: 02, and forty bits of the id', () => {
  assert.is(bridgeMac('0123456789abcdef'), '02:01:23:45:67:89');
});

plan.run();

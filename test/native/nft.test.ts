/**
 * nf_tables transactions and dumps against the `nft` program on a real kernel.
 *
 * Limits: test/effects/ruleset.test.ts shows whether the rules mean the right thing.
 * Over 400 lines because it covers one native file family against one kernel fixture.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  openOutside,
  type NftElement,
  type NftExpression,
  type NftOperation,
  type Outside,
} from '../../native/index.ts';
import { kernelFailure } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const TABLE = 'native-test';
const nft = (...args: string[]) => execFileSync('nft', args, { encoding: 'utf8' });
const add = (chain: string, expressions: NftExpression[], comment?: string): NftOperation => ({
  op: 'rule.add',
  table: TABLE,
  chain,
  expressions,
  ...(comment === undefined ? {} : { comment }),
});
const portElement = (port: number, comment = ''): NftElement => ({
  key: [{ byte: 6 }, { port }],
  data: [{ ipv4: '10.0.0.2' }, { port: 80 }],
  comment,
});

let outside: Outside;
const nat = suite('nft');

nat.before(() => {
  outside = openOutside();
});
nat.before.each(async () => {
  await outside.nft([
    { op: 'table.add', table: TABLE },
    { op: 'table.del', table: TABLE },
    { op: 'table.add', table: TABLE },
    {
      op: 'set.add',
      table: TABLE,
      set: 'ports',
      key: ['inet_proto', 'inet_service'],
      data: ['ipv4_addr', 'inet_service'],
    },
    { op: 'set.add', table: TABLE, set: 'links', key: ['ifname'], data: 'verdict' },
    { op: 'set.add', table: TABLE, set: 'marks', key: ['mark'] },
    { op: 'chain.add', table: TABLE, chain: 'there' },
  ]);
});
nat.after(async () => outside.nft([{ op: 'table.del', table: TABLE }]));

nat('every expression reads as nft writes it', async () => {
  const mask = (...bytes: number[]) => Uint8Array.from(bytes);
  const zero = mask(0, 0, 0, 0);
  const v4: NftExpression[] = [
    { expr: 'meta', key: 'nfproto', dreg: 0 },
    { expr: 'cmp', sreg: 0, op: 'eq', data: { byte: 2 } },
  ];
  const load = (offset: number): NftExpression => ({ expr: 'payload', base: 'network', offset, length: 4, dreg: 0 });
  const cases: [string, NftExpression[]][] = [
    ['accept', [{ expr: 'verdict', verdict: 'accept' }]],
    ['return', [{ expr: 'verdict', verdict: 'return' }]],
    ['jump there', [{ expr: 'verdict', verdict: 'jump', chain: 'there' }]],
    ['goto there', [{ expr: 'verdict', verdict: 'goto', chain: 'there' }]],
    ['notrack', [{ expr: 'notrack' }]],
    ['counter packets 0 bytes 0', [{ expr: 'counter' }]],
    [
      'iifname "eth0" drop',
      [
        { expr: 'meta', key: 'iifname', dreg: 0 },
        { expr: 'cmp', sreg: 0, op: 'eq', data: { ifname: 'eth0' } },
        { expr: 'verdict', verdict: 'drop' },
      ],
    ],
    [
      'meta mark 0x0000002a',
      [
        { expr: 'meta', key: 'mark', dreg: 3 },
        { expr: 'cmp', sreg: 3, op: 'eq', data: { u32: 42 } },
      ],
    ],
    [
      'meta mark != @marks',
      [
        { expr: 'meta', key: 'mark', dreg: 0 },
        { expr: 'lookup', set: 'marks', sreg: 0, inverted: true },
      ],
    ],
    [
      'oifname vmap @links',
      [
        { expr: 'meta', key: 'oifname', dreg: 0 },
        { expr: 'lookup', set: 'links', sreg: 0, verdict: true },
      ],
    ],
    ['ip daddr != 192.0.2.1', [...v4, load(16), { expr: 'cmp', sreg: 0, op: 'neq', data: { ipv4: '192.0.2.1' } }]],
    [
      'ip saddr 10.0.0.0/12',
      [
        ...v4,
        load(12),
        { expr: 'bitwise', sreg: 0, dreg: 0, mask: mask(255, 240, 0, 0), xor: zero },
        { expr: 'cmp', sreg: 0, op: 'eq', data: { bytes: mask(10, 0, 0, 0) } },
      ],
    ],
    [
      'ct state established,related',
      [
        { expr: 'ct', key: 'state', dreg: 0 },
        { expr: 'bitwise', sreg: 0, dreg: 0, mask: new Uint8Array(Uint32Array.of(6).buffer), xor: zero },
        { expr: 'cmp', sreg: 0, op: 'neq', data: { u32: 0 } },
      ],
    ],
    [
      'fib saddr type local',
      [
        { expr: 'fib', of: 'saddr', result: 'type', dreg: 0 },
        { expr: 'cmp', sreg: 0, op: 'eq', data: { u32: 2 } },
      ],
    ],
  ];
  await outside.nft([
    {
      op: 'chain.add',
      table: TABLE,
      chain: 'filter',
      hook: { type: 'filter', hook: 'prerouting', priority: -300, policy: 'drop' },
    },
    ...cases.map(([, expressions], i) => add('filter', expressions, `case ${i}`)),
  ]);
  const text = nft('list', 'chain', 'inet', TABLE, 'filter');
  assert.match(text, /type filter hook prerouting priority raw; policy drop;/);
  cases.forEach(([wanted], i) => assert.ok(text.includes(`${wanted} comment "case ${i}"`), `${wanted}\n${text}`));
});

nat('NAT, masquerading and rejecting can be written', async () => {
  const hook = (
    type: 'nat' | 'filter',
    at: 'prerouting' | 'postrouting' | 'input',
    priority: number,
  ): NftOperation => ({
    op: 'chain.add',
    table: TABLE,
    chain: at,
    hook: { type, hook: at, priority, policy: 'accept' },
  });
  const address: NftExpression = { expr: 'immediate', dreg: 0, data: { ipv4: '10.0.0.2' } };
  const port: NftExpression = { expr: 'immediate', dreg: 1, data: { port: 80 } };
  const l4: NftExpression[] = [
    { expr: 'meta', key: 'l4proto', dreg: 0 },
    { expr: 'cmp', sreg: 0, op: 'eq', data: { byte: 6 } },
  ];
  await outside.nft([
    hook('nat', 'prerouting', -100),
    hook('nat', 'postrouting', 100),
    hook('filter', 'input', 0),
    add('prerouting', [...l4, address, port, { expr: 'nat', kind: 'dnat', family: 4, addressReg: 0, portReg: 1 }]),
    add('postrouting', [address, { expr: 'nat', kind: 'snat', family: 4, addressReg: 0 }]),
    add('postrouting', [{ expr: 'masquerade' }]),
    add('input', [{ expr: 'reject' }]),
  ]);
  const text = nft('list', 'table', 'inet', TABLE);
  for (const wanted of ['dnat ip to 10.0.0.2:80', 'snat ip to 10.0.0.2', 'masquerade', 'reject']) {
    assert.ok(text.includes(wanted), `${wanted}\n${text}`);
  }
});

nat('elements of all types are read back as they were written', async () => {
  const sets: {
    set: string;
    operation: Omit<Extract<NftOperation, { op: 'set.add' }>, 'op' | 'table' | 'set'>;
    elements: NftElement[];
  }[] = [
    {
      set: 'six',
      operation: { key: ['ipv6_addr', 'inet_proto', 'inet_service'], data: ['ipv6_addr', 'inet_service'] },
      elements: [
        {
          key: [{ ipv6: '2001:db8::1' }, { byte: 17 }, { port: 53 }],
          data: [{ ipv6: 'fd00::2' }, { port: 5353 }],
          comment: 'web/1',
        },
      ],
    },
    { set: 'names', operation: { key: ['ifname'] }, elements: [{ key: [{ ifname: 'fifteen-letters' }] }] },
    { set: 'numbers', operation: { key: ['mark'] }, elements: [{ key: [{ u32: 4_000_000_000 }] }] },
    { set: 'addresses', operation: { key: ['ipv4_addr'] }, elements: [{ key: [{ ipv4: '192.0.2.1' }] }] },
    {
      set: 'verdicts',
      operation: { key: ['ifname'], data: 'verdict' },
      elements: [{ key: [{ ifname: 'eth0' }], data: { verdict: 'jump', chain: 'there' }, comment: 'x' }],
    },
  ];
  await outside.nft(
    sets.flatMap(({ set, operation, elements }): NftOperation[] => [
      { op: 'set.add', table: TABLE, set, ...operation },
      { op: 'element.add', table: TABLE, set, elements },
    ]),
  );
  for (const { set, elements } of sets) assert.equal(await outside.nftElements('inet', TABLE, set), elements);
  const text = nft('list', 'table', 'inet', TABLE);
  for (const wanted of [
    'type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service',
    '2001:db8::1 . udp . 53 comment "web/1" : fd00::2 . 5353',
    'elements = { "fifteen-letters" }',
    'elements = { 0xee6b2800 }',
    '"eth0" comment "x" : jump there',
  ]) {
    assert.ok(text.includes(wanted), `${wanted}\n${text}`);
  }
});

nat('a table is read back with chains, rules with handles, sets with counts', async () => {
  await outside.nft([
    add('there', [{ expr: 'counter' }], 'first'),
    add('there', [{ expr: 'counter' }], 'second'),
    { op: 'element.add', table: TABLE, set: 'ports', elements: [portElement(1), portElement(2)] },
  ]);
  const table = await outside.nftTable('inet', TABLE);
  assert.ok(table);
  assert.equal(
    table.chains.map(({ name, hook, rules }) => [name, hook, rules.map(({ comment }) => comment)]),
    [['there', null, ['first', 'second']]],
  );
  assert.is(table.flags, 0);
  assert.equal(table.sets, [
    { name: 'links', key: 'ifname', map: true, interval: false, flags: 0, elements: 0 },
    { name: 'marks', key: 'mark', map: false, interval: false, flags: 0, elements: 0 },
    { name: 'ports', key: 'inet_proto . inet_service', map: true, interval: false, flags: 0, elements: 2 },
  ]);
  nft('add', 'chain', 'inet', TABLE, 'watched', '{ type filter hook forward priority -5 ; policy drop ; }');
  nft('add', 'set', 'inet', TABLE, 'brief', '{ type ipv4_addr ; flags timeout ; }');
  nft('add', 'table', 'inet', TABLE, '{ flags dormant ; }');
  const changed = await outside.nftTable('inet', TABLE);
  assert.is(changed?.flags, 1);
  const watched = { type: 'filter', hook: 'forward', priority: -5, policy: 'drop' } as const;
  assert.equal(changed?.chains.find(({ name }) => name === 'watched')?.hook, watched);
  assert.ok((changed?.sets.find(({ name }) => name === 'brief')?.flags ?? 0) > 0);
  nft('add', 'table', 'inet', TABLE, '{ }');
  // An existing chain gets another policy; its hook cannot be changed.
  const again = { op: 'chain.add', table: TABLE, chain: 'watched', hook: { ...watched, policy: 'accept' } } as const;
  await outside.nft([again]);
  assert.is(
    (await outside.nftTable('inet', TABLE))?.chains.find(({ name }) => name === 'watched')?.hook?.policy,
    'accept',
  );
  nft('delete', 'chain', 'inet', TABLE, 'watched');
  nft('delete', 'set', 'inet', TABLE, 'brief');
  const handle = table.chains[0]!.rules[0]!.handle;
  await outside.nft([{ op: 'rule.del', table: TABLE, chain: 'there', handle }]);
  assert.not.match(nft('list', 'table', 'inet', TABLE), /first/);
  await outside.nft([
    { op: 'chain.flush', table: TABLE, chain: 'there' },
    { op: 'set.flush', table: TABLE, set: 'ports' },
    { op: 'set.del', table: TABLE, set: 'marks' },
    { op: 'chain.del', table: TABLE, chain: 'there' },
  ]);
  const emptied = await outside.nftTable('inet', TABLE);
  assert.equal(emptied?.chains, []);
  assert.equal(
    emptied?.sets.map(({ name, elements }) => [name, elements]),
    [
      ['links', 0],
      ['ports', 0],
    ],
  );
});

nat('reading a missing table is reported', async () => {
  assert.is(await outside.nftTable('inet', 'nowhere'), null);
  const failure = await kernelFailure(outside.nftElements('inet', TABLE, 'nowhere'));
  assert.equal([failure.code, failure.syscall, failure.object], ['ENOENT', 'NFT_MSG_GETSET', `${TABLE}/nowhere`]);
});

nat('a refused operation is named, and nothing of the transaction stays', async () => {
  const elements = (...ports: number[]) => ports.map((port) => portElement(port));
  await outside.nft([{ op: 'element.add', table: TABLE, set: 'ports', elements: elements(3) }]);
  const before = nft('list', 'ruleset');
  const refusals: [NftOperation[], string, string, string][] = [
    [
      [
        { op: 'element.add', table: TABLE, set: 'ports', elements: elements(1) },
        { op: 'element.add', table: TABLE, set: 'ports', elements: elements(1, 2, 3, 4), exclusive: true },
      ],
      'EEXIST',
      'NFT_MSG_NEWSETELEM',
      `element.add ${TABLE}/ports #1[0]`,
    ],
    [
      [
        {
          op: 'element.add',
          table: TABLE,
          set: 'ports',
          elements: [...elements(1, 2), { ...portElement(3), data: [{ ipv4: '10.0.0.9' }, { port: 80 }] }],
        },
      ],
      'EEXIST',
      'NFT_MSG_NEWSETELEM',
      `element.add ${TABLE}/ports #0[2]`,
    ],
    [
      [
        { op: 'element.add', table: TABLE, set: 'ports', elements: elements(1) },
        { op: 'element.del', table: TABLE, set: 'ports', elements: elements(1, 9) },
      ],
      'ENOENT',
      'NFT_MSG_DELSETELEM',
      `element.del ${TABLE}/ports #1[1]`,
    ],
    [[{ op: 'table.del', table: 'nowhere' }], 'ENOENT', 'NFT_MSG_DELTABLE', 'table.del nowhere #0'],
    [
      [add('there', []), add('nowhere', []), add('there', [])],
      'ENOENT',
      'NFT_MSG_NEWRULE',
      `rule.add ${TABLE}/nowhere #1`,
    ],
    [
      [
        add('there', [{ expr: 'counter' }]),
        {
          op: 'element.add',
          table: TABLE,
          set: 'links',
          elements: [{ key: [{ ifname: 'a' }], data: { verdict: 'jump', chain: 'there' } }],
        },
        { op: 'chain.del', table: TABLE, chain: 'there' },
      ],
      'EBUSY',
      'NFT_MSG_DELCHAIN',
      `chain.del ${TABLE}/there #2`,
    ],
  ];
  for (const [operations, ...wanted] of refusals) {
    const { code, syscall, object } = await kernelFailure(outside.nft(operations));
    assert.equal([code, syscall, object], wanted);
  }
  assert.is(nft('list', 'ruleset'), before);
});

nat('arguments that make no sense are rejected, not thrown', async () => {
  const wrong: unknown[] = [
    undefined,
    [null],
    [{}],
    [{ op: 'table.paint', table: TABLE }],
    [{ op: 'table.add', table: '' }],
    [{ op: 'table.add', table: 'x'.repeat(300) }],
    [{ op: 'rule.add', table: TABLE, chain: 'there', expressions: [{ expr: 'magic' }] }],
    [{ op: 'rule.add', table: TABLE, chain: 'there', expressions: [{ expr: 'meta', key: 'mark', dreg: 16 }] }],
    [{ op: 'rule.add', table: TABLE, chain: 'there', expressions: [], comment: 'x'.repeat(128) }],
    [{ op: 'set.add', table: TABLE, set: 's', key: [] }],
    [{ op: 'set.add', table: TABLE, set: 's', key: ['colour'] }],
    [{ op: 'element.add', table: TABLE, set: 'ports', elements: 'all' }],
    [{ op: 'element.add', table: TABLE, set: 'ports', elements: [{ key: [] }] }],
    [{ op: 'element.add', table: TABLE, set: 'ports', elements: [{ key: [{ port: 65536 }] }] }],
    [{ op: 'element.add', table: TABLE, set: 'ports', elements: [{ key: [{ ipv4: 'fd00::1' }] }] }],
    [{ op: 'element.add', table: TABLE, set: 'links', elements: [{ key: [{ ifname: 'sixteen-letters!' }] }] }],
  ];
  for (const operations of wrong) {
    const work = outside.nft(operations as NftOperation[]);
    assert.ok(
      await work.then(
        () => false,
        (error) => error instanceof Error,
      ),
      JSON.stringify(operations),
    );
  }
  await outside.nft([]);
});

nat('20,000 elements fit in one transaction, which does not affect other transactions', async () => {
  const elements = Array.from({ length: 20_000 }, (_, i) => portElement(i + 1, `owner ${i}`.padEnd(60, '.')));
  const all: NftOperation = { op: 'element.add', table: TABLE, set: 'ports', elements };
  // The whole transaction is refused for its last element, and the error names it.
  const failure = await kernelFailure(
    outside.nft([{ ...all, elements: [...elements, elements[7]!], exclusive: true }]),
  );
  assert.equal([failure.code, failure.object], ['EEXIST', `element.add ${TABLE}/ports #0[20000]`]);
  assert.is((await outside.nftTable('inet', TABLE))?.sets.find(({ name }) => name === 'ports')?.elements, 0);

  await outside.nft([all]);
  // At once, while the kernel still resizes its hash table. As text: assert.equal takes minutes to print the
  // difference.
  const lines = (list: NftElement[]) => list.map((element) => JSON.stringify(element)).sort();
  const read = lines(await outside.nftElements('inet', TABLE, 'ports'));
  const wrong = lines(elements).filter((line, i) => line !== read[i]);
  assert.equal([read.length, wrong.slice(0, 3)], [20_000, []]);
  await outside.nft([{ op: 'element.del', table: TABLE, set: 'ports', elements: elements.slice(1) }]);
  assert.equal(await outside.nftElements('inet', TABLE, 'ports'), [elements[0]]);
});

nat('many refusals at once do not block or confuse the socket', async () => {
  const operations = Array.from({ length: 5000 }, (_, i): NftOperation => ({
    op: 'element.del',
    table: TABLE,
    set: 'ports',
    elements: [portElement(i + 1)],
  }));
  const failure = await kernelFailure(outside.nft(operations));
  assert.equal([failure.code, failure.object], ['ENOENT', `element.del ${TABLE}/ports #0[0]`]);
  await outside.nft([{ op: 'element.add', table: TABLE, set: 'ports', elements: [portElement(1)] }]);
});

nat('a table is read whole while others write', async () => {
  const pair = [portElement(1), portElement(2)];
  let writing = true;
  const other = openOutside();
  const writer = (async () => {
    while (writing) {
      await other.nft([{ op: 'element.add', table: TABLE, set: 'ports', elements: pair }]);
      await other.nft([{ op: 'set.flush', table: TABLE, set: 'ports' }]);
    }
  })();
  try {
    for (let i = 0; i < 100; i++) {
      const table = await outside.nftTable('inet', TABLE).catch((error: Error & { code?: string }) => {
        assert.is(error.code, 'EAGAIN');
        return null;
      });
      const count = table?.sets.find(({ name }) => name === 'ports')?.elements ?? 0;
      assert.ok(count === 0 || count === 2, `saw ${count} of 2`);
    }
  } finally {
    writing = false;
    await writer;
  }
});

nat.run();

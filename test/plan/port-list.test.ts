/**
 * Lists of published ports: coalescing keeps their meaning, conflicts are reported, and subtracting removes exactly the
 * named ports. plan.test.ts has the ports that two containers may have.
 */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { coalesce, meet, subtract, subtractMappings, unrequest, without } from '../../plan/ports/port-list.ts';
import { PortRequest, type ResolvedPort } from '../../state/container.ts';
import { PortMapping } from '../../state/event.ts';
import { resolve } from '../harness/fixtures.ts';

const list = suite('port lists');

const at = (host_port: number, container_port: number, more: Partial<PortRequest> = {}): PortRequest => ({
  host_port,
  container_port,
  ...more,
});

/** "127.0.0.1:8080-8081:80-81/tcp"; a random port has host port 0. */
const text = (wish: PortRequest) => {
  const range = wish.range ?? 1;
  const span = (first = 0) => (range === 1 || first === 0 ? `${first}` : `${first}-${first + range - 1}`);
  const host = wish.outer_ip === undefined ? (wish.host_ip ?? '') : `(${wish.outer_ip})`;
  return `${host} ${span(wish.host_port)}:${span(wish.container_port)}/${wish.protocol ?? 'tcp'}`;
};
const texts = (wishes: readonly PortRequest[]) => wishes.map(text);

const coalesced = (wishes: readonly PortRequest[]): string[] | string => {
  const answer = coalesce(wishes);
  return 'fault' in answer ? `${answer.fault.code}: ${answer.fault.message}` : texts(answer.ports);
};

const CASES: [title: string, from: PortRequest[], to: string[]][] = [
  ['nothing', [], []],
  ['one', [at(8080, 80)], [' 8080:80/tcp']],
  ['the next one', [at(8081, 81), at(8080, 80)], [' 8080-8081:80-81/tcp']],
  ['exact duplicates', [at(8080, 80), at(8080, 80, { protocol: 'tcp', host_ip: '', range: 1 })], [' 8080:80/tcp']],
  ['a range and the next', [at(8080, 80, { range: 3 }), at(8083, 83)], [' 8080-8083:80-83/tcp']],
  ['two ranges', [at(8083, 83, { range: 2 }), at(8080, 80, { range: 3 })], [' 8080-8084:80-84/tcp']],
  ['a range and a part of it', [at(8080, 80, { range: 3 }), at(8081, 81)], [' 8080-8082:80-82/tcp']],
  [
    'ranges that overlap and agree',
    [at(8080, 80, { range: 10 }), at(8085, 85, { range: 10 }), at(101, 6), at(100, 5)],
    [' 100-101:5-6/tcp', ' 8080-8094:80-94/tcp'],
  ],
  ['host port goes on, container port does not', [at(8080, 80), at(8081, 80)], [' 8080:80/tcp', ' 8081:80/tcp']],
  ['container port goes on, host port does not', [at(8080, 80), at(8082, 81)], [' 8080:80/tcp', ' 8082:81/tcp']],
  ['another protocol', [at(8080, 80), at(8081, 81, { protocol: 'udp' })], [' 8080:80/tcp', ' 8081:81/udp']],
  [
    'another host address',
    [at(8081, 81, { host_ip: '192.0.2.1' }), at(8080, 80, { host_ip: '127.0.0.1' })],
    ['127.0.0.1 8080:80/tcp', '192.0.2.1 8081:81/tcp'],
  ],
  [
    'the order: address as text, protocol, host port, container port',
    [
      at(1, 1, { host_ip: '::1' }),
      at(9, 1, { host_ip: '9.0.0.1' }),
      at(1, 9, { host_ip: '10.0.0.1' }),
      at(3, 1, { protocol: 'udp' }),
      at(7, 2, { protocol: 'sctp' }),
      at(20, 2),
      at(5, 80),
    ],
    [' 7:2/sctp', ' 5:80/tcp', ' 20:2/tcp', ' 3:1/udp', '10.0.0.1 1:9/tcp', '9.0.0.1 9:1/tcp', '::1 1:1/tcp'],
  ],
  ['left to chance: neighbours stay apart', [at(0, 80), at(0, 81)], [' 0:80/tcp', ' 0:81/tcp']],
  ['left to chance: twice the same is one (Podman)', [at(0, 80), { container_port: 80 }], [' 0:80/tcp']],
  [
    'left to chance: ranges that overlap are one (Podman)',
    [at(0, 80, { range: 3 }), at(0, 81), at(0, 82, { range: 10 }), at(0, 90, { range: 5 })],
    [' 0:80-94/tcp'],
  ],
  ['left to chance and by number', [at(8080, 80), at(0, 80)], [' 0:80/tcp', ' 8080:80/tcp']],
  [
    'families of their own',
    [at(8080, 80, { host_ip: '::' }), at(8080, 81, { host_ip: '0.0.0.0' })],
    ['0.0.0.0 8080:81/tcp', ':: 8080:80/tcp'],
  ],
  ['all addresses include those of a family', [at(8080, 80), at(8080, 80, { host_ip: '::' })], [' 8080:80/tcp']],
  ['all addresses include each', [at(8080, 80), at(8080, 80, { host_ip: '127.0.0.1' })], [' 8080:80/tcp']],
  [
    'those of a family include each of that family',
    [at(53, 53, { host_ip: '::' }), at(53, 53, { host_ip: '::1' }), at(53, 53, { host_ip: '127.0.0.1' })],
    ['127.0.0.1 53:53/tcp', ':: 53:53/tcp'],
  ],
  [
    'a range on one address beside a part of it on all',
    [at(8080, 80, { host_ip: '::1', range: 3 }), at(8081, 81)],
    [' 8081:81/tcp', '::1 8080:80/tcp', '::1 8082:82/tcp'],
  ],
  [
    'left to chance, on all addresses and on one',
    [at(0, 80), at(0, 80, { host_ip: '::' })],
    [' 0:80/tcp', ':: 0:80/tcp'],
  ],
  ['up to the last port', [at(65_534, 1), at(65_535, 2)], [' 65534-65535:1-2/tcp']],
];
for (const [title, from, to] of CASES) {
  list(`coalesce: ${title}`, () => {
    assert.equal(coalesced(from), to);
    assert.equal(coalesced(from.toReversed()), to);
  });
}

const CONFLICTS: [from: PortRequest[], says: string][] = [
  [[at(8080, 80), at(8080, 81)], 'ports 8080:80/tcp and 8080:81/tcp overlap'],
  [[at(8085, 5, { range: 2 }), at(8080, 80, { range: 10 })], 'ports 8080-8089:80-89/tcp and 8085-8086:5-6/tcp overlap'],
  [[at(8080, 80), at(8080, 81, { host_ip: '127.0.0.1' })], 'ports 8080:80/tcp and 127.0.0.1:8080:81/tcp overlap'],
  [[at(53, 53, { host_ip: '::1' }), at(53, 54, { host_ip: '::' })], 'ports [::]:53:54/tcp and [::1]:53:53/tcp overlap'],
  [[at(53, 53), at(53, 54, { host_ip: '0.0.0.0' })], 'ports 53:53/tcp and 0.0.0.0:53:54/tcp overlap'],
];
for (const [from, says] of CONFLICTS) {
  list(`coalesce: ${says}`, () => {
    for (const order of [from, from.toReversed()]) {
      const answer = coalesced(order);
      assert.ok(String(answer).startsWith(`BAD_REQUEST: ${says}`), String(answer));
    }
  });
}

list('host addresses overlap if they have an address in common', () => {
  const all = ['', '0.0.0.0', '::', '127.0.0.1', '::1'];
  const met = all.flatMap((a) => all.filter((b) => a < b && meet(a, b)).map((b) => `${a} ${b}`));
  assert.equal(met.sort(), [' 0.0.0.0', ' 127.0.0.1', ' ::', ' ::1', '0.0.0.0 127.0.0.1', ':: ::1']);
});

/** Few numbers, so that they meet; container ports close to host ports, so that they continue each other. */
const wish: fc.Arbitrary<PortRequest> = fc
  .record({
    host_ip: fc.constantFrom('', '', '0.0.0.0', '127.0.0.1', '::1'),
    host: fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 7, 8),
    shift: fc.constantFrom(0, 0, 0, 1),
    range: fc.integer({ min: 1, max: 3 }),
    protocol: fc.constantFrom('tcp' as const, 'tcp' as const, 'udp' as const),
  })
  .map(({ host_ip, host, shift, range, protocol }) => ({
    host_ip,
    host_port: host === 0 ? 0 : 8000 + host,
    container_port: 80 + host + shift,
    range,
    protocol,
  }));
const wishes = fc.array(wish, { maxLength: 12 });

/** The meaning of a list. */
const pairs = (of: readonly PortRequest[]): string[] =>
  of.flatMap((one) =>
    Array.from({ length: one.range ?? 1 }, (_, i) => {
      const host = (one.host_port ?? 0) === 0 ? 'any' : (one.host_port ?? 0) + i;
      return `${one.outer_ip ?? one.host_ip ?? ''} ${one.protocol ?? 'tcp'} ${host}:${one.container_port + i}`;
    }),
  );
const meaning = (of: readonly PortRequest[]) => [...new Set(pairs(of))].sort();

/** The same without pairs that another pair includes, because it has the same ends on more addresses. */
const meaningOnce = (of: readonly PortRequest[]): string[] => {
  const all = meaning(of);
  const wider = (ip: string) => (ip === '' ? [] : ip.includes(':') ? ['', '::'] : ['', '0.0.0.0']);
  return all.filter((pair) => {
    const [ip = '', ...rest] = pair.split(' ');
    if (pair.includes(' any:')) return true;
    return !wider(ip).some((other) => other !== ip && all.includes([other, ...rest].join(' ')));
  });
};

/** Returns true if two pairs of a list contradict each other, by comparing every two of them. */
const contradicts = (of: readonly PortRequest[]): boolean => {
  const all = meaning(of).map((pair) => {
    const [ip = '', protocol = '', ports = ''] = pair.split(' ');
    const [host, container] = ports.split(':');
    return { ip, protocol, host, container };
  });
  return all.some((a, i) =>
    all
      .slice(i + 1)
      .some(
        (b) =>
          a.host !== 'any' &&
          a.protocol === b.protocol &&
          a.host === b.host &&
          a.container !== b.container &&
          meet(a.ip, b.ip),
      ),
  );
};

list('coalesce: it keeps the pairs, changes nothing twice, in any order, and leaves the array alone', () => {
  let [merged, refused] = [0, 0];
  fc.assert(
    fc.property(wishes, fc.infiniteStream(fc.nat()), (from, chance) => {
      const before = structuredClone(from);
      const answer = coalesce(from);
      assert.equal(from, before);
      const shuffled = from.map((one) => ({ one, key: chance.next().value })).sort((a, b) => a.key - b.key);
      assert.equal(coalesce(shuffled.map(({ one }) => one)), answer, 'the order matters');
      assert.is('fault' in answer, contradicts(from));
      if ('fault' in answer) return void refused++;
      const { ports } = answer;
      assert.equal(meaning(ports), meaningOnce(from));
      assert.is(pairs(ports).length, meaning(ports).length, 'a pair is there twice');
      assert.equal(coalesce(ports), answer, 'not the same the second time');
      for (const port of ports) assert.equal(PortMapping.parse(port), port);
      if (ports.length < from.length) merged++;
    }),
    { numRuns: 2000 },
  );
  assert.ok(merged > 100 && refused > 100, `${merged} merged, ${refused} refused: the generator misses the point`);
});

list('coalesce: the address of an outer publisher counts, and is kept', () => {
  const outer = (outer_ip: string, host: number) => at(host, host, { host_ip: '', outer_ip });
  assert.equal(coalesced([outer('127.0.0.1', 80), outer('127.0.0.1', 81), outer('::1', 80)]), [
    '(127.0.0.1) 80-81:80-81/tcp',
    '(::1) 80:80/tcp',
  ]);
  const answer = coalesce([outer('127.0.0.1', 80)]);
  assert.equal('ports' in answer && answer.ports.map((port) => PortRequest.parse(port).host_ip), ['']);
});

// --- Subtracting -----------------------------------------------------------------------------------------------

const shown = (ports: readonly ResolvedPort[]) =>
  texts(
    ports.map((port) => ({
      host_ip: port.hostIp,
      host_port: port.hostPort,
      container_port: port.containerPort,
      protocol: port.protocol,
      range: port.range,
      ...(port.outerIp === null ? {} : { outer_ip: port.outerIp }),
    })),
  );

const RANGE = at(8080, 80, { range: 5 });
const CUTS: [title: string, mappings: PortRequest[], taken: string[], left: string[]][] = [
  ['the whole', [RANGE], [' 8080-8084:80-84/tcp'], []],
  ['the beginning', [at(8080, 80)], [' 8080:80/tcp'], [' 8081-8084:81-84/tcp']],
  ['the end', [at(8083, 83, { range: 2 })], [' 8083-8084:83-84/tcp'], [' 8080-8082:80-82/tcp']],
  ['the middle leaves two', [at(8082, 82)], [' 8082:82/tcp'], [' 8080-8081:80-81/tcp', ' 8083-8084:83-84/tcp']],
  [
    'two parts leave three',
    [at(8083, 83), at(8081, 81)],
    [' 8081:81/tcp', ' 8083:83/tcp'],
    [' 8080:80/tcp', ' 8082:82/tcp', ' 8084:84/tcp'],
  ],
  ['parts that touch are one', [at(8081, 81), at(8080, 80)], [' 8080-8081:80-81/tcp'], [' 8082-8084:82-84/tcp']],
  ['parts that overlap', [at(8080, 80, { range: 3 }), at(8081, 81, { range: 4 })], [' 8080-8084:80-84/tcp'], []],
  ['more than there is', [at(8070, 70, { range: 20 })], [' 8080-8084:80-84/tcp'], []],
  ['another container port', [at(8080, 81)], [], [' 8080-8084:80-84/tcp']],
  ['another protocol', [{ ...RANGE, protocol: 'udp' }], [], [' 8080-8084:80-84/tcp']],
  ['another address', [{ ...RANGE, host_ip: '127.0.0.1' }], [], [' 8080-8084:80-84/tcp']],
  ['0.0.0.0 is not ""', [{ ...RANGE, host_ip: '0.0.0.0' }], [], [' 8080-8084:80-84/tcp']],
  ['whichever leads there', [{ container_port: 84 }], [' 8084:84/tcp'], [' 8080-8083:80-83/tcp']],
  ['nothing', [], [], [' 8080-8084:80-84/tcp']],
];
for (const [title, mappings, taken, left] of CUTS) {
  list(`subtract: ${title}`, () => {
    const published = subtract([resolve(RANGE)], mappings);
    assert.equal([shown(published.taken), shown(published.left)], [taken, left]);
    const requested = subtractMappings([RANGE], mappings);
    assert.equal([texts(requested.taken), texts(requested.left)], [taken, left]);
  });
}

list('subtract: ports published as two and kept as one are removed as one of them', () => {
  const answer = coalesce([at(8080, 80), at(8081, 81)]);
  assert.ok('ports' in answer && answer.ports.length === 1);
  const { taken, left } = subtractMappings(answer.ports, [at(8080, 80)]);
  assert.equal([texts(taken), texts(left)], [[' 8080:80/tcp'], [' 8081:81/tcp']]);
  assert.equal(coalesced([...left, ...taken]), texts(answer.ports));
});

list('subtract: a request without a host port means every mapping that leads there', () => {
  const ports = [resolve(at(8080, 80)), resolve(at(9090, 80)), resolve(at(9091, 80, { protocol: 'udp' }))];
  const { taken, left } = subtract(ports, [{ container_port: 80 }]);
  assert.equal([shown(taken), shown(left)], [[' 8080:80/tcp', ' 9090:80/tcp'], [' 9091:80/udp']]);
});

list('subtract: a request for a random port is named without a number only', () => {
  assert.equal(texts(subtractMappings([at(0, 80)], [at(8080, 80)]).left), [' 0:80/tcp']);
  const { taken, left } = subtractMappings([at(0, 80, { range: 3 })], [{ container_port: 81 }]);
  assert.equal([texts(taken), texts(left)], [[' 0:81/tcp'], [' 0:80/tcp', ' 0:82/tcp']]);
});

list('subtract: the requested address counts, wherever it is kept', () => {
  const port = { ...resolve(at(8080, 80)), outerIp: '127.0.0.1' };
  assert.equal(subtract([port], [at(8080, 80)]).taken, []);
  assert.equal(subtract([port], [at(8080, 80, { host_ip: '127.0.0.1' })]).taken, [port]);
  assert.equal(subtract([port], [at(8080, 80, { host_ip: '', outer_ip: '127.0.0.1' })]).taken, [port]);
});

list('subtract: removed and remaining ports make up the old ones, and nothing named remains', () => {
  fc.assert(
    fc.property(wishes, wishes, (from, mappings) => {
      const answer = coalesce(from);
      if ('fault' in answer) return;
      const published = answer.ports.filter(({ host_port }) => host_port !== 0);
      const before = structuredClone(published);
      const { taken, left } = subtractMappings(published, mappings);
      assert.equal(published, before);
      assert.equal([...pairs(taken), ...pairs(left)].sort(), meaning(published));
      const any = new Set(pairs(mappings));
      const named = (pair: string) => any.has(pair) || any.has(pair.replace(/\d+:/, 'any:'));
      assert.equal(pairs(left).filter(named), []);
      assert.equal(
        pairs(taken).filter((pair) => !named(pair)),
        [],
      );
      const ports = published.map(resolve);
      assert.equal(shown(subtract(ports, mappings).left), texts(left));
      assert.equal(without(ports, taken.map(resolve)), left.map(resolve));
    }),
    { numRuns: 1000 },
  );
});

list('a published port ends its request: by number first, then one random request', () => {
  const gone = (requested: PortRequest[], ...published: PortRequest[]) =>
    texts(unrequest(requested, published.map(resolve)));
  assert.equal(gone([RANGE], at(8081, 81)), [' 8080:80/tcp', ' 8082-8084:82-84/tcp']);
  assert.equal(gone([at(0, 80), at(8080, 80)], at(8080, 80)), [' 0:80/tcp']);
  assert.equal(gone([at(0, 80), at(8080, 80)], at(49_152, 80)), [' 8080:80/tcp']);
  assert.equal(gone([at(0, 80), at(0, 80)], at(49_152, 80)), [' 0:80/tcp']);
  assert.equal(gone([at(0, 80), at(0, 80)], at(49_152, 80), at(49_153, 80)), []);
  assert.equal(gone([at(0, 80, { range: 3 })], at(49_153, 81)), [' 0:80/tcp', ' 0:82/tcp']);
  assert.equal(gone([at(0, 80)], at(49_152, 81)), [' 0:80/tcp']);
});

list('a request by number and a random one are two requests', () => {
  const given = resolve({ host_port: 40_000, container_port: 80 });
  const byChance: PortRequest = { container_port: 80 };
  assert.equal(unrequest([byChance], [given]), []);
  assert.equal(unrequest([{ ...byChance, host_port: 0 }], [given]), []);
  assert.equal(unrequest([{ host_port: 8080, container_port: 80 }], [given]).length, 1);
  const taken = subtractMappings([byChance], [{ host_port: 40_000, container_port: 80 }]);
  assert.equal([taken.taken.length, taken.left.length], [0, 1]);
});

list('runs that interleave, touch, or are beside the named ones are handled', () => {
  const wish = (host_port: number, container_port: number, more: Partial<PortRequest> = {}): PortRequest => ({
    host_ip: '',
    protocol: 'tcp',
    host_port,
    container_port,
    range: 1,
    ...more,
  });
  const made = (...wishes: PortRequest[]) => {
    const answer = coalesce(wishes);
    return 'ports' in answer
      ? answer.ports.map(({ host_port, range }) => `${host_port}+${range}`)
      : answer.fault.message;
  };
  assert.equal(made(wish(10, 20), wish(12, 99), wish(14, 24)), ['10+1', '12+1', '14+1']);
  assert.equal(made(wish(10, 20), wish(14, 24), wish(15, 25)), ['10+1', '14+2']);
  const narrow = wish(10, 21, { host_ip: '192.0.2.1' });
  assert.equal(made(wish(10, 20), narrow), made(narrow, wish(10, 20)));
  const port = resolve({ host_port: 80, container_port: 80 });
  for (const beside of [wish(81, 81), wish(79, 79)])
    assert.equal(subtract([port], [beside]), { taken: [], left: [port] });
  const cut = subtractMappings([{ container_port: 80, range: 3 }], [{ container_port: 81 }]);
  assert.equal(
    cut.left,
    [80, 82].map((container_port) => ({ container_port, range: 1 })),
  );
  // A random port is not named by a number, whatever its container port.
  assert.equal(subtractMappings([{ container_port: 80, range: 2 }], [wish(1, 81)]).taken, []);
});

list('a list is ordered by address as text, protocol, host port', () => {
  const wish = (host_ip: string, protocol: 'tcp' | 'udp', host_port: number): PortRequest => ({
    host_ip,
    protocol,
    host_port,
    container_port: host_port + 1,
    range: 1,
  });
  const sorted = [
    wish('', 'tcp', 90),
    wish('', 'udp', 80),
    wish('192.0.2.1', 'tcp', 7),
    wish('192.0.2.1', 'udp', 5),
    wish('::1', 'tcp', 1),
  ];
  for (const order of [sorted, sorted.toReversed(), [2, 0, 4, 1, 3].map((i) => sorted[i]!)]) {
    const answer = coalesce(order);
    assert.equal('ports' in answer && answer.ports, sorted);
  }
});

list.run();

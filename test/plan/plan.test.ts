/**
 * Addresses and host ports: each is granted to one owner, never one that is not allowed, and refused only when there is
 * no other way. plan.network.test.ts has networks and attachments. Over 400 lines because addresses and ports are
 * granted by one rule, which every case shows from another side.
 */
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, fromCallback } from 'xstate';
import { grantLease, NO_LEASES, type Cursors, type Leases } from '../../plan/networks/lease.ts';
import { automaticMac } from '../../plan/addresses/mac.ts';
import { bridgeMac } from '../../plan/addresses/neighbours.ts';
import { innerMappings } from '../../plan/ports/outer.ts';
import { claimPorts, portTargets, type Claims } from '../../plan/ports/ports.ts';
import { portsMachine, type PortsAnswer } from '../../machines/ports.ts';
import type { ResolvedPort, PortRequest } from '../../state/container.ts';
import type { AttachmentOptions, PortMapping } from '../../state/event.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { definition, resolve } from '../harness/fixtures.ts';

const plan = suite('plan of leases and ports');

/** Leases as the network's machine keeps them, without a machine. */
class Granting {
  leases: Leases = NO_LEASES;
  cursors: Cursors = {};
  readonly network: NetworkDefinition;
  constructor(network: NetworkDefinition) {
    this.network = network;
  }
  join(owner: string, options: AttachmentOptions = {}): string[] | string {
    const answer = grantLease(this.network, this.leases, this.cursors, owner, options);
    if ('fault' in answer) return answer.fault.code;
    this.leases = new Map(this.leases).set(owner, answer.lease);
    this.cursors = answer.cursors;
    return answer.lease.addresses.map(({ address }) => address);
  }
  leave(owner: string): void {
    this.leases = new Map([...this.leases].filter(([other]) => other !== owner));
  }
  held(): string[] {
    return [...this.leases.values()].flatMap(({ addresses }) => addresses.map(({ address }) => address));
  }
}

type Word = { owner: number; word: 'join' | 'leave'; static: number | null };
const words = fc.array(
  fc.record<Word>({
    owner: fc.nat(11),
    word: fc.constantFrom('join', 'join', 'leave'),
    static: fc.option(fc.nat(15), { nil: null, freq: 4 }),
  }),
  { maxLength: 80 },
);

const nth = (cidr: string, n: number): string => {
  const [network] = ipaddr.parseCIDR(cidr);
  const bytes = network.toByteArray();
  bytes[bytes.length - 1]! += n;
  return ipaddr.fromByteArray(bytes).toString();
};

/**
 * Subnets of few addresses, so that they fill up. `free`: the addresses that may be granted without a request for them.
 */
const SMALL: { title: string; network: NetworkDefinition; free: string[] }[] = (
  [
    ['/29', '10.89.0.0/29', 1, undefined, [2, 3, 4, 5, 6]],
    ['/29, gateway last', '10.89.0.8/29', 6, undefined, [1, 2, 3, 4, 5]],
    ['/30', '10.89.0.0/30', 1, undefined, [2]],
    ['/31', '10.89.0.0/31', 0, undefined, [1]],
    ['lease range', '10.89.0.0/28', 1, [4, 6], [4, 5, 6]],
    ['lease range with the gateway in it', '10.89.0.0/28', 5, [4, 6], [4, 6]],
    ['lease range as wide as the subnet', '10.89.0.0/29', 1, [0, 7], [2, 3, 4, 5, 6]],
    ['IPv6 /126', 'fd00::/126', 1, undefined, [2, 3]],
    ['IPv6 lease range', 'fd00::/64', 1, [8, 10], [8, 9, 10]],
  ] as const
).map(([title, subnet, gateway, range, free]) => {
  const network = definition('web', subnet, nth(subnet, gateway));
  const lease_range = range && { start_ip: nth(subnet, range[0]), end_ip: nth(subnet, range[1]) };
  if (lease_range) network.subnets = [{ subnet, gateway: nth(subnet, gateway), lease_range }];
  return { title, network, free: free.map((n) => nth(subnet, n)) };
});

for (const { title, network, free } of SMALL) {
  plan(`leases in ${title} have one owner, use only allowed addresses, and end only when the subnet is full`, () => {
    const { subnet, gateway } = network.subnets[0]!;
    fc.assert(
      fc.property(words, (sequence) => {
        const granting = new Granting(network);
        for (const { owner: n, word, static: wish } of sequence) {
          const owner = `c${n}`;
          if (word === 'leave') {
            granting.leave(owner);
            continue;
          }
          const before = granting.held();
          const had = granting.leases.get(owner)?.addresses.map(({ address }) => address);
          const address = wish === null ? null : nth(subnet, wish % 16);
          const answer = granting.join(owner, address === null ? {} : { static_ips: [address] });
          if (had !== undefined) assert.equal(answer, had, 'the same owner has another lease');
          else if (typeof answer !== 'string') {
            assert.is(answer.length, 1);
            const [given = ''] = answer;
            assert.not(before.includes(given), `${given} has two owners`);
            assert.is.not(given, gateway);
            if (address === null) assert.ok(free.includes(given), `${given} is not to be given`);
            else assert.is(given, address);
          } else if (answer === 'SUBNET_FULL') {
            assert.equal(
              free.filter((one) => !before.includes(one)),
              [],
              'refused, and there are addresses',
            );
          } else {
            assert.ok(address !== null, answer);
            assert.match(answer, /^ADDRESS_(TAKEN|OUTSIDE_SUBNET)$/);
          }
        }
      }),
      { numRuns: 60 },
    );
  });
}

plan('an address rests before another owner gets it', () => {
  const granting = new Granting(definition('web', '10.89.0.0/29', '10.89.0.1'));
  assert.equal(granting.join('a'), ['10.89.0.2']);
  granting.leave('a');
  assert.equal(granting.join('b'), ['10.89.0.3']);
});

plan('a refused static address comes with the reason, and its owner', () => {
  const granting = new Granting(definition('web', '10.89.0.0/24', '10.89.0.1'));
  granting.join('first', { static_ips: ['10.89.0.9'], static_mac: '02:00:00:00:00:01' });
  const asked = (options: AttachmentOptions) => {
    const answer = grantLease(granting.network, granting.leases, {}, 'second', options);
    return 'fault' in answer ? [answer.fault.code, answer.fault.owner] : 'granted';
  };
  assert.equal(asked({ static_ips: ['10.89.0.9'] }), ['ADDRESS_TAKEN', 'first']);
  assert.equal(asked({ static_mac: '02:00:00:00:00:01' }), ['MAC_TAKEN', 'first']);
  assert.equal(asked({ static_ips: ['10.89.0.1'] }), ['ADDRESS_TAKEN', 'network web']);
  assert.equal(asked({ static_ips: ['10.89.0.0'] }), ['ADDRESS_TAKEN', 'network web']);
  assert.equal(asked({ static_ips: ['10.89.0.255'] }), ['ADDRESS_TAKEN', 'network web']);
  assert.equal(asked({ static_ips: ['10.90.0.9'] }), ['ADDRESS_OUTSIDE_SUBNET', undefined]);
  assert.is(asked({ static_ips: ['10.89.0.10'] }), 'granted');
});

plan('a MAC belongs to one owner on the network, requested or not, bridge and gateway included', () => {
  const network = definition('web', '10.89.0.0/16', '10.89.0.1');
  const macOf = (answer: ReturnType<typeof grantLease>) =>
    'fault' in answer ? `${answer.fault.code} ${answer.fault.owner}` : answer.lease.mac;
  const join = (leases: Leases, owner: string, static_mac?: string) =>
    grantLease(network, leases, {}, owner, static_mac === undefined ? {} : { static_mac });
  const automatic = join(NO_LEASES, 'first:1');
  assert.ok('lease' in automatic);
  const first = new Map([['first:1', automatic.lease]]);
  assert.is(macOf(join(first, 'second:1', automatic.lease.mac)), 'MAC_TAKEN first');
  assert.is(macOf(join(NO_LEASES, 'second:1', bridgeMac(network.id))), 'MAC_TAKEN network web');
  // However many there are, before and after it.
  const macs = ['02:00:00:00:00:01', '02:00:00:00:00:02', '02:00:00:00:00:03'];
  const many: Leases = new Map(macs.map((mac, i) => [`c${i}:1`, { ...automatic.lease, mac }]));
  macs.forEach((mac, i) => assert.is(macOf(join(many, 'last:1', mac)), `MAC_TAKEN c${i}`));
  // Requested first: the automatic one is another; the next one where that is taken too.
  const wish = join(NO_LEASES, 'claims:1', automatic.lease.mac);
  assert.ok('lease' in wish);
  const second = join(new Map([['claims:1', wish.lease]]), 'first:1');
  assert.ok('lease' in second);
  assert.is.not(second.lease.mac, automatic.lease.mac);
  const third = join(
    new Map([
      ['claims:1', wish.lease],
      ['more:1', second.lease],
    ]),
    'first:1',
  );
  assert.is(new Set([automatic.lease.mac, second.lease.mac, macOf(third)]).size, 3);
  // The same again: after a crash, the same request comes.
  assert.is(macOf(join(NO_LEASES, 'first:1')), automatic.lease.mac);
  // Two containers that have had one MAC since an older version go on.
  const twins = new Map([
    ['a:1', wish.lease],
    ['b:1', wish.lease],
  ]);
  assert.is(macOf(join(twins, 'a:1')), wish.lease.mac);
  assert.is(macOf(join(twins, 'b:1', wish.lease.mac)), wish.lease.mac);
});

plan('a lease says all that its network says', () => {
  const network = definition('web', '10.89.0.0/24', '10.89.0.1', {
    subnets: [
      { subnet: '10.89.0.0/24', gateway: '10.89.0.1' },
      { subnet: 'fd00:89::/80', gateway: 'fd00:89::1' },
    ],
    routes: [
      { destination: '192.0.2.0/25', gateway: '10.89.0.9', metric: 7 },
      { destination: '2001:db8::/48', gateway: 'fd00:89::9' },
    ],
    options: { mtu: '1400', metric: '50' },
    dns_enabled: true,
    network_dns_servers: ['192.0.2.53'],
  });
  const granted = (of: NetworkDefinition) => {
    const grant = grantLease(of, NO_LEASES, {}, 'c:1', { static_mac: '02:00:00:00:00:09' });
    if ('fault' in grant) throw new Error(grant.fault.message);
    return grant.lease;
  };
  const lease = {
    network: 'web',
    networkId: network.id,
    bridge: 'cl-web',
    addresses: [
      { address: '10.89.0.2', prefix: 24, gateway: '10.89.0.1' },
      { address: 'fd00:89::2', prefix: 80, gateway: 'fd00:89::1' },
    ],
    mac: '02:00:00:00:00:09',
    mtu: 1400,
    routes: [
      { destination: '192.0.2.0', prefix: 25, gateway: '10.89.0.9', metric: 7 },
      { destination: '2001:db8::', prefix: 48, gateway: 'fd00:89::9', metric: null },
    ],
    defaultMetric: 50,
    internal: false,
    dns: { listen: ['10.89.0.1', 'fd00:89::1'], servers: ['192.0.2.53'] },
  };
  assert.equal(granted(network), lease);
  // Without a way out there is no gateway; without options the defaults apply.
  assert.equal(granted({ ...network, internal: true, dns_enabled: false, options: {} }), {
    ...lease,
    addresses: lease.addresses.map((address) => ({ ...address, gateway: null })),
    mtu: null,
    defaultMetric: null,
    internal: true,
    dns: null,
  });
  const metric = (options: NetworkDefinition['options']) => granted({ ...network, options }).defaultMetric;
  assert.equal(
    [{}, { no_default_route: 'true' }, { no_default_route: '1' }, { no_default_route: 'false' }].map((one) =>
      metric(one as NetworkDefinition['options']),
    ),
    [100, null, null, 100],
  );
});

plan('automatic MACs are unicast, locally administered and all different', () => {
  const network = definition('web', '10.0.0.0/8', '10.0.0.1');
  const taken = new Set<string>();
  for (let n = 0; n < 5000; n++) {
    const mac = automaticMac(`web${n}:1700000000000/${network.id}`, taken);
    assert.match(mac, /^02(:[0-9a-f]{2}){5}$/);
    assert.not(taken.has(mac));
    taken.add(mac);
  }
  assert.is.not(automaticMac('a', new Set()), automaticMac('a', new Set([automaticMac('a', new Set())])));
});

plan('the same static address requested twice is one address', () => {
  const granting = new Granting(definition('web', '10.89.0.0/24', '10.89.0.1'));
  assert.equal(granting.join('a', { static_ips: ['10.89.0.9', '10.89.0.9'] }), ['10.89.0.9']);
});

plan('a network of two families gives one address of each, static in one', () => {
  const network = definition('web', '10.89.0.0/24', '10.89.0.1');
  network.subnets.push({ subnet: 'fd00::/64', gateway: 'fd00::1' });
  assert.equal(new Granting(network).join('a'), ['10.89.0.2', 'fd00::2']);
  assert.equal(new Granting(network).join('a', { static_ips: ['fd00::99'] }), ['10.89.0.2', 'fd00::99']);
});

const HOSTS = ['', '0.0.0.0', '::', '127.0.0.1', '192.0.2.1', '::1'];

/** The addresses that a host IP means, on a host that has these. */
const meaning = (ip: string): string[] => {
  const all = ['127.0.0.1', '192.0.2.1', '::1'];
  if (ip === '') return all;
  if (ip === '0.0.0.0') return all.filter((one) => !one.includes(':'));
  return ip === '::' ? all.filter((one) => one.includes(':')) : [ip];
};

plan('host ports: two owners collide exactly when address, port and protocol are the same', () => {
  const mapping = fc.record({
    host_ip: fc.constantFrom(...HOSTS),
    host_port: fc.integer({ min: 8000, max: 8004 }),
    range: fc.integer({ min: 1, max: 3 }),
    protocol: fc.constantFrom('tcp' as const, 'udp' as const),
    container_port: fc.constant(80),
  });
  const cells = ({ host_ip, host_port, range, protocol }: Filled) =>
    meaning(host_ip).flatMap((ip) => Array.from({ length: range }, (_, i) => `${protocol} ${ip} ${host_port + i}`));
  fc.assert(
    fc.property(mapping, mapping, (a, b) => {
      const claims: Claims = { first: [resolve(a)] };
      const answer = claimPorts(claims, 65_535, 'second', [b]);
      const clash = cells(a).some((cell) => cells(b).includes(cell));
      assert.is('fault' in answer && answer.fault.code === 'PORT_TAKEN' && answer.fault.owner === 'first', clash);
    }),
    { numRuns: 500 },
  );
});

interface Filled {
  host_ip: string;
  host_port: number;
  range: number;
  protocol: string;
}

const claim = (claims: Claims, mappings: PortMapping[], cursor = 65_535, avoid: number[] = []) => {
  const answer = claimPorts(claims, cursor, 'me', mappings, avoid);
  return 'fault' in answer ? answer.fault.code : answer.ports.map(({ hostPort }) => hostPort);
};

plan('host ports: one owner does not collide with itself', () => {
  const P = { host_port: 8080, container_port: 80 };
  const mine: Claims = { me: [resolve(P)] };
  assert.is.not(claim(mine, [P]), 'PORT_TAKEN', 'the same again is mine');
  assert.is(claim(mine, [{ ...P, container_port: 81 }]), 'PORT_TAKEN');
  assert.is(claim(mine, [{ ...P, container_port: 81, host_ip: '127.0.0.1' }]), 'PORT_TAKEN');
  for (const host_ip of ['127.0.0.1', '0.0.0.0', '::', '::1']) {
    const part = { ...P, host_ip };
    assert.equal(claim(mine, [part]), [], `${host_ip}: on all addresses it is mine already`);
    assert.equal(claim({}, [part, P]), [8080], `${host_ip}: both asked for, one after the other`);
    assert.is(claim({ me: [resolve(part)] }, [P]), 'PORT_TAKEN', `${host_ip}: the others are not a port of their own`);
  }
  assert.equal(claim(mine, [{ ...P, protocol: 'udp' }]), [8080]);
  assert.equal(claim({}, [P, P]), [8080], 'twice the same in one request is one');
  assert.is(claim({}, [P, { ...P, container_port: 81 }]), 'PORT_TAKEN');
  assert.equal(
    claim({}, [
      { ...P, host_ip: '127.0.0.1' },
      { ...P, host_ip: '192.0.2.1' },
    ]),
    [8080, 8080],
  );
});

plan('host ports: the part of a range that an owner has is not new, the rest is', () => {
  const P = { host_port: 8080, container_port: 80 };
  const mine: Claims = { me: [resolve({ ...P, range: 3 })] };
  assert.equal(claim(mine, [{ host_port: 8081, container_port: 81 }]), []);
  const more = claimPorts(mine, 65_535, 'me', [{ host_port: 8079, container_port: 79, range: 5 }]);
  assert.equal('ports' in more && more.ports, [
    resolve({ host_port: 8079, container_port: 79 }),
    resolve({ host_port: 8083, container_port: 83 }),
  ]);
  assert.is(claim(mine, [{ host_port: 8081, container_port: 80 }]), 'PORT_TAKEN');
  assert.is(
    claim({ ...mine, other: [resolve({ host_port: 8083, container_port: 1 })] }, [{ ...P, range: 4 }]),
    'PORT_TAKEN',
  );
});

plan('host ports: numbered ports are chosen before random ones, in any order', () => {
  const N = { host_port: 49_152, container_port: 81 };
  assert.equal(claim({}, [{ container_port: 80 }, N]), [49_153, 49_152]);
});

plan('host ports behind an outer publisher share an inner port if they have one destination', () => {
  const P = { host_port: 8080, container_port: 80, host_ip: '', outer_ip: '127.0.0.1' };
  const granted = (claims: Claims, mappings: PortRequest[]) => {
    const answer = claimPorts(claims, 65_535, 'me', mappings);
    return 'fault' in answer ? answer.fault.code : answer.ports.map(({ outerIp, hostIp }) => `${hostIp}${outerIp}`);
  };
  const Q = { ...P, outer_ip: '::1' };
  assert.equal(granted({}, [P, Q, P]), ['127.0.0.1', '::1']);
  assert.equal(granted({ me: [{ ...resolve(P), outerIp: '127.0.0.1' }] }, [P, Q]), ['::1']);
  assert.is(granted({}, [P, { ...Q, container_port: 81 }]), 'PORT_TAKEN');
  assert.is(granted({ other: [{ ...resolve(P), outerIp: '127.0.0.1' }] }, [Q]), 'PORT_TAKEN');
});

plan('mappings behind an outer publisher move the host address out, in copies', () => {
  const from: PortMapping[] = [{ container_port: 80 }, { container_port: 81, host_ip: '127.0.0.1', range: 2 }];
  const before = structuredClone(from);
  const inner = innerMappings(from);
  assert.equal(from, before);
  assert.equal(inner, [
    { container_port: 80, host_ip: '', outer_ip: '' },
    { container_port: 81, host_ip: '', outer_ip: '127.0.0.1', range: 2 },
  ]);
  assert.equal(innerMappings(inner), inner);
  const claimed = claimPorts({}, 65_535, 'me', inner);
  assert.equal('ports' in claimed && claimed.ports.map(({ hostIp, outerIp }) => [hostIp, outerIp]), [
    ['', ''],
    ['', '127.0.0.1'],
  ]);
});

plan('a part of a range can be released alone', () => {
  const answers: PortsAnswer[] = [];
  const asker = createActor(fromCallback(({ receive }) => receive((event) => answers.push(event as PortsAnswer))));
  const ports = createActor(portsMachine, {
    input: { adopted: { a: [resolve({ host_port: 8080, container_port: 80, range: 3 })] } },
  });
  asker.start();
  ports.start();
  const claimed = (host_port: number) => {
    answers.length = 0;
    ports.send({
      type: 'claim',
      owner: 'b',
      from: asker,
      avoid: [],
      giver: null,
      ports: [{ host_port, container_port: 1 }],
    });
    return answers.map(({ type }) => type).join();
  };
  assert.is(claimed(8081), 'refused');
  ports.send({ type: 'unclaim', owner: 'a', ports: [resolve({ host_port: 8081, container_port: 81 })] });
  assert.equal([claimed(8080), claimed(8081), claimed(8082)], ['refused', 'claimed', 'refused']);
  ports.stop();
  asker.stop();
});

plan('random host ports are chosen in turn, around the end, without avoided and own ones', () => {
  const R = { container_port: 80 };
  assert.equal(claim({}, [R, R]), [49_152, 49_153]);
  assert.equal(claim({}, [R], 65_534), [65_535]);
  assert.equal(claim({}, [R], 65_535), [49_152]);
  assert.equal(claim({}, [R], 65_535, [49_152, 49_153]), [49_154]);
  assert.equal(claim({ other: [resolve({ host_port: 49_152, container_port: 1, range: 3 })] }, [R]), [49_155]);
  assert.equal(claim({ me: [resolve({ host_port: 49_152, container_port: 1 })] }, [R]), [49_153]);
  assert.equal(claim({}, [{ ...R, range: 10 }, R]), [49_152, 49_162]);
  assert.equal(claim({}, [{ ...R, range: 10 }], 65_530), [49_152]);
  assert.equal(claim({}, [{ ...R, range: 3 }], 65_535, [49_153]), [49_154]);
});

plan('random host ports: a lack of free ports is reported, and no port is above 65535', () => {
  const all: Claims = { other: [resolve({ host_port: 49_152, container_port: 1, range: 16_384 })] };
  assert.is(claim(all, [{ container_port: 80 }]), 'NO_FREE_PORT');
  assert.equal(claim(all, [{ container_port: 80, protocol: 'udp' }]), [49_152]);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 65_000 }), fc.integer({ min: 49_152, max: 65_535 }), (range, cursor) => {
      const answer = claimPorts({}, cursor, 'me', [{ container_port: 1, range }]);
      if ('fault' in answer) return assert.ok(range > 16_384);
      const port = answer.ports[0]!;
      assert.ok(port.hostPort + port.range - 1 <= 65_535, `${range} ports from ${port.hostPort}`);
      assert.ok(answer.cursor <= 65_535);
    }),
  );
});

plan('targets: there is one per port and family that fits', () => {
  const both = ['10.89.0.2', 'fd00::2'];
  const targets = (mapping: PortMapping) =>
    portTargets([resolve(mapping)], both).map(
      ({ hostPort, address, containerPort }) => `${hostPort} ${address} ${containerPort}`,
    );
  const P = { host_port: 8080, container_port: 80 };
  assert.equal(targets(P), ['8080 10.89.0.2 80', '8080 fd00::2 80']);
  assert.equal(targets({ ...P, host_ip: '0.0.0.0' }), ['8080 10.89.0.2 80']);
  assert.equal(targets({ ...P, host_ip: '::1', range: 2 }), ['8080 fd00::2 80', '8081 fd00::2 81']);
});

plan('targets: each is removed once, without those that others need', () => {
  const outer = (outerIp: string, range = 1) => ({
    ...resolve({ host_port: 8080, container_port: 80, range }),
    outerIp,
  });
  const ends = (ports: ResolvedPort[], kept: ResolvedPort[] = []) =>
    portTargets(ports, ['10.89.0.2'], kept).map(({ hostPort }) => hostPort);
  assert.equal(ends([outer('127.0.0.1'), outer('::1', 2)]), [8080, 8081]);
  assert.equal(ends([outer('::1', 2)], [outer('127.0.0.1')]), [8081]);
});

plan.run();

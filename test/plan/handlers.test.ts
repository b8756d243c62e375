/** The targets of published ports with each port handler, which ports collide, and the MTU by the way out. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sameOptions } from '../../plan/containers/options.ts';
import { containerIdOf } from '../../plan/owner.ts';
import { claimPorts, portTargets, targetsFor } from '../../plan/ports/ports.ts';
import { asFound, narrowest, NO_WAY_OUT, remembered, withMtu } from '../../plan/networks/way-out.ts';
import type { PortTarget, ResolvedPort, PortRequest } from '../../state/container.ts';
import type { AttachmentOptions } from '../../state/event.ts';
import { definition, resolve } from '../harness/fixtures.ts';

const textOf = ({ protocol, hostIp, hostPort, address, containerPort }: PortTarget): string =>
  `${protocol} ${hostIp || '*'} ${hostPort} -> ${address} ${containerPort}`;
const BOTH = ['10.89.0.2', 'fd00::2'];
const RANGE = resolve({ host_port: 8080, container_port: 80, range: 2 });
const ONE = resolve({ host_port: 53, container_port: 5353, protocol: 'udp', host_ip: '192.0.2.1' });

const handlers = suite('who carries ports');

handlers('the firewall gets each port for each address of its family', () => {
  const to = (ports: ResolvedPort[], addresses = BOTH) => targetsFor(undefined, ports, addresses).map(textOf);
  assert.equal(to([RANGE, ONE]), [
    'tcp * 8080 -> 10.89.0.2 80',
    'tcp * 8080 -> fd00::2 80',
    'tcp * 8081 -> 10.89.0.2 81',
    'tcp * 8081 -> fd00::2 81',
    'udp 192.0.2.1 53 -> 10.89.0.2 5353',
  ]);
  assert.equal(to([ONE], ['fd00::2']), []);
  assert.equal(targetsFor('firewall', [ONE], BOTH).map(textOf), to([ONE]));
  // Behind an outer publisher two ports can have one target; a target that another port needs is kept.
  assert.equal(to([ONE, ONE]), to([ONE]));
  assert.equal(
    portTargets([RANGE], BOTH, [{ ...RANGE, hostPort: 8081, range: 1 }]).map(textOf),
    to([RANGE]).slice(0, 2),
  );
});

handlers('slirp4netns carries IPv4 alone, and pasta gets its ports when it starts', () => {
  // It lists a port on every address as 0.0.0.0.
  assert.equal(targetsFor('slirp4netns', [RANGE], BOTH).map(textOf), [
    'tcp 0.0.0.0 8080 -> 10.89.0.2 80',
    'tcp 0.0.0.0 8081 -> 10.89.0.2 81',
  ]);
  assert.equal(targetsFor('slirp4netns', [ONE], BOTH).map(textOf), ['udp 192.0.2.1 53 -> 10.89.0.2 5353']);
  assert.equal(targetsFor('pasta', [RANGE, ONE], BOTH), []);
});

handlers('the forwarder gets a literal address for each family, in the other family if one is missing', () => {
  const to = (ports: ResolvedPort[], addresses = BOTH) => targetsFor('forwarder', ports, addresses).map(textOf);
  assert.equal(to([RANGE, ONE]), [
    'tcp 0.0.0.0 8080 -> 10.89.0.2 80',
    'tcp 0.0.0.0 8081 -> 10.89.0.2 81',
    'tcp :: 8080 -> fd00::2 80',
    'tcp :: 8081 -> fd00::2 81',
    'udp 192.0.2.1 53 -> 10.89.0.2 5353',
  ]);
  assert.equal(to([ONE], ['fd00::2', 'fd00::3']), ['udp 192.0.2.1 53 -> fd00::2 5353']);
  assert.equal(to([ONE], []), []);
  assert.equal(to([ONE], ['10.89.0.2', '10.89.0.3']), ['udp 192.0.2.1 53 -> 10.89.0.2 5353']);
  // The first request for a host port gets it.
  assert.equal(to([ONE, { ...ONE, containerPort: 99 }]), to([ONE]));
});

handlers('claims that conflict with one owner’s ports are found', () => {
  const claim = (wishes: PortRequest[], own: PortRequest[] = [], avoid: number[] = [], cursor = 65_535) => {
    const held = own.map((wish) => ({ ...resolve(wish), outerIp: wish.outer_ip ?? null }));
    const answer = claimPorts({ 'c1:7': held }, cursor, 'c1:7', wishes, avoid);
    if ('fault' in answer) return answer.fault.message;
    return answer.ports.map(({ hostIp, hostPort, range }) => `${hostIp || '*'} ${hostPort}+${range}`).join(', ');
  };
  // Behind an outer publisher two outer addresses use one inner port, if they have one destination.
  const outer = (outer_ip: string, more: Partial<PortRequest> = {}): PortRequest => ({
    host_port: 80,
    container_port: 80,
    host_ip: '',
    outer_ip,
    ...more,
  });
  assert.is(claim([outer('192.0.2.1'), outer('192.0.2.2')]), '* 80+1, * 80+1');
  assert.is(claim([outer('192.0.2.1'), outer('192.0.2.2', { container_port: 81 })]), 'port 80/tcp is asked for twice');
  assert.is(
    claim([outer('192.0.2.1')], [{ host_port: 80, container_port: 81 }]),
    'port 80/tcp is already published by c1',
  );
  // The narrower one is part of the wider one when both have one destination.
  const wide = { host_port: 80, container_port: 80 };
  for (const host_ip of ['0.0.0.0', '::', '192.0.2.1', '2001:db8::1']) {
    const order = [{ ...wide, host_ip }, wide];
    assert.is(claim(order), '* 80+1', host_ip);
    assert.is(claim(order.toReversed()), '* 80+1', host_ip);
  }
  assert.is(
    claim([
      { ...wide, host_ip: '192.0.2.1' },
      { ...wide, host_ip: '0.0.0.0' },
    ]),
    '0.0.0.0 80+1',
  );
  assert.is(
    claim([
      { ...wide, host_ip: '2001:db8::1' },
      { ...wide, host_ip: '::' },
    ]),
    ':: 80+1',
  );
  // Random ports: in turn, never one that another program has, nor one twice.
  assert.is(claim([{ container_port: 80 }, { container_port: 81 }], [], [], 40_000), '* 40001+1, * 40002+1');
  assert.is(claim([{ container_port: 80, range: 3 }, { container_port: 81 }], [], [], 40_000), '* 40001+3, * 40004+1');
  assert.is(claim([{ container_port: 80, range: 2 }], [], [40_002], 40_000), '* 40003+2');
  assert.is(claim([{ container_port: 80, range: 2 }], [], [40_003], 40_000), '* 40001+2');
  assert.is(claim([{ container_port: 80 }], [{ host_port: 40_001, container_port: 1 }], [], 40_000), '* 40002+1');
  // All but one are in use: it is found wherever it is, and granted once.
  const FIRST = 49_152;
  const SIZE = 16_384;
  const span = (from: number, to: number): PortRequest[] =>
    from < to ? [{ host_port: from, container_port: from, range: to - from }] : [];
  const others = (free: number) => [...span(FIRST, free), ...span(free + 1, FIRST + SIZE)];
  for (const free of [FIRST, 60_000, FIRST + SIZE - 1]) {
    assert.is(claim([{ container_port: 80 }], others(free), [], 60_000), `* ${free}+1`);
    assert.match(
      claim([{ container_port: 80 }, { container_port: 81 }], others(free), [], 60_000),
      /^no free host port/,
    );
  }
  assert.is(claim([{ container_port: 1, range: SIZE }], [], [], 60_000), `* ${FIRST}+${SIZE}`);
  assert.match(claim([{ container_port: 1, range: SIZE + 1 }], [], [], 60_000), /^no free host port/);
  assert.is(claim([wide], [outer('192.0.2.1')]), 'port 80/tcp is already published by c1');
  for (const narrow of ['192.0.2.1', '0.0.0.0']) assert.is(claim([outer(narrow), outer('')]), '* 80+1', narrow);
  assert.is(claim([outer('192.0.2.1'), outer('0.0.0.0')]), '* 80+1');
  assert.equal([containerIdOf('c1:17'), containerIdOf('a:1:17')], ['c1', 'a:1']);
});

handlers('missing options have the default, and their order does not matter', () => {
  const same = (a: AttachmentOptions, b: AttachmentOptions) => sameOptions(a, b);
  const usual = { static_ips: [], aliases: [], gateway_priority: 0 };
  assert.ok(same({}, {}) && same({}, usual) && same(usual, {}));
  const all = {
    static_ips: ['10.0.0.2', '10.0.0.1'],
    static_mac: '02:00:00:00:00:01',
    interface_name: 'lan0',
    aliases: ['b', 'a'],
    gateway_priority: 7,
  };
  assert.ok(same(all, { ...all, static_ips: all.static_ips.toReversed(), aliases: all.aliases.toReversed() }));
  for (const key of Object.keys(all) as (keyof typeof all)[]) {
    const { [key]: one, ...others } = all;
    assert.not(same(all, others), key);
    assert.not(same({}, { [key]: one }), key);
  }
  assert.not(same({ aliases: ['a'] }, { static_ips: ['a'] }));
});

const V4 = definition('four', '10.89.0.0/24', '10.89.0.1');
const V6 = definition('six', 'fd00:1::/64', 'fd00:1::1');
const DUAL = { ...V4, subnets: [...V4.subnets, ...V6.subnets] };

handlers('the MTU of a network is that of its narrowest way out', () => {
  const ways = { 4: 1450, 6: 1400 };
  assert.equal(
    [V4, V6, DUAL].map((network) => narrowest(network, ways)),
    [1450, 1400, 1400],
  );
  assert.is(narrowest(DUAL, { 4: 1400, 6: 1450 }), 1400);
  assert.is(narrowest(DUAL, { 4: null, 6: 1450 }), 1450);
  assert.is(narrowest(V4, { 4: null, 6: 1450 }), null);
  assert.is(narrowest({ ...V4, internal: true }, ways), null);
  const mtu = (network: typeof V4, of: number, options = {}) =>
    withMtu({ ...network, options: { ...network.options, ...options } }, { 4: of, 6: of }).options.mtu;
  assert.equal([mtu(V4, 1450), mtu(V4, 1500), mtu(V4, 9000)], ['1450', undefined, '9000']);
  assert.is(withMtu(V4, { 4: 1500, 6: null }), V4, 'the usual one changes nothing');
  assert.is(mtu(V4, 1400, { mtu: '1300' }), '1300');
  // RFC 791, RFC 8200, and the most that a bridge accepts.
  assert.equal(
    [mtu(V4, 10), mtu(V4, 68), mtu(V6, 1000), mtu(DUAL, 1000), mtu(V4, 1000)],
    ['68', '68', '1280', '1280', '1000'],
  );
  assert.equal([mtu(V4, 65_535), mtu(V4, 65_536)], ['65535', '65535']);
});

handlers('another MTU of the way out changes nothing else of the definition', () => {
  const network = { ...V4, options: { metric: '7' } };
  assert.equal(withMtu(network, { 4: 1400, 6: null }), { ...network, options: { metric: '7', mtu: '1400' } });
  assert.equal(remembered(NO_WAY_OUT, { 4: 1400, 6: null }), { 4: 1400, 6: null });
  assert.equal(remembered(NO_WAY_OUT, { 4: null, 6: 1400 }), { 4: null, 6: 1400 });
});

handlers('a host that has lost its route keeps the last known MTU', () => {
  assert.equal(remembered({ 4: 1400, 6: 1300 }, { 4: null, 6: 1500 }), { 4: 1400, 6: 1500 });
  assert.equal(remembered({ 4: 1400, 6: 1300 }, { 4: 1500, 6: null }), { 4: 1500, 6: 1300 });
  assert.equal(remembered({ 4: null, 6: null }, { 4: null, 6: null }), { 4: null, 6: null });
});

handlers("a network on a bridge of others has the bridge's MTU, whatever the way out is", () => {
  const lan = { ...V4, options: { mode: 'unmanaged' as const } };
  const found = asFound(lan, { 4: 1400, 6: null }, { mtu: 1300, addresses: ['10.89.0.7', '192.0.2.1'] });
  assert.equal([found.options.mtu, found.own], ['1300', ['10.89.0.7']]);
  const unseen = asFound(lan, { 4: 1400, 6: null }, null);
  assert.equal([unseen.options.mtu, unseen.own], [undefined, []]);
  const ours = asFound(V4, { 4: 1400, 6: null }, { mtu: 1300, addresses: [] });
  assert.equal([ours.options.mtu, ours.own], ['1400', undefined]);
});

handlers.run();

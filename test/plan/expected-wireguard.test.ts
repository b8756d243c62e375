/** The peers of a WireGuard link: the configuration that wg(8) reads, what is read of it, and where the two differ. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compareWireguard, configurationOf, parseDump, type Report } from '../../plan/kernel/expected-wireguard.ts';
import { compareOverlay, peerEntries, tunnelName, usablePeers, isOverlay } from '../../plan/kernel/expected-overlay.ts';
import { withMtu } from '../../plan/networks/way-out.ts';
import { peersOf } from '../../plan/overlay/peers.ts';
import { WireguardKey, type Claim, type Peer } from '../../state/overlay.ts';

const wireguard = suite('what an overlay has of WireGuard');
const key = (n: number): string => Buffer.alloc(32, n).toString('base64');
const peer = (n: number, more: Partial<Peer> = {}): Peer => ({
  host: n.toString(16).padStart(32, '0'),
  address: `192.0.2.${n}`,
  mac: `02:00:00:00:00:0${n}`,
  subnets: [`10.128.${n}.0/24`, `fd00:128:0:${n}::/64`],
  public_key: key(n),
  ...more,
});
const OVERLAY = {
  name: 'ov',
  id: 'a'.repeat(64),
  pools: ['10.128.0.0/10', 'fd00:128::/48'],
  host_prefix: 24,
  host_prefix6: 64,
  backend: 'wireguard' as const,
  vni: 7,
  port: 51_820,
  mac: '02:00:00:00:00:01',
  address: '192.0.2.1',
  public_key: key(1),
};
const definition = (peers: Peer[], overlay: object = {}) => {
  const network = {
    name: 'ov',
    id: 'a'.repeat(64),
    driver: 'overlay' as const,
    network_interface: 'cl-ov',
    created: '2026-01-01T00:00:00Z',
    subnets: [
      { subnet: '10.128.1.0/24', gateway: '10.128.1.1' },
      { subnet: 'fd00:128:0:1::/64', gateway: 'fd00:128:0:1::1' },
    ],
    ipv6_enabled: true,
    internal: false,
    dns_enabled: false,
    labels: {},
    options: {},
    ipam_options: { driver: 'host-local' },
    overlay: { ...OVERLAY, ...overlay },
    peers,
  };
  if (!isOverlay(network as never)) assert.unreachable();
  return network as unknown as Parameters<typeof peerEntries>[0];
};
const report: Report = (kind, object, problem) => ({ kind, object, network: 'ov', problem });
const DUMP = [
  ['SECRET', key(1), '51820', 'off'],
  [key(2), '(none)', '192.0.2.2:51820', '10.128.2.0/24,fd00:128:0:2::/64', '1796130072', '1', '2', 'off'],
]
  .map((fields) => fields.join('\t'))
  .join('\n');

wireguard('each other host is a section with its key, its address and its shares', () => {
  assert.is(
    configurationOf({ overlay: OVERLAY }, [peer(2), peer(3, { address: '2001:db8::3' })], 'SECRET'),
    `[Interface]
PrivateKey = SECRET
ListenPort = 51820

[Peer]
PublicKey = ${key(2)}
Endpoint = 192.0.2.2:51820
AllowedIPs = 10.128.2.0/24, fd00:128:0:2::/64

[Peer]
PublicKey = ${key(3)}
Endpoint = [2001:db8::3]:51820
AllowedIPs = 10.128.3.0/24, fd00:128:0:3::/64
`,
  );
  // Two shares of one family are two peers to us, and one to WireGuard, which knows hosts by their keys.
  const two = configurationOf({ overlay: OVERLAY }, [peer(2), peer(2, { subnets: ['10.128.9.0/24'] })], 'SECRET');
  assert.is(two.split('[Peer]').length, 2);
  assert.match(two, /AllowedIPs = 10\.128\.2\.0\/24, fd00:128:0:2::\/64, 10\.128\.9\.0\/24\n/);
});

wireguard('a dump is read without the private key', () => {
  const seen = parseDump(`${DUMP}\n`);
  assert.equal(seen?.peers, new Map([[key(2), ['10.128.2.0/24', 'fd00:128:0:2::/64']]]));
  assert.equal([seen?.publicKey, seen?.port], [key(1), 51_820]);
  assert.not.match(JSON.stringify([seen, [...(seen?.peers ?? [])]]), /SECRET/);
  assert.equal(parseDump('(none)\t(none)\t0\toff\n')?.publicKey, '(none)');
  assert.equal(
    parseDump(`a\tb\t1\toff\n${key(2)}\t(none)\t(none)\t(none)\t0\t0\t0\toff`)?.peers,
    new Map([[key(2), []]]),
  );
  for (const text of ['', 'nothing', 'a\tb\tc\td', 'a\tb\t1']) assert.is(parseDump(text), null, JSON.stringify(text));
});

wireguard('each difference of a link is told, and none of one that is as it should be', () => {
  const told = (text: string, peers = [peer(2)]) =>
    compareWireguard({ overlay: OVERLAY }, peers, 'wg-x', parseDump(text), report).map(
      ({ kind, object, problem }) => `${problem} ${kind}: ${object}`,
    );
  const shares = '10.128.2.0/24, fd00:128:0:2::/64';
  assert.equal(told(DUMP), []);
  assert.equal(told(DUMP.replace('192.0.2.2', '192.0.2.77')), [], 'a peer that has moved');
  assert.equal(
    told(DUMP.replace('10.128.2.0/24,fd00:128:0:2::/64', 'fd00:128:0:2::/64,10.128.2.0/24')),
    [],
    'an order',
  );
  assert.equal(told('nothing'), ['missing link: WireGuard on wg-x']);
  assert.equal(told(DUMP.replace(key(1), key(8))), [`changed link: public key ${key(1)} on wg-x`]);
  assert.equal(told(DUMP.replace('\t51820\t', '\t51821\t')), ['changed link: port 51820 on wg-x']);
  assert.equal(told(DUMP.split('\n')[0] ?? ''), [`missing neighbour: ${key(2)} for ${shares} on wg-x`]);
  for (const allowed of ['10.128.0.0/10', '(none)', '10.128.2.0/24'])
    assert.equal(
      told(DUMP.replace('10.128.2.0/24,fd00:128:0:2::/64', allowed)),
      [`changed neighbour: ${key(2)} for ${shares} on wg-x`],
      allowed,
    );
  assert.equal(told(DUMP, []), [`changed neighbour: no ${key(2)} on wg-x`]);
});

wireguard('other hosts are reached by the link alone, and only with a key of their own', () => {
  const of = definition([peer(2)]);
  assert.is(tunnelName(of), 'wg-aaaaaaaaaa');
  assert.equal(peerEntries(of), {
    routes: [
      { destination: '10.128.0.0', prefix: 10, gateway: null, type: 'unreachable' },
      { destination: 'fd00:128::', prefix: 48, gateway: null, type: 'unreachable' },
      { destination: '10.128.2.0', prefix: 24, gateway: null, type: 'unicast' },
      { destination: 'fd00:128:0:2::', prefix: 64, gateway: null, type: 'unicast' },
    ],
    neighbours: [],
    fdb: [],
  });
  const { public_key: _none, ...bare } = peer(2);
  assert.equal(usablePeers(definition([bare])), [], 'no key');
  assert.equal(usablePeers(definition([peer(2, { public_key: key(1) })])), [], 'ours');
  assert.is(usablePeers(definition([bare], { backend: 'vxlan' })).length, 1, 'VXLAN asks for none');
});

wireguard('a look at the kernel compares link, routes and peers', () => {
  const of = definition([peer(2)]);
  const name = 'wg-aaaaaaaaaa';
  const link = { index: 7, name, mac: '', mtu: 1500, up: true, master: 0, alias: 'ours', vxlan: null };
  const route = (destination: string, prefix: number, type: string) => ({
    destination,
    prefix,
    type,
    gateway: null,
    link: type === 'unicast' ? 7 : 0,
    metric: 0,
    table: 254,
    protocol: 207,
  });
  const dump = {
    links: [link],
    addresses: [
      { link: 7, address: '10.128.1.0', prefix: 32 },
      { link: 7, address: 'fd00:128:0:1::', prefix: 128 },
    ],
    routes: [
      route('10.128.0.0', 10, 'unreachable'),
      route('fd00:128::', 48, 'unreachable'),
      route('10.128.2.0', 24, 'unicast'),
      route('fd00:128:0:2::', 64, 'unicast'),
    ],
    neighbours: [],
    fdb: [],
    wireguard: parseDump(DUMP),
  };
  const told = (more: Partial<typeof dump>) =>
    compareOverlay(of, 'ours', { ...dump, ...more }).map(({ object, problem }) => `${problem} ${object}`);
  assert.equal(told({}), []);
  assert.equal(told({ routes: dump.routes.slice(0, 3) }), ['missing fd00:128:0:2::/64']);
  assert.equal(told({ wireguard: null }), [`missing WireGuard on ${name}`]);
  assert.equal(told({ links: [{ ...link, mtu: 1420 }] }), [`changed mtu 1500 on ${name}`]);
  assert.equal(told({ links: [] }), [`missing ${name}`]);
});

wireguard('what fits into the tunnel is the way to the other hosts, less its headers', () => {
  const mtu = (overlay: object, way: { 4: number | null; 6: number | null }) =>
    withMtu(definition([], overlay), way).options.mtu;
  assert.is(mtu({}, { 4: 1500, 6: null }), '1440');
  assert.is(mtu({}, { 4: null, 6: null }), '1440', 'unknown');
  assert.is(mtu({ address: '2001:db8::1' }, { 4: 9000, 6: 1500 }), '1420');
});

wireguard('claims without a key, or with that of another host, are left out', () => {
  const claim = (n: number, more: Partial<Claim> = {}) => {
    const { subnets: _subnets, ...rest } = peer(n);
    return {
      subnet: `10.128.${n}.0/24`,
      claim: { ...rest, generation: 1, place: 'x', ...more },
      modified: 1,
      lease: '1',
    };
  };
  const of = (keyed: boolean, ...claims: ReturnType<typeof claim>[]) => {
    const { peers, refused } = peersOf({ claims }, { pools: ['10.128.0.0/10'], mine: [], host: 'f'.repeat(32), keyed });
    return { hosts: peers.map(({ address }) => address), refused: [...refused] };
  };
  const { public_key: _none, ...bare } = claim(2).claim;
  const without = { ...claim(2), claim: bare };
  assert.equal(of(true, without, claim(3)), { hosts: ['192.0.2.3'], refused: [['10.128.2.0/24', 'has no key']] });
  assert.equal(of(false, without).hosts, ['192.0.2.2'], 'another backend has none');
  const twin = of(true, claim(2), claim(3, { public_key: key(2) }));
  assert.equal(twin, { hosts: ['192.0.2.2'], refused: [['10.128.3.0/24', `has the key of host ${peer(2).host}`]] });
  // One host with a share of each family, and with two of one.
  const more = { ...claim(2), subnet: '10.128.9.0/24' };
  assert.equal(of(true, claim(2), more), { hosts: ['192.0.2.2', '192.0.2.2'], refused: [] });
});

wireguard('a key is 32 bytes in base64, in the one way to write it', () => {
  const is = (text: unknown) => WireguardKey.safeParse(text).success;
  assert.ok(is(key(7)));
  const bad = [
    '',
    'AAAA',
    key(7).slice(0, -1),
    `${key(7)}\n`,
    key(7).replace(/.=$/, 'B='),
    `-${key(7).slice(1)}`,
    `${'é'.repeat(43)}=`,
    7,
  ];
  assert.equal(bad.filter(is), []);
  assert.not.ok(is(`${'A'.repeat(42)}\nA`));
});

wireguard.run();

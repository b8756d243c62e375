/**
 * The input of an uplink's keeper, the objects that must exist when its program is ready, and the ones that are missing
 * later; and where names are queried behind it.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { MAIN_TABLE, type Dump } from '../../plan/kernel/expected.ts';
import { parsePasta } from '../../plan/uplinks/pasta.ts';
import { planLaunch, planVerify, mayRunUplink, type UplinkInput } from '../../plan/uplinks/uplink.ts';
import { compareUplink, gatewayIsHost, uplinkServers } from '../../plan/uplinks/uplink-inside.ts';
import type { Change, ContainerContext } from '../../state/container.ts';
import type { PastaSettings, SlirpSettings, UplinkLink, UplinkSettings } from '../../state/uplink.ts';
import { resolve, SLIRP } from '../harness/fixtures.ts';

const slirp: SlirpSettings = {
  program: 'slirp4netns',
  file: '/usr/bin/slirp4netns',
  cidr: '10.5.0.0/16',
  mtu: 1500,
  ipv6: false,
  hostLoopback: false,
  outboundAddr: null,
  outboundAddr6: null,
};
const pasta = (...options: string[]): PastaSettings => {
  const parsed = parsePasta([], options, '/usr/bin/pasta');
  if ('fault' in parsed) throw new Error(parsed.fault.message);
  return parsed.settings;
};
const PORTS = [resolve({ host_port: 8080, container_port: 80 })];
const input = (settings: UplinkSettings, more: Partial<UplinkInput> = {}): UplinkInput => ({
  verb: 'start',
  owner: 'c1:7',
  directory: 'token',
  outside: '/run/netns/outside',
  netns: '/run/netns/inside',
  boundTo: null,
  settings,
  apiSocket: false,
  ports: PORTS,
  ...more,
});
const SLIRP_FLAGS = [
  '--mtu',
  '--disable-host-loopback',
  '--enable-sandbox',
  '--netns-type',
  '--cidr',
  '--api-socket',
  '--enable-ipv6',
];
const PASTA_FLAGS = [
  ...new Set(pasta('--ns-ifname', 'tap7', '--map-gw').args.filter((word) => word.startsWith('--'))),
  '--no-map-gw',
];

const uplink = suite('plan of uplinks');

uplink('slirp4netns gets its pipes, a namespace of its own, what it lacks, and the loopback setting', () => {
  const features = { flags: SLIRP_FLAGS };
  const launch = {
    missing: ['--enable-seccomp'],
    exitFd: 3,
    readyFd: 4,
    netnsFd: 5,
    hostLoopback: false,
  };
  const args = ['--disable-host-loopback', '--mtu', '1500', '--enable-sandbox', '--cidr=10.5.0.0/16'];
  const ends = ['-c', '-e', '3', '-r', '4', '--netns-type=path', '/proc/self/fd/5', 'tap0'];
  assert.equal(planLaunch(input(slirp), features), { ...launch, args: [...args, ...ends] });
  assert.equal(planLaunch(input(slirp, { apiSocket: true }), features), {
    ...launch,
    args: [...args, '--api-socket', 'api', ...ends],
  });
  const open = planLaunch(input({ ...slirp, hostLoopback: true }), features);
  assert.equal(open, { ...launch, hostLoopback: true, args: [...args.slice(1), ...ends] });
  assert.equal(planLaunch(input(slirp), { flags: ['--netns-type'] }), {
    fault: { code: 'BAD_REQUEST', message: 'cidr not supported' },
  });
});

uplink('pasta reports on its standard output, enters the namespace itself, and publishes the ports', () => {
  const launch = planLaunch(input(pasta()), { flags: PASTA_FLAGS });
  assert.ok('args' in launch);
  const { args, ...rest } = launch;
  assert.equal(rest, { missing: [], exitFd: null, readyFd: 1, netnsFd: null, hostLoopback: false });
  assert.equal(args.slice(args.indexOf('--tcp-ports')), [
    '--tcp-ports',
    '8080:80',
    '--udp-ports',
    'none',
    '--foreground',
    '--quiet',
    '--pid',
    '/proc/self/fd/1',
    '--netns-only',
    '--netns',
    '/run/netns/inside',
  ]);
  for (const options of [['--map-gw'], ['--tcp-ns', 'auto'], ['--udp-ns', '53']]) {
    const reaches = planLaunch(input(pasta(...options)), { flags: PASTA_FLAGS });
    assert.is('hostLoopback' in reaches && reaches.hostLoopback, true, options.join(' '));
  }
  assert.equal(planLaunch(input(pasta()), { flags: [] }), {
    fault: { code: 'BAD_REQUEST', message: '--tcp-ns not supported by pasta' },
  });
});

uplink('when slirp4netns is ready, its link is up and has the addresses of the network', () => {
  const common = {
    program: 'slirp4netns',
    directory: 'token',
    outside: '/run/netns/outside',
    netns: '/run/netns/inside',
  };
  const mine = { address: '10.5.0.100', prefix: 16 };
  const four = { ...mine, gateway: '10.5.0.2' };
  const verify = { ...common, link: 'tap0', address: mine, ports: [] };
  assert.equal(planVerify(input(slirp)), { ...verify, brings: { netnsFd: 5, addresses: [four] } });
  const six = { address: 'fd00::100', prefix: 64, gateway: 'fd00::2' };
  assert.equal(planVerify(input({ ...slirp, ipv6: true })), {
    ...verify,
    brings: { netnsFd: 5, addresses: [four, six] },
  });
  // A network that is too small, as a file may contain.
  assert.equal(planVerify(input({ ...slirp, cidr: '10.0.2.64/30' })), {
    ...verify,
    address: null,
    brings: { netnsFd: 5, addresses: [] },
  });
});

uplink('when pasta is ready, the requested link exists, and the ports are listened on', () => {
  const common = { program: 'pasta', directory: 'token', outside: '/run/netns/outside', netns: '/run/netns/inside' };
  const verify = { ...common, link: null, address: null, brings: null, ports: PORTS };
  assert.equal(planVerify(input(pasta())), verify);
  assert.equal(planVerify(input(pasta('--ns-ifname', 'tap7', '-I', 'tap8'))), { ...verify, link: 'tap8' });
});

uplink('the program counts as possibly running from its start until nothing is left', () => {
  const begun: Change = { kind: 'reload', networks: {}, ports: [], todo: [], led: [] };
  const may = (configured: boolean, change: ContainerContext['change']) =>
    mayRunUplink({ uplink: { settings: SLIRP } as never, configured, change });
  assert.equal([may(false, null), may(true, null), may(false, begun), may(true, begun)], [false, true, true, true]);
  assert.is(mayRunUplink({ uplink: undefined, configured: true, change: begun }), false);
});

uplink("names are queried at the program, in the families of the host's servers", () => {
  const both = { ...slirp, ipv6: true };
  assert.equal(uplinkServers(slirp, null), ['10.5.0.3']);
  assert.equal(uplinkServers(both, null), ['10.5.0.3', 'fd00::3']);
  assert.equal(uplinkServers(both, []), []);
  assert.equal(uplinkServers(both, ['192.0.2.53']), ['10.5.0.3']);
  assert.equal(uplinkServers(both, ['fe80::1%eth0']), ['fd00::3']);
  assert.equal(uplinkServers(slirp, ['2001:db8::53']), []);
  assert.equal(uplinkServers({ ...slirp, cidr: '10.0.2.64/30' }, null), []);
  assert.equal(uplinkServers(pasta(), null), ['169.254.1.1', '100:0:0:1::53']);
  assert.equal(uplinkServers(pasta(), ['192.0.2.53', 'fe80::1%eth0']), ['169.254.1.1'], 'pasta knows no scope');
  assert.equal(uplinkServers(pasta(), ['2001:db8::53']), ['100:0:0:1::53']);
  assert.equal(uplinkServers(pasta('--dns-forward', '192.0.2.1', '--dns-forward', '192.0.2.2'), null), ['192.0.2.2']);
});

uplink('the gateway is the host if its loopback is open', () => {
  assert.equal([gatewayIsHost(slirp), gatewayIsHost({ ...slirp, hostLoopback: true })], [false, true]);
  assert.equal([gatewayIsHost(pasta()), gatewayIsHost(pasta('--map-gw'))], [false, true]);
  assert.is(gatewayIsHost(pasta('--tcp-ns', 'auto')), false);
});

uplink('the expected objects of a link are itself, its addresses, and a default route for each gateway', () => {
  const made: UplinkLink = {
    name: 'tap0',
    mac: '',
    mtu: 1500,
    addresses: [
      { address: '10.5.0.100', prefix: 16, gateway: '10.5.0.2' },
      { address: '10.5.0.101', prefix: 16, gateway: '10.5.0.2' },
      { address: 'fd00::100', prefix: 64, gateway: null },
    ],
  };
  const link = { index: 7, name: 'tap0', mac: '', mtu: 1500, up: true, master: 0, alias: '' };
  const route = {
    destination: '0.0.0.0',
    prefix: 0,
    gateway: '10.5.0.2',
    link: 7,
    metric: 0,
    table: MAIN_TABLE,
    type: 'unicast',
  };
  const whole: Dump = {
    links: [{ ...link, index: 1, name: 'lo' }, link],
    addresses: made.addresses.map(({ address, prefix }) => ({ link: 7, address, prefix })),
    routes: [{ ...route, prefix: 16, gateway: null }, route],
    neighbours: [],
  };
  const missing = (more: Partial<Dump>) =>
    compareUplink(made, { ...whole, ...more }).map(
      ({ kind, object, network, problem }) => `${problem} ${kind} ${object} (${network})`,
    );
  const way = 'missing route default via 10.5.0.2 on tap0 (null)';
  assert.equal(missing({}), []);
  assert.equal(missing({ links: [] }), ['missing link tap0 (null)']);
  assert.equal(missing({ addresses: whole.addresses.slice(1) }), ['missing address 10.5.0.100/16 on tap0 (null)']);
  assert.equal(missing({ addresses: whole.addresses.map((seen) => ({ ...seen, link: 1 })) }).length, 3);
  assert.equal(missing({ routes: [] }), [way]);
  for (const other of [{ table: 255 }, { prefix: 1 }, { gateway: '10.5.0.9' }]) {
    assert.equal(missing({ routes: [{ ...route, ...other }] }), [way]);
  }
});

uplink.run();

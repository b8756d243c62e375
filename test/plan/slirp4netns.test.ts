/** Options of slirp4netns, the reference's messages about them, and the resulting arguments. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseSlirp, slirpArguments, uplinkAddresses } from '../../plan/uplinks/slirp4netns.ts';
import type { SlirpSettings } from '../../state/uplink.ts';

const FILE = '/usr/bin/slirp4netns';
const DEFAULTS: SlirpSettings = {
  program: 'slirp4netns',
  file: FILE,
  cidr: '10.0.2.0/24',
  mtu: 65_520,
  ipv6: false,
  hostLoopback: false,
  outboundAddr: null,
  outboundAddr6: null,
};
const FLAGS = [
  '--api-socket',
  '--cidr',
  '--disable-host-loopback',
  '--enable-ipv6',
  '--enable-sandbox',
  '--enable-seccomp',
  '--mtu',
  '--netns-type',
  '--outbound-addr',
  '--outbound-addr6',
];

const parse = (container: string[], engine: string[] = []) =>
  parseSlirp({ engine, container, file: FILE, isInterface: (name) => name === 'eth0' });

function settings(...options: string[]): SlirpSettings {
  const parsed = parse(options);
  if ('fault' in parsed) throw new Error(parsed.fault.message);
  return parsed.settings;
}

const refused = (...options: string[]): string => {
  const parsed = parse(options);
  if (!('fault' in parsed)) throw new Error(`${options.join()} is accepted`);
  assert.is(parsed.fault.code, 'BAD_REQUEST');
  return parsed.fault.message;
};

const args = (of: SlirpSettings, flags = FLAGS, socket: string | null = null) =>
  slirpArguments(of, { flags }, { netns: '/run/netns/x' }, socket);

const slirp = suite('options of slirp4netns');

slirp('without options, the safe ones apply', () => {
  assert.equal(parse([]), { settings: DEFAULTS, portHandler: 'forwarder' });
});

slirp('each option is kept', () => {
  const cases: [option: string, more: Partial<SlirpSettings>][] = [
    ['cidr=10.5.0.0/16', { cidr: '10.5.0.0/16' }],
    ['cidr=10.5.0.7/25', { cidr: '10.5.0.0/25' }],
    ['mtu=68', { mtu: 68 }],
    ['mtu=65521', { mtu: 65_521 }],
    ['allow_host_loopback=true', { hostLoopback: true }],
    ['allow_host_loopback=false', {}],
    ['enable_ipv6=true', { ipv6: true }],
    ['enable_ipv6=false', {}],
    ['outbound_addr=10.1.2.3', { outboundAddr: '10.1.2.3' }],
    ['outbound_addr=eth0', { outboundAddr: 'eth0' }],
  ];
  for (const [option, more] of cases) {
    assert.equal(parse([option]), { settings: { ...DEFAULTS, ...more }, portHandler: 'forwarder' }, option);
  }
  for (const value of ['fd00::1', 'eth0']) {
    const both = settings('enable_ipv6=true', `outbound_addr6=${value}`);
    assert.equal(both, { ...DEFAULTS, ipv6: true, outboundAddr6: value });
  }
  assert.equal(parse(['port_handler=rootlesskit']), { settings: DEFAULTS, portHandler: 'forwarder' });
  assert.equal(parse(['port_handler=slirp4netns']), { settings: DEFAULTS, portHandler: 'slirp4netns' });
});

slirp("of equal options the last counts, a container's after the engine's, which stay unchanged", () => {
  const engine = Object.freeze(['mtu=1500', 'enable_ipv6=true']) as string[];
  const parsed = parse(['mtu=1400', 'mtu=1300'], engine);
  assert.equal(parsed, { settings: { ...DEFAULTS, mtu: 1300, ipv6: true }, portHandler: 'forwarder' });
  assert.equal(parse(['port_handler=rootlesskit'], ['port_handler=slirp4netns']), {
    settings: DEFAULTS,
    portHandler: 'forwarder',
  });
});

slirp("invalid options are refused with the reference's messages", () => {
  const cases: [option: string, message: string][] = [
    ['foo', 'unknown option for slirp4netns: "foo"'],
    ['', 'unknown option for slirp4netns: ""'],
    ['foo=bar=baz', 'unknown option for slirp4netns: "foo=bar=baz"'],
    ['=x', 'unknown option for slirp4netns: "=x"'],
    ['constructor=x', 'unknown option for slirp4netns: "constructor=x"'],
    ...[
      '',
      'x',
      '10.0.2.0',
      '10.0.2.0/33',
      '10.0.2.0/0',
      '10.0.2/24',
      '010.0.2.0/24',
      'fd00::/64',
      '10.0.2.0/24 ',
      '::ffff:10.0.2.0/120',
    ].map((value): [string, string] => [`cidr=${value}`, `invalid cidr ${JSON.stringify(value)}`]),
    ['port_handler=none', 'unknown port_handler for slirp4netns: "none"'],
    ['allow_host_loopback=yes', 'invalid value of allow_host_loopback for slirp4netns: "yes"'],
    ['allow_host_loopback=', 'invalid value of allow_host_loopback for slirp4netns: ""'],
    ['enable_ipv6=TRUE', 'invalid value of enable_ipv6 for slirp4netns: "TRUE"'],
    ['outbound_addr=eth1', 'invalid outbound_addr "eth1"'],
    ['outbound_addr=fd00::1', 'invalid outbound_addr "fd00::1"'],
    ['outbound_addr=a=b', 'invalid outbound_addr "a=b"'],
    ['outbound_addr6=10.1.2.3', 'invalid outbound_addr6: "10.1.2.3"'],
    ['outbound_addr6=::ffff:10.1.2.3', 'invalid outbound_addr6: "::ffff:10.1.2.3"'],
    ['outbound_addr6=fe80::1%eth0', 'invalid outbound_addr6: "fe80::1%eth0"'],
    ...['', '67', '65522', '-1500', '1500x', '1e3', '0x5dc', ' 1500'].map((value): [string, string] => [
      `mtu=${value}`,
      `invalid mtu ${JSON.stringify(value)}`,
    ]),
    ['outbound_addr6=fd00::1', 'enable_ipv6=true is required for outbound_addr6'],
    ['cidr=10.0.2.0/26', 'calculated ip address 10.0.2.100 is not within given subnet 10.0.2.0/26'],
    ['cidr=10.0.2.64/30', 'calculated ip address 10.0.2.164 is not within given subnet 10.0.2.64/30'],
    ['cidr=255.255.255.192/26', 'integer overflow while calculating ip address offset, 255.255.255.192 + 100'],
  ];
  for (const [option, message] of cases) assert.is(refused(option), message, option);
});

slirp('values up to the limits are accepted', () => {
  assert.is(settings('mtu=000068').mtu, 68);
  assert.is(refused('mtux'), 'unknown option for slirp4netns: "mtux"');
  assert.is(refused('mtu=0000068'), 'invalid mtu "0000068"');
  assert.is(refused('cidr=x10.5.0.0/16'), 'invalid cidr "x10.5.0.0/16"');
  assert.is(settings('cidr=255.255.255.0/24').cidr, '255.255.255.0/24');
  const over = uplinkAddresses('255.255.255.156/30');
  assert.match('fault' in over ? over.fault.message : '', /^integer overflow/);
});

slirp('guest, gateway and name server have their place in the network', () => {
  assert.equal(uplinkAddresses('10.0.2.0/24'), {
    guest: '10.0.2.100',
    gateway: '10.0.2.2',
    dns: '10.0.2.3',
    prefix: 24,
  });
  assert.equal(uplinkAddresses('10.0.2.128/25'), {
    guest: '10.0.2.228',
    gateway: '10.0.2.130',
    dns: '10.0.2.131',
    prefix: 25,
  });
});

slirp('arguments have the order of the reference', () => {
  const hardening = ['--enable-sandbox', '--enable-seccomp'];
  const end = ['-c', '-e', '3', '-r', '4', '--netns-type=path', '/run/netns/x', 'tap0'];
  assert.equal(args(DEFAULTS), {
    args: ['--disable-host-loopback', '--mtu', '65520', ...hardening, ...end],
    missing: [],
  });
  const every = settings(
    'cidr=10.5.0.0/16',
    'mtu=1500',
    'enable_ipv6=true',
    'allow_host_loopback=true',
    'outbound_addr=eth0',
    'outbound_addr6=fd00::1',
  );
  const own = ['--cidr=10.5.0.0/16', '--enable-ipv6', '--outbound-addr=eth0', '--outbound-addr6=fd00::1'];
  assert.equal(args(every, FLAGS, 'api'), {
    args: ['--mtu', '1500', ...hardening, ...own, '--api-socket', 'api', ...end],
    missing: [],
  });
  const ofPid = slirpArguments(DEFAULTS, { flags: [] }, { pid: 42 }, null);
  assert.equal('args' in ofPid && ofPid.args, ['-c', '-e', '3', '-r', '4', '42', 'tap0']);
});

slirp('a missing feature is listed if it is hardening, and refused if it was requested', () => {
  const without = (...flags: string[]) => FLAGS.filter((flag) => !flags.includes(flag));
  const hardening = ['--disable-host-loopback', '--mtu', '--enable-sandbox', '--enable-seccomp'];
  const bare = args(DEFAULTS, without(...hardening));
  assert.equal(bare, {
    args: ['-c', '-e', '3', '-r', '4', '--netns-type=path', '/run/netns/x', 'tap0'],
    missing: hardening,
  });
  const open = args(settings('allow_host_loopback=true'), without('--disable-host-loopback'));
  assert.equal('missing' in open && open.missing, [], 'nobody asked for it');
  const ipv6 = ['enable_ipv6=true', 'outbound_addr6=fd00::1'];
  const cases: [options: string[], missing: string, message: string][] = [
    [['cidr=10.5.0.0/16'], '--cidr', 'cidr not supported'],
    [['enable_ipv6=true'], '--enable-ipv6', 'enable_ipv6 not supported'],
    [['outbound_addr=eth0'], '--outbound-addr', 'outbound_addr not supported'],
    [ipv6, '--outbound-addr6', 'outbound_addr6 not supported'],
    [[], '--netns-type', '--netns-type not supported'],
    [[], '--api-socket', 'port_handler=slirp4netns not supported'],
  ];
  for (const [options, missing, message] of cases) {
    assert.equal(args(settings(...options), without(missing), 'api'), { fault: { code: 'BAD_REQUEST', message } });
  }
});

slirp.run();

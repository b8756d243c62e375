/**
 * The plan of names: which names each container has, and the content of its resolv.conf and hosts file.
 *
 * Over 400 lines because server, resolv.conf and hosts file are planned from the same containers, and compared with
 * each other.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { planAttachments } from '../../plan/containers/attachment.ts';
import { hostsFile } from '../../plan/containers/hosts.ts';
import {
  agreed,
  dnsNames,
  isReserved,
  nameEntries,
  termsOf,
  withEntries,
  withoutNetworks,
  zonesOf,
  type NameEntry,
} from '../../plan/names/names.ts';
import { parsePasta } from '../../plan/uplinks/pasta.ts';
import { resolvConf, resolvConfBehind } from '../../plan/containers/resolv-conf.ts';
import type { Attachment } from '../../state/container.ts';
import type { SlirpSettings, Uplink, UplinkSettings } from '../../state/uplink.ts';
import { containerInput, leaseOf } from '../harness/fixtures.ts';

function attachment(network: string, more: Partial<Attachment> = {}): Attachment {
  return {
    ...leaseOf(network),
    mac: '02:00:00:00:00:01',
    ordinal: 0,
    hostLink: 've0',
    link: 'eth0',
    alias: '',
    aliases: [],
    gatewayPriority: 0,
    dns: { listen: ['10.89.0.1'], servers: [] },
    ...more,
  };
}

const dual = {
  addresses: [
    { address: '10.89.0.2', prefix: 24, gateway: '10.89.0.1' },
    { address: 'fd00::2', prefix: 64, gateway: 'fd00::1' },
  ],
  dns: { listen: ['10.89.0.1', 'fd00::1'], servers: [] },
};

// --- Names ---------------------------------------------------------------------------------------------------------

const names = suite('planned names');

names('names are lower case, each once, and valid in DNS', () => {
  const long = 'x'.repeat(64);
  assert.equal(
    dnsNames([
      'Web',
      'web',
      'my_app',
      'a.b',
      '-x',
      'x-',
      'a..b',
      '.a',
      'a.',
      '',
      'ä',
      'a b',
      'a,b',
      long,
      long.slice(1),
    ]),
    ['web', 'my_app', 'a.b', 'x-', long.slice(1)],
  );
});

const container = { name: 'Web', pod: null, netns: { path: '/run/netns/x', owned: true, from: null, of: null } };

names('the own name is first, then the aliases; the pod stands for its container', () => {
  const [entry] = nameEntries(container, [attachment('web', { aliases: ['0123456789ab', 'WWW', 'web'] })]);
  assert.equal(entry?.names, ['web', '0123456789ab', 'www']);
  assert.equal(nameEntries({ ...container, pod: 'p' }, [attachment('web')])[0]?.names, ['p']);
});

names("a container's own name is never a name of the world, but a requested alias with dots is", () => {
  const called = (name: string, aliases: string[] = []) =>
    nameEntries({ ...container, name }, [attachment('web', { aliases })])[0]?.names;
  assert.is(called('example.com'), undefined);
  assert.equal(called('Example.COM', ['www.example.com']), ['www.example.com']);
  assert.equal(nameEntries({ ...container, pod: 'a.b' }, [attachment('web')]), []);
  const planned = (id: string, aliases: string[] = []) => {
    const context = { ...containerInput({ id, name: id }), attachments: [], nextOrdinal: 0 } as never;
    const answer = planAttachments(context, [leaseOf('web')], { web: { aliases } }, []);
    return 'attachments' in answer ? answer.attachments[0]?.aliases : answer;
  };
  assert.equal(planned('example.com'), []);
  assert.equal(planned('googleapis.com'), []);
  assert.equal(planned('example.com', ['db']), ['db']);
  assert.equal(planned('0123456789abcdef'), ['0123456789ab']);
});

names('no container has a name that means the asker’s own host, in DNS and in hosts files', () => {
  const own = ['LocalHost', 'a.localhost'].concat(
    'localhost localhost4 localhost6 localhost4.localdomain4 localhost6.localdomain6 localhost.localdomain'.split(' '),
    'localdomain broadcasthost ip6-localhost ip6-loopback ip6-localnet ip6-mcastprefix'.split(' '),
    'ip6-allnodes ip6-allrouters ip6-allhosts'.split(' '),
  );
  const engines = [
    'host.containers.internal',
    'host.docker.internal',
    'gateway.docker.internal',
    'containers.internal',
  ];
  for (const name of [...own, ...engines]) {
    assert.equal(nameEntries({ ...container, name }, [attachment('web', { aliases: [name] })]), [], name);
    assert.ok(isReserved(name), name);
    const file = hostsFile({ id: 'c', name, pod: null, hostname: name, attachments: [attachment('web')] });
    assert.not.match(file, /^10\.89\.0\.2 /m, name);
  }
  for (const name of ['local', 'localhosts', 'mylocalhost', 'internal', 'host', 'com'])
    assert.not(isReserved(name), name);
});

names('names exist only on networks with DNS, and only for a namespace of its own', () => {
  assert.equal(nameEntries(container, [attachment('web', { dns: null })]), []);
  assert.equal(nameEntries({ ...container, netns: null }, [attachment('web')]), []);
});

const entry = (network: string, more: Partial<NameEntry> = {}): NameEntry => ({
  network,
  internal: false,
  listen: ['10.89.0.1'],
  servers: [],
  addresses: ['10.89.0.2'],
  names: ['x'],
  netns: '/x',
  ...more,
});

names('an entry has all that the resolver needs, with names of RFC 1035 lengths', () => {
  const terms = { dns: { listen: ['10.89.0.1'], servers: ['192.0.2.53'] }, internal: true };
  assert.equal(nameEntries(container, [attachment('web', { ...dual, ...terms })]), [
    {
      network: 'web',
      internal: true,
      listen: ['10.89.0.1'],
      servers: ['192.0.2.53'],
      addresses: ['10.89.0.2', 'fd00::2'],
      names: ['web'],
      netns: '/run/netns/x',
    },
  ]);
  const labels = (count: number, last: number) => [...Array(count).fill('x'.repeat(63)), 'x'.repeat(last)].join('.');
  assert.equal(
    [labels(3, 61), labels(3, 62)].map((name) => dnsNames([name]).length),
    [1, 0],
  );
  assert.equal(
    [`a.${'x'.repeat(63)}`, `a.${'x'.repeat(64)}`].map((name) => dnsNames([name]).length),
    [1, 0],
  );
});

names('a zone has what its entries agree on, and each of them', () => {
  const terms = { internal: true, listen: ['10.89.0.9'], servers: ['192.0.2.53'] };
  const one = withEntries({}, 'a', [entry('n', { names: ['x'] }), entry('m')]);
  const two = withEntries(one, 'b', [entry('n', { ...terms, addresses: ['10.89.0.3'], names: ['y', 'z'] })]);
  assert.equal(termsOf(two, 'n'), terms);
  assert.equal(two['a']?.[0], entry('n', { ...terms, names: ['x'] }));
  assert.equal(
    zonesOf(two).find(({ network }) => network === 'n'),
    {
      network: 'n',
      ...terms,
      entries: [
        { owner: 'a', addresses: ['10.89.0.2'], names: ['x'] },
        { owner: 'b', addresses: ['10.89.0.3'], names: ['y', 'z'] },
      ],
    },
  );
  assert.equal(Object.keys(withoutNetworks(two, 'a', ['n', 'm'])), ['b']);
  assert.equal(Object.keys(withoutNetworks(two, 'a', ['n'])).sort(), ['a', 'b']);
});

names('registering again replaces the entries of the whole network', () => {
  const one = withEntries({}, 'a', [entry('n'), entry('m')]);
  const two = withEntries(one, 'b', [entry('n', { servers: ['9.9.9.9'] })]);
  assert.equal(
    two['a']?.map(({ servers }) => servers),
    [['9.9.9.9'], []],
  );
  const three = withEntries(two, 'a', [entry('n', { names: ['y'], servers: ['9.9.9.9'] })]);
  assert.equal(
    three['a']?.map(({ network, names: own }) => `${network} ${own.join()}`),
    ['m x', 'n y'],
  );
  assert.equal(termsOf(three, 'n')?.servers, ['9.9.9.9']);
  assert.is(termsOf(three, 'q'), null);
  assert.is(agreed(three, 'n', { servers: ['9.9.9.9'] }), three);
});

names('names are removed network by network, and the owner goes with the last', () => {
  const both = withEntries({}, 'a', [entry('n'), entry('m')]);
  assert.equal(
    withoutNetworks(both, 'a', ['n'])['a']?.map(({ network }) => network),
    ['m'],
  );
  assert.equal(withoutNetworks(both, 'a', ['n', 'm']), {});
  assert.equal(withoutNetworks(both, 'b', ['n']), both);
});

names('zones do not depend on the order of registering', () => {
  const ab = withEntries(withEntries({}, 'a', [entry('n'), entry('m')]), 'b', [entry('n')]);
  const ba = withEntries(withEntries({}, 'b', [entry('n')]), 'a', [entry('m'), entry('n')]);
  assert.equal(zonesOf(ab), zonesOf(ba));
  assert.equal(
    zonesOf(ab).map(({ network, entries }) => [network, entries.map(({ owner }) => owner)]),
    [
      ['m', ['a']],
      ['n', ['a', 'b']],
    ],
  );
});

names.run();

// --- resolv.conf ---------------------------------------------------------------------------------------------------

const files = suite('resolv.conf and hosts');
const host = (text: string, behindStub: string | null = null) => ({ resolvConf: text, behindStub });
const lines = (attachments: Attachment[], ...rest: Parameters<typeof host>) =>
  resolvConf({ attachments, host: host(...rest) })
    .trimEnd()
    .split('\n');

files('programs in the outside of an ordinary user ask what the way out forwards, and what it leads to', () => {
  const text = 'search corp.example\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nnameserver fd00::9\noptions ndots:2\n';
  const slirp = { program: 'slirp4netns', cidr: '10.0.2.0/24', ipv6: false } as SlirpSettings;
  const of = (settings: UplinkSettings, ...rest: Parameters<typeof host>) => resolvConfBehind(settings, host(...rest));
  assert.is(of(slirp, text), 'search corp.example\nnameserver 10.0.2.3\nnameserver 9.9.9.9\noptions ndots:2\n');
  assert.match(
    of({ ...slirp, ipv6: true }, text),
    /nameserver 10.0.2.3\nnameserver fd00::3\nnameserver 9.9.9.9\noptions/,
  );
  assert.match(of(slirp, 'nameserver 127.0.0.53\n', 'nameserver 192.0.2.7\n'), /10.0.2.3\nnameserver 192.0.2.7\n$/);
  assert.is(of(slirp, ''), '');
  // glibc takes these for the host itself.
  assert.is(
    of({ ...slirp, ipv6: true }, 'nameserver 0.0.0.0\nnameserver ::\n'),
    'nameserver 10.0.2.3\nnameserver fd00::3\n',
  );
  // pasta leads to servers of both families, slirp4netns without IPv6 to those of one.
  assert.match(of(pasta(), 'nameserver fd00::9\n'), /nameserver fd00::9\n/);
});

files('the gateways of networks with DNS are the servers, and no others', () => {
  assert.equal(
    lines([attachment('web', dual)], 'search corp.example\nnameserver 9.9.9.9\noptions ndots:2 use-vc edns0\n'),
    [
      'search dns.podman corp.example',
      'nameserver 10.89.0.1',
      'nameserver fd00::1',
      'options ndots:2 edns0 no-tld-query',
    ],
  );
});

files('the gateway that leads out is the first server, and at most three are named', () => {
  const at = (n: number, more: Partial<Attachment> = {}) =>
    attachment(`n${n}`, { ordinal: n, dns: { listen: [`10.89.${n}.1`], servers: [] }, ...more });
  assert.equal(lines([at(1), at(2, { defaultMetric: 90 }), at(3), at(4)], '').slice(1, -1), [
    'nameserver 10.89.2.1',
    'nameserver 10.89.1.1',
    'nameserver 10.89.3.1',
  ]);
  assert.equal(lines([at(1, { internal: true, defaultMetric: null }), at(2)], '').slice(1, -1), [
    'nameserver 10.89.2.1',
  ]);
  assert.equal(lines([at(1, { internal: true })], '').slice(1, -1), ['nameserver 10.89.1.1']);
});

files('an IPv6 gateway is named only for containers with IPv6', () => {
  assert.equal(lines([attachment('web', { dns: dual.dns })], '').slice(1, -1), ['nameserver 10.89.0.1']);
});

files('without DNS networks, the reachable servers of the host are named', () => {
  const plain = attachment('web', { dns: null });
  const all = '# c\nnameserver 127.0.0.1\nnameserver 9.9.9.9 ; x\nnameserver fe80::1%eth0\nnameserver 2620:fe::fe\n';
  assert.equal(lines([plain], `domain corp\n${all}`), ['search corp', 'nameserver 9.9.9.9']);
  assert.equal(lines([attachment('web', { ...dual, dns: null })], all), [
    'nameserver 9.9.9.9',
    'nameserver 2620:fe::fe',
  ]);
});

files('a container with IPv6 alone gets servers with IPv6 addresses alone', () => {
  const six = attachment('six', { dns: null, addresses: [{ address: 'fd06::2', prefix: 64, gateway: 'fd06::1' }] });
  const all = 'nameserver 9.9.9.9\nnameserver 8.8.8.8\nnameserver 1.1.1.1\nnameserver 2620:fe::fe\n';
  assert.equal(lines([six], all), ['nameserver 2620:fe::fe']);
  assert.equal(lines([six], 'nameserver 9.9.9.9\n'), ['']);
  assert.equal(lines([six], 'nameserver 127.0.0.53\n', 'nameserver 9.9.9.9\nnameserver 2620:fe::fe\n'), [
    'nameserver 2620:fe::fe',
  ]);
  assert.equal(lines([attachment('four', { dns: null })], all).length, 3);
});

files('the stub of systemd-resolved is replaced by its upstream servers', () => {
  const plain = attachment('web', { dns: null });
  assert.equal(lines([plain], 'nameserver 127.0.0.53\n', 'nameserver 1.1.1.1\n'), ['nameserver 1.1.1.1']);
  assert.equal(lines([plain], 'nameserver 127.0.0.53\n', null), ['']);
  assert.equal(lines([plain], 'nameserver 127.0.0.1\n', 'nameserver 1.1.1.1\n'), ['']);
  assert.equal(lines([plain], 'nameserver 9.9.9.9\n', 'nameserver 1.1.1.1\n'), ['nameserver 9.9.9.9']);
});

files('resolv.conf(5) is read with comments, blanks, the last search or domain, and options of every line', () => {
  const plain = attachment('web', { dns: null });
  const text = [
    'search a b # c',
    '  nameserver   9.9.9.9   8.8.8.8',
    'domain one two',
    'options ndots:2;x',
    'options edns0',
    '#nameserver 1.1.1.1',
  ];
  assert.equal(lines([plain], text.join('\n')), ['search one', 'nameserver 9.9.9.9', 'options ndots:2 edns0']);
  assert.equal(lines([plain], 'domain x\nsearch . a b .\n'), ['search a b']);
  assert.ok(resolvConf({ attachments: [plain], host: host('search a') }).endsWith('a\n'));
  // Loopback and scoped addresses are known by their beginning; the rest of an address may look like anything.
  const lookalikes = ['9.127.0.1', '2001:db8::1', '2001:db8::fe80', '::1:2'];
  const all = lookalikes.map((server) => `nameserver ${server}\n`);
  assert.equal(
    all.flatMap((line) => lines([attachment('web', { ...dual, dns: null })], line)),
    all.map((line) => line.trim()),
  );
  for (const server of [
    '127.0.0.1',
    '0.0.0.0',
    '::',
    '::1',
    'fe80::1',
    'FE90::1',
    'feb0::1',
    '2001:db8::1%eth0',
    '10.89.0.2',
  ]) {
    assert.equal(lines([attachment('web', { ...dual, dns: null })], `nameserver ${server}\n`), [''], server);
  }
  const behind = 'nameserver 1.1.1.1\n';
  const both = 'nameserver 127.0.0.53\nnameserver 9.9.9.9\n';
  assert.equal(lines([plain], both, behind), ['nameserver 9.9.9.9'], 'the stub stands beside one that is reached');
  const inner = attachment('inner', { internal: true, dns: { listen: ['10.89.2.1'], servers: [] } });
  assert.equal(
    lines([plain, inner], '')[1],
    'nameserver 10.89.2.1',
    'the only one with names, although it leads nowhere',
  );
  const uplink = made(SLIRP, { address: '10.0.2.100', prefix: 24, gateway: '10.0.2.2' });
  const passed = resolvConf({ attachments: [], uplink, host: host('nameserver 127.0.0.53\n', behind) });
  assert.equal(passed.split('\n'), ['nameserver 10.0.2.3', 'nameserver 1.1.1.1', '']);
  // Without an address of ours there may be others.
  assert.equal(lines([], 'nameserver 9.9.9.9\nnameserver 2620:fe::fe\n'), ['nameserver 9.9.9.9']);
  const asked = lines([attachment('web', dual)], 'options no-tld-query use-vc\n').at(-1);
  assert.is(asked, 'options no-tld-query');
});

files('behind an uplink the short id is a name, and a link-local gateway is no host', () => {
  const uplink = made(pasta('--map-gw'), V4, { ...V6, gateway: '2001:fe80::1' });
  const text = hostsFile({ id: '0123456789abcdef', name: 'web', pod: null, hostname: null, attachments: [], uplink });
  assert.equal(text.split('\n').slice(2, -1), [
    '192.0.2.1 web 0123456789ab',
    '2001:db8::1 web 0123456789ab',
    '192.0.2.254 host.containers.internal host.docker.internal',
    '2001:fe80::1 host.containers.internal host.docker.internal',
  ]);
});

files('the hosts file names the container on every network, and the host', () => {
  const text = hostsFile({
    id: '0123456789abcdef',
    name: 'web',
    pod: null,
    hostname: 'www.corp',
    attachments: [attachment('web', { ...dual, aliases: ['www.corp', '0123456789ab'] })],
  });
  assert.equal(text.trimEnd().split('\n'), [
    '127.0.0.1 localhost',
    '::1 localhost ip6-localhost ip6-loopback',
    '10.89.0.2 www.corp web 0123456789ab',
    'fd00::2 www.corp web 0123456789ab',
    '10.89.0.1 host.containers.internal host.docker.internal',
    'fd00::1 host.containers.internal host.docker.internal',
  ]);
});

files('the host has an address for each family, of the networks that lead out in it', () => {
  const v6 = attachment('six', {
    addresses: [{ address: 'fd06::2', prefix: 64, gateway: 'fd06::1' }],
    ordinal: 1,
    defaultMetric: 200,
  });
  const hostLines = (...attachments: Attachment[]) =>
    hostsFile({ id: 'x', name: 'web', pod: null, hostname: null, attachments })
      .split('\n')
      .filter((line) => line.includes('host.containers.internal'))
      .map((line) => line.split(' ')[0]);
  assert.equal(hostLines(attachment('web')), ['10.89.0.1']);
  assert.equal(hostLines(v6), ['fd06::1']);
  assert.equal(hostLines(v6, attachment('web')), ['10.89.0.1', 'fd06::1']);
  assert.equal(hostLines(v6, attachment('web', dual)), ['10.89.0.1', 'fd00::1'], 'the first that leads out');
});

const SLIRP: SlirpSettings = {
  program: 'slirp4netns',
  file: '/usr/bin/slirp4netns',
  cidr: '10.0.2.0/24',
  mtu: 65_520,
  ipv6: false,
  hostLoopback: false,
  outboundAddr: null,
  outboundAddr6: null,
};
const pasta = (...words: string[]): UplinkSettings => {
  const parsed = parsePasta([], words, '/usr/bin/pasta');
  if ('fault' in parsed) throw new Error(parsed.fault.message);
  return parsed.settings;
};
const V4 = { address: '192.0.2.1', prefix: 24, gateway: '192.0.2.254' };
const V6 = { address: '2001:db8::1', prefix: 64, gateway: 'fe80::254' };
const made = (settings: UplinkSettings, ...addresses: (typeof V4)[]): Uplink => ({
  settings,
  made: { name: 'tap0', mac: '02:00:00:00:00:01', mtu: 1500, addresses },
  missing: [],
  endedSoon: 0,
});

files('behind an uplink the gateway is the host only where the program says so', () => {
  const named = (uplink: Uplink) =>
    hostsFile({ id: 'x', name: 'web', pod: null, hostname: null, attachments: [], uplink })
      .split('\n')
      .flatMap((line) => (line.includes('host.containers.internal') ? line.split(' ')[0] : []));
  const guest = { address: '10.0.2.100', prefix: 24, gateway: '10.0.2.2' };
  assert.equal(named(made(SLIRP, guest)), []);
  assert.equal(named(made({ ...SLIRP, hostLoopback: true }, guest)), ['10.0.2.2']);
  assert.equal(named(made(pasta(), V4, V6)), [], 'the router of the host');
  assert.equal(
    named(made(pasta('--map-gw'), V4, V6)),
    [V4.gateway],
    'a link-local gateway means nothing without its link',
  );
});

files('behind an uplink the server is its relay, then reachable servers, in the families that exist', () => {
  const guest = { address: '10.0.2.100', prefix: 24, gateway: '10.0.2.2' };
  const guest6 = { address: 'fd00::100', prefix: 64, gateway: 'fd00::2' };
  const slirp = made(SLIRP, guest);
  const slirp6 = made({ ...SLIRP, ipv6: true }, guest, guest6);
  const servers = (uplink: Uplink, ...host: string[]) =>
    resolvConf({
      attachments: [],
      uplink,
      host: { resolvConf: host.map((server) => `nameserver ${server}\n`).join(''), behindStub: null },
    }).match(/(?<=^nameserver ).*$/gm) ?? [];
  const both = made(pasta(), V4, V6);
  for (const [uplink, host, expected] of [
    [slirp, ['127.0.0.1'], ['10.0.2.3']],
    [slirp, ['127.0.0.53'], ['10.0.2.3']],
    [slirp, ['9.9.9.9'], ['10.0.2.3', '9.9.9.9']],
    [slirp, ['2620:fe::fe'], []],
    [slirp, ['::1'], []],
    [slirp6, ['::1'], ['fd00::3']],
    [slirp6, ['2620:fe::fe'], ['fd00::3', '2620:fe::fe']],
    [slirp6, ['fe80::1%eth0'], ['fd00::3']],
    [slirp6, ['127.0.0.1'], ['10.0.2.3']],
    [both, ['127.0.0.1'], ['169.254.1.1']],
    [both, ['127.0.0.53'], ['169.254.1.1']],
    [both, ['192.0.2.1'], ['169.254.1.1']],
    [both, ['::1'], ['100:0:0:1::53']],
    [both, ['2001:db8::1', '2001:db8::9'], ['100:0:0:1::53', '2001:db8::9']],
    [both, ['fe80::1%eth0'], []],
    [both, ['9.9.9.9', '::1'], ['169.254.1.1', '100:0:0:1::53', '9.9.9.9']],
    [made(pasta('-4'), V4), ['9.9.9.9', '2620:fe::fe'], ['169.254.1.1', '9.9.9.9']],
    [made(pasta('-6'), V6), ['9.9.9.9', '2620:fe::fe'], ['100:0:0:1::53', '2620:fe::fe']],
    [made(pasta('--dns-forward', '10.9.9.9'), V4, V6), ['127.0.0.1', '::1'], ['10.9.9.9']],
  ] as const) {
    assert.equal([...servers(uplink, ...host)], [...expected], `${uplink.settings.program}: ${host.join()}`);
  }
});

files('an internal network gives no address of the host', () => {
  const inner = attachment('inner', { addresses: [{ address: '10.89.2.2', prefix: 24, gateway: null }] });
  const text = hostsFile({ id: 'x', name: 'web', pod: 'p', hostname: null, attachments: [inner] });
  assert.not.match(text, 'host.containers.internal');
  assert.match(text, '10.89.2.2 p\n');
});

files.run();

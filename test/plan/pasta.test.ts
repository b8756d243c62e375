/** Options of pasta: which are passed on, which are not, and the resulting arguments. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parsePasta, pastaArguments, pastaLink, reachesLoopback } from '../../plan/uplinks/pasta.ts';
import type { ResolvedPort } from '../../state/container.ts';
import type { PortMapping } from '../../state/event.ts';
import { resolve } from '../harness/fixtures.ts';

const FILE = '/usr/bin/pasta';
const FLAGS = [
  '--stderr',
  '--mtu',
  '--ns-ifname',
  '--no-map-gw',
  '--tcp-ns',
  '--udp-ns',
  '--dns-forward',
  '--ipv4-only',
];
const ASKED = ['--dns-forward', '169.254.1.1', '--dns-forward', '100:0:0:1::53'];
const DEFAULTS = ['--tcp-ns', 'none', '--udp-ns', 'none', '--no-map-gw', ...ASKED];

const argsOf = (container: string[], engine: string[] = []): string[] => {
  const parsed = parsePasta(engine, container, FILE);
  if ('fault' in parsed) throw new Error(parsed.fault.message);
  return parsed.settings.args;
};
const refused = (...words: string[]): string => {
  const parsed = parsePasta([], words, FILE);
  if (!('fault' in parsed)) throw new Error(`${words.join(' ')} is accepted: ${parsed.settings.args.join(' ')}`);
  assert.is(parsed.fault.code, 'BAD_REQUEST');
  return parsed.fault.message;
};

const port = (host_ip: string, host_port: number, more: Partial<PortMapping> = {}): ResolvedPort =>
  resolve({ host_ip, host_port, container_port: 80, ...more });
const run = (args: string[], ports: ResolvedPort[] = [], flags = FLAGS) =>
  pastaArguments({ program: 'pasta', file: FILE, args }, { flags }, '/run/netns/x', ports);

const pasta = suite('options of pasta');

pasta("without options, pasta gets Podman's", () => {
  assert.equal(parsePasta([], [], FILE), { settings: { program: 'pasta', file: FILE, args: DEFAULTS } });
});

pasta("options are read long, short, with and without =, the engine's before the container's", () => {
  assert.equal(argsOf(['--mtu', '1500', '-I', 'eth9'], ['-m', '1400']), [
    '--mtu',
    '1400',
    '--mtu',
    '1500',
    '--ns-ifname',
    'eth9',
    ...DEFAULTS,
  ]);
  assert.equal(argsOf(['--mtu=1500', '-4']), ['--mtu', '1500', '--ipv4-only', ...DEFAULTS]);
  assert.equal(argsOf(['-T', '80,90-92:10-12', '-U', 'auto', '--map-gw']), [
    '--tcp-ns',
    '80,90-92:10-12',
    '--udp-ns',
    'auto',
    ...ASKED,
  ]);
  assert.equal(argsOf(['--config-net', '-t', 'none', '--udp-ports=none', '--no-map-gw']), DEFAULTS);
  const every = [
    '--address',
    '10.5.0.9',
    '--netmask',
    '24',
    '--mac-addr',
    '02:00:00:00:00:01',
    '--gateway',
    'fd00::1',
    '--interface',
    'eth0',
    '--outbound',
    '10.1.1.1',
    '--outbound-if4',
    'eth0',
    '--outbound-if6',
    'eth0',
    '--dns',
    'none',
    '--dns-forward',
    '10.1.1.53',
    '--search',
    'a.example b.example',
    '--dhcp-dns',
    '--dhcp-search',
    '--no-tcp',
    '--no-udp',
    '--no-icmp',
    '--no-dhcp',
    '--no-ndp',
    '--no-dhcpv6',
    '--no-ra',
    '--ipv6-only',
  ];
  const defaults = DEFAULTS.slice(0, -ASKED.length); // its own options say where names are queried
  assert.equal(argsOf(every), [...every, ...defaults]);
});

pasta('each letter means its long option, and each kind of value is tested to its limits', () => {
  const letters: [word: string, long: string, value: string][] = [
    ['-m', '--mtu', '1'],
    ['-a', '--address', '10.5.0.9'],
    ['-n', '--netmask', '255.255.0.0'],
    ['-M', '--mac-addr', '02:00:00:00:00:0A'],
    ['-g', '--gateway', '10.5.0.1'],
    ['-i', '--interface', 'eth0'],
    ['-o', '--outbound', '10.1.1.1'],
    ['-D', '--dns', '192.0.2.53'],
    ['-S', '--search', 'x'],
    ['-I', '--ns-ifname', 'fifteen-letters'],
    ['--ns-mac-addr', '--ns-mac-addr', '02:00:00:00:00:01'],
    ['-m', '--mtu', '65520'],
    ['-S', '--search', 'x'.repeat(251)],
    ['-n', '--netmask', '1'],
    ['-n', '--netmask', '32'],
  ];
  for (const [word, long, value] of letters) assert.equal(argsOf([word, value]).slice(0, 2), [long, value], word);
  for (const [word, long] of [
    ['-T', '--tcp-ns'],
    ['-U', '--udp-ns'],
  ] as const) {
    for (const value of ['none', 'auto', '8', '~8', '8'.repeat(251)]) {
      assert.equal(argsOf([word, value]).slice(0, 2), [long, value], value);
    }
    assert.match(refused(word, '8'.repeat(252)), /^invalid value of/);
  }
  assert.match(refused('-S', 'x'.repeat(252)), /^invalid value of/);
  for (const mac of ['02:00:00:00:00:01x', 'x02:00:00:00:00:01', '02:00:00:00:00:01:02']) {
    assert.match(refused('--mac-addr', mac), /^invalid value of/);
  }
  // A word with "=" in it is an option and its value only where it begins with two dashes; "=" may be the value's too.
  assert.is(refused('-m=1500'), 'unknown option for pasta: "-m=1500"');
  assert.is(refused('--ns-ifname='), 'invalid value of --ns-ifname for pasta: ""');
  assert.equal(argsOf(['--ns-ifname=a=b']).slice(0, 2), ['--ns-ifname', 'a=b']);
  assert.is(refused('?'), 'unknown option for pasta: "?"');
  assert.is(refused('=1500'), 'unknown option for pasta: "=1500"');
});

pasta('options that a daemon with privileges must not pass on are unknown', () => {
  const words = [
    '--pcap',
    '-p',
    '--log-file',
    '-l',
    '--log-size',
    '--pid',
    '-P',
    '--runas',
    '--fd',
    '-F',
    '--netns',
    '--userns',
  ];
  words.push(
    '--netns-only',
    '--no-netns-quit',
    '--socket',
    '-s',
    '-f',
    '-d',
    '--debug',
    '--trace',
    '-e',
    '-h',
    '--version',
  );
  words.push('--pca', '--mt', '-m1500', '-46', '--', '-', '', 'sh', '1234', '--__proto__', '--NO-TCP');
  for (const word of words) assert.is(refused(word, 'x'), `unknown option for pasta: ${JSON.stringify(word)}`);
  assert.is(refused('--no-tcp', 'sh'), 'unknown option for pasta: "sh"');
});

pasta('values have their kind, and never look like an option', () => {
  const cases: [option: string, values: string[]][] = [
    ['--mtu', ['', '-1', '65521', '1e3', '--pid']],
    ['--address', ['', 'x', '10.1.1', '10.0.0.0/24', 'fe80::1%eth0', '-P']],
    ['--netmask', ['0', '33', 'x', '-1']],
    ['--mac-addr', ['02:00:00:00:00', '02-00-00-00-00-01', 'x']],
    ['--ns-ifname', ['', '-x', 'a/b', 'a b', 'a:b', '.', '..', 'sixteen-letters!']],
    ['--search', ['', '-x', 'a\nb', 'a;b']],
    ['--tcp-ns', ['', '-1', 'all', '80/x', '80;81', '127.0.0.1/80']],
  ];
  for (const [option, values] of cases) {
    for (const value of values) {
      assert.is(refused(option, value), `invalid value of ${option} for pasta: ${JSON.stringify(value)}`);
    }
  }
  assert.is(refused('--mtu'), 'pasta option --mtu needs a value');
  assert.is(refused('--no-tcp=x'), 'pasta option --no-tcp takes no value');
  assert.is(refused('-4', '-6'), 'pasta options --ipv4-only and --ipv6-only exclude each other');
  const ports = 'invalid value of --tcp-ports for pasta: "8080" (ports are published by the list of ports)';
  assert.is(refused('-t', '8080'), ports);
  assert.match(refused('-u', 'auto'), 'ports are published by the list of ports');
});

pasta('arguments contain the requested options, the published ports, and the lifetime options', () => {
  const kept = [
    '--foreground',
    '--quiet',
    '--stderr',
    '--pid',
    '/proc/self/fd/1',
    '--netns-only',
    '--netns',
    '/run/netns/x',
  ];
  const none = ['--tcp-ports', 'none', '--udp-ports', 'none'];
  assert.equal(run(DEFAULTS), { args: ['--config-net', ...DEFAULTS, ...none, ...kept] });
  const ports = [
    port('', 8080),
    port('10.1.1.1', 8081, { range: 3 }),
    port('::1', 8090),
    port('', 53, { protocol: 'udp', container_port: 53 }),
  ];
  const published = ['--tcp-ports', '8080:80', '--tcp-ports', '10.1.1.1/8081-8083:80-82', '--tcp-ports', '::1/8090:80'];
  assert.equal(run([], ports), { args: ['--config-net', ...published, '--udp-ports', '53:53', ...kept] });
});

pasta('with a version whose help is truncated no option counts as unknown, and the call fits that version', () => {
  const settings = { program: 'pasta', file: FILE, args: ['--no-ra'] } as const;
  const planned = pastaArguments(
    { ...settings, args: [...settings.args] },
    { flags: [], cut: true },
    '/run/netns/x',
    [],
  );
  const args = 'args' in planned ? planned.args : [];
  assert.ok(args.includes('--no-ra'));
  assert.ok(args.includes('--no-netns-quit'));
  assert.not(args.includes('--stderr'));
});

pasta("the host's loopback is reached by the gateway or by forwarded ports, and the last option counts", () => {
  const reaches = (...words: string[]) => reachesLoopback({ program: 'pasta', file: FILE, args: argsOf(words) });
  assert.equal([reaches(), reaches('-T', 'none', '-U', 'none')], [false, false]);
  assert.equal([reaches('--map-gw'), reaches('-T', 'auto'), reaches('-U', '53')], [true, true, true]);
  assert.equal([reaches('-T', 'auto', '-T', 'none'), reaches('-T', 'none', '-T', '80')], [false, true]);
  const link = (...words: string[]) => pastaLink({ program: 'pasta', file: FILE, args: argsOf(words) });
  assert.equal([link(), link('-I', 'a'), link('-I', 'a', '-I', 'b')], [null, 'a', 'b']);
});

pasta('options that the executable does not support are refused', () => {
  const cases: [outcome: ReturnType<typeof run>, message: string][] = [
    [run(['--no-ra', '--mtu', '1500']), '--no-ra not supported by pasta'],
    [run([], [port('', 1, { protocol: 'sctp' })]), 'sctp not supported by pasta'],
    [
      run([], [port('10.1.1.1', 8080, { range: 3 }), port('10.1.1.2', 8082)]),
      'pasta cannot publish host port 8082/tcp twice, even at different host addresses',
    ],
  ];
  for (const [outcome, message] of cases) assert.equal(outcome, { fault: { code: 'BAD_REQUEST', message } });
  assert.ok('args' in run([], [port('', 53), port('', 53, { protocol: 'udp' })]));
});

pasta('the name of the link is known if it was requested', () => {
  assert.is(pastaLink({ program: 'pasta', file: FILE, args: argsOf(['-I', 'a', '-I', 'eth9']) }), 'eth9');
  assert.is(pastaLink({ program: 'pasta', file: FILE, args: DEFAULTS }), null);
});

pasta.run();

/**
 * Options of pasta: which are passed on, which are not, and the arguments they become.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parsePasta, pastaArguments, pastaLink } from '../../machines/plan/pasta.ts';
import type { ResolvedPort } from '../../state/container.ts';
import type { PortMapping } from '../../state/event.ts';
import { resolve } from '../harness/fixtures.ts';

const FILE = '/usr/bin/pasta';
const FLAGS = ['--mtu', '--ns-ifname', '--no-map-gw', '--tcp-ns', '--udp-ns', '--dns-forward', '--ipv4-only'];
const DEFAULTS = ['--tcp-ns', 'none', '--udp-ns', 'none', '--no-map-gw'];

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

pasta("without any, Podman's", () => {
  assert.equal(parsePasta([], [], FILE), { settings: { program: 'pasta', file: FILE, args: DEFAULTS } });
});

pasta('long, short, with and without =, of the engine before the container', () => {
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
  assert.equal(argsOf(every), [...every, ...DEFAULTS]);
});

pasta('what a daemon with privileges must not pass on is unknown', () => {
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

pasta('values are of their kind, and never look like an option', () => {
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

pasta('arguments: what is asked for, the published ports, and how it is kept', () => {
  const kept = [
    '--foreground',
    '--quiet',
    '--stderr',
    '--runas',
    '0:0',
    '--pid',
    '/proc/self/fd/4',
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

pasta('what it cannot do is refused', () => {
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

pasta('the name of the link is known where it was asked for', () => {
  assert.is(pastaLink({ program: 'pasta', file: FILE, args: argsOf(['-I', 'a', '-I', 'eth9']) }), 'eth9');
  assert.is(pastaLink({ program: 'pasta', file: FILE, args: DEFAULTS }), null);
});

pasta.run();

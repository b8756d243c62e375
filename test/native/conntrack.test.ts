/**
 * The entries of connection tracking that the present rules would make (native/conntrack/conntrack-judge.h): entries are written
 * into a real kernel with conntrack(8), and listed after they were judged.
 *
 * Limits: SCTP as far as its entries can be written; nothing can be sent with it here. Over 400 lines because every
 * case writes its entries into the same tracked namespaces.
 */
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside, type ConntrackPort, type ConntrackRules, type Outside } from '../../native/index.ts';
import { kernelFailure, scratch, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const NOTHING: ConntrackRules = { addresses: [], ports: [], networks: [] };
const LAN = '192.0.2.2';
const HOST = '192.0.2.1';
const LAN6 = '2001:db8:2::2';
const HOST6 = '2001:db8:2::1';
const LINK6 = 'febf::1';
/** Hosts behind the host, which have none of its addresses. */
const FAR = '198.51.100.2';

const network = (n: number, more: Partial<ConntrackRules['networks'][number]> = {}) => ({
  subnets: [`10.${n}.0.0/24`, `fd00:${n}::/64`],
  internal: false,
  isolate: 'strict' as const,
  masquerade: true,
  outbound: [],
  ...more,
});
const NETWORKS = [
  network(70),
  network(71, { isolate: 'open' }),
  network(72, { isolate: 'isolated' }),
  network(73, { internal: true, masquerade: false }),
  network(74, { isolate: 'open' }),
];
const open = (protocol: ConntrackPort['protocol'], hostPort: number, to: string, more: object = {}): ConntrackPort => {
  const at = to.lastIndexOf(':');
  const address = to.slice(0, at).replace(/[[\]]/g, '');
  const family = address.includes(':') ? 6 : 4;
  return { protocol, family, hostIp: '', hostPort, address, containerPort: Number(to.slice(at + 1)), ...more };
};
const closed = (protocol: ConntrackPort['protocol'], family: 4 | 6, hostPort: number, hostIp = ''): ConntrackPort => ({
  protocol,
  family,
  hostIp,
  hostPort,
});
const PORTS = [
  ...(['tcp', 'udp'] as const).flatMap((protocol) => [
    open(protocol, 8080, '10.70.0.2:80'),
    open(protocol, 8080, '[fd00:70::2]:80'),
    closed(protocol, 4, 8090),
    closed(protocol, 6, 8090),
    closed(protocol, 4, 8091, HOST),
  ]),
  open('udp', 53, '10.70.0.2:53'),
  open('udp', 53, '[fd00:70::2]:53'),
  open('tcp', 53, '10.70.0.2:53'),
  open('tcp', 53, '[fd00:70::2]:53'),
];

interface Case {
  what: string;
  protocol?: string;
  from: string;
  to: [address: string, port: number];
  /** The target of the translation. */
  dnat?: string;
  /** The receiver of the answer. */
  snat?: string;
  answered?: boolean;
  /** kept, forgotten, untranslated; or, if it moved, the address that answers now. */
  fate: string;
}

/** Judged by ports: both families, with the addresses of the second in place of those of the first. */
const BY_PORT: Case[] = [
  { what: 'as the port leads', from: LAN, to: [HOST, 8080], dnat: '10.70.0.2:80', fate: 'kept' },
  { what: 'to where it led before', from: LAN, to: [HOST, 8080], dnat: '10.70.0.3:80', fate: 'forgotten' },
  { what: 'to another port of it', from: LAN, to: [HOST, 8080], dnat: '10.70.0.2:81', fate: 'forgotten' },
  { what: 'from before it was published', from: LAN, to: [HOST, 8080], fate: 'forgotten' },
  { what: 'answered by the host itself', from: LAN, to: [HOST, 8080], answered: true, fate: 'forgotten' },
  { what: 'of the host to itself', from: HOST, to: [HOST, 8080], fate: 'forgotten' },
  { what: 'through a closed port', from: LAN, to: [HOST, 8090], dnat: '10.70.0.2:80', fate: 'forgotten' },
  { what: 'to the host where a port is closed', from: LAN, to: [HOST, 8090], fate: 'kept' },
  { what: 'of another port', from: LAN, to: [HOST, 8070], dnat: '10.70.0.2:80', fate: 'kept' },
  {
    what: 'through a closed port, number kept',
    from: LAN,
    to: [HOST, 8090],
    dnat: '10.70.0.2:8090',
    fate: 'untranslated',
  },
  { what: 'led elsewhere now, number kept', from: LAN, to: [HOST, 53], dnat: '10.70.0.3:53', fate: '10.70.0.2' },
  { what: 'that passes through', from: LAN, to: [FAR, 8080], fate: 'kept' },
  { what: 'that others lead, passing through', from: LAN, to: [FAR, 8090], dnat: '10.70.0.9:80', fate: 'kept' },
];
/** Judged by networks alone. */
const BY_NETWORK: Case[] = [
  { what: 'to a container from the LAN', from: LAN, to: ['10.70.0.2', 81], fate: 'forgotten' },
  {
    what: 'to a container from the LAN, answered',
    from: LAN,
    to: ['10.70.0.2', 81],
    answered: true,
    fate: 'forgotten',
  },
  { what: 'to a container from the host', from: HOST, to: ['10.70.0.2', 81], fate: 'kept' },
  { what: 'to a container from its gateway', from: '10.70.0.1', to: ['10.70.0.2', 81], fate: 'kept' },
  { what: 'to an internal one from the host', from: HOST, to: ['10.73.0.2', 81], fate: 'kept' },
  { what: 'to a neighbour', from: '10.70.0.3', to: ['10.70.0.2', 81], fate: 'kept' },
  { what: 'to the gateway', from: '10.70.0.3', to: ['10.70.0.1', 53], fate: 'kept' },
  { what: 'to the host', from: '10.73.0.3', to: [HOST, 53], fate: 'kept' },
  { what: 'out, masqueraded', from: '10.70.0.3', to: [FAR, 81], snat: HOST, fate: 'kept' },
  { what: 'out, not masqueraded', from: '10.70.0.3', to: [FAR, 81], fate: 'forgotten' },
  { what: 'out of an internal one', from: '10.73.0.3', to: [FAR, 81], snat: HOST, fate: 'forgotten' },
  { what: 'to many, not masqueraded', from: '10.70.0.3', to: ['239.1.1.1', 81], fate: 'kept' },
  { what: 'strict to open', from: '10.70.0.3', to: ['10.71.0.2', 81], snat: '10.71.0.1', fate: 'forgotten' },
  { what: 'open to strict', from: '10.71.0.3', to: ['10.70.0.2', 81], snat: '10.70.0.1', fate: 'forgotten' },
  { what: 'open to open', from: '10.71.0.3', to: ['10.74.0.2', 81], snat: '10.74.0.1', fate: 'kept' },
  { what: 'open to isolated', from: '10.71.0.3', to: ['10.72.0.2', 81], snat: '10.72.0.1', fate: 'kept' },
  { what: 'isolated to open', from: '10.72.0.3', to: ['10.71.0.2', 81], snat: '10.71.0.1', fate: 'kept' },
  { what: 'open to internal', from: '10.71.0.3', to: ['10.73.0.2', 81], snat: '10.73.0.1', fate: 'forgotten' },
  { what: 'internal to open', from: '10.73.0.3', to: ['10.71.0.2', 81], snat: '10.71.0.1', fate: 'forgotten' },
  { what: 'through a port, to an internal one', from: LAN, to: [HOST, 8070], dnat: '10.73.0.2:80', fate: 'forgotten' },
  { what: 'through a port, from elsewhere', from: LAN, to: [HOST, 8070], dnat: '10.70.0.2:80', fate: 'kept' },
  {
    what: 'through a port, from another network',
    from: '10.71.0.3',
    to: [HOST, 8070],
    dnat: '10.70.0.2:80',
    snat: '10.70.0.1',
    fate: 'kept',
  },
  {
    what: 'through a port, from its own network',
    from: '10.70.0.3',
    to: [HOST, 8070],
    dnat: '10.70.0.2:80',
    snat: '10.70.0.1',
    fate: 'kept',
  },
  {
    what: 'through a port, from an internal network',
    from: '10.73.0.3',
    to: [HOST, 8070],
    dnat: '10.70.0.2:80',
    snat: '10.70.0.1',
    fate: 'forgotten',
  },
  { what: 'forged from a container', from: '10.70.0.2', to: [LAN, 81], fate: 'forgotten' },
  { what: 'between others', from: LAN, to: [FAR, 81], fate: 'kept' },
  { what: 'of the host', from: HOST, to: [LAN, 81], fate: 'kept' },
];

/** Connections that belong to the host itself, whatever is published: the ruleset does not translate them. */
const BY_LINK: Case[] = [
  { what: 'to a link-local address', from: LAN6, to: [LINK6, 8080], fate: 'kept' },
  { what: 'from a link-local address', from: 'fe80::9', to: [HOST6, 8080], fate: 'kept' },
  { what: 'to the first address behind the range', from: LAN6, to: ['fec0::1', 8080], fate: 'forgotten' },
];

const SIXES: Record<string, string> = { [LAN]: LAN6, [HOST]: HOST6, [FAR]: '2001:db8:51::2', '239.1.1.1': 'ff05::1' };
const six = (address: string) => SIXES[address] ?? address.replace(/^10\.(\d+)\.0\.(\d+)$/, 'fd00:$1::$2');
const sixOf = (one: Case): Case => ({
  ...one,
  from: six(one.from),
  to: [six(one.to[0]), one.to[1]],
  ...(one.dnat === undefined ? {} : { dnat: one.dnat.replace(/^(.*):/, (_, address: string) => `[${six(address)}]:`) }),
  ...(one.snat === undefined ? {} : { snat: six(one.snat) }),
  fate: six(one.fate),
});

let outside: Outside;
const conntrack = suite('conntrack');

conntrack.before(async () => {
  outside = openOutside();
  await outside.sysctlWrite({ 'net/ipv6/conf/default/accept_dad': '0' });
  const addresses = [70, 71, 72, 73, 74].flatMap((n) => [`10.${n}.0.1/24`, `fd00:${n}::1/64`]);
  execFileSync('ip', ['-batch', '-'], {
    input: [
      'link set lo up',
      'link add lan0 type ifb',
      'link set lan0 up',
      ...[`${HOST}/24`, `${HOST6}/64`, `${LINK6}/64`, 'fec0::1/64', ...addresses].map(
        (address) => `address add ${address} dev lan0`,
      ),
      `route add default via ${LAN}`,
      `route add default via ${LAN6}`,
    ].join('\n'),
  });
  // The kernel adds the local route of an IPv6 address later (addrconf_dad_work).
  const local = () => execFileSync('ip', ['-6', 'route', 'get', HOST6], { encoding: 'utf8' }).startsWith('local');
  await until(`${HOST6} is local`, local);
  // Entries are translated only where a rule translates.
  execFileSync('nft', ['-f', '-'], {
    input: `table inet t {
      chain post { type nat hook postrouting priority 100; }
      chain pre { type nat hook prerouting priority -100; }
      chain track { type filter hook output priority 0; ct state new accept; }
    }`,
  });
});
conntrack.before.each(() => {
  execFileSync('conntrack', ['-F'], { stdio: 'ignore' });
});

const list = (...args: string[]) =>
  execFileSync('conntrack', ['-L', ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    .split('\n')
    .filter((line) => line !== '');

/** A file that conntrack(8) reads entries from; it does not open stdin, which would be a socket. */
const FILE = join(scratch(), 'entries');
/** The number of a case is the port (or the ICMP id) of the side that began. */
const FIRST = 10_000;

function write({ protocol = 'udp', from, to, dnat, snat, answered = false }: Case, i: number): string {
  const words = ['-A', '-p', protocol, '-s', from, '-d', to[0], '-t', '100'];
  if (protocol.startsWith('icmp')) {
    const type = protocol === 'icmp' ? '8' : '128';
    words.push(`--${protocol}-type`, type, `--${protocol}-code`, '0', `--${protocol}-id`, `${FIRST + i}`);
  } else {
    words.push('--sport', `${FIRST + i}`, '--dport', `${to[1]}`);
  }
  if (protocol === 'tcp' || protocol === 'sctp') words.push('--state', 'ESTABLISHED');
  if (protocol === 'sctp') words.push('--orig-vtag', '1', '--reply-vtag', '2');
  if (answered) words.push('-u', 'SEEN_REPLY');
  if (dnat !== undefined) words.push('--dst-nat', dnat);
  if (snat !== undefined) words.push('--src-nat', snat);
  return words.join(' ');
}

/** Writes them all, has them judged, and returns the result of each. */
async function judge(cases: readonly Case[], rules: ConntrackRules): Promise<void> {
  writeFileSync(FILE, cases.map((one, i) => `${write(one, i)}\n`).join(''));
  execFileSync('conntrack', ['-R', FILE], { stdio: 'pipe' });
  const before = list();
  assert.is(before.length, cases.length, 'all are written');
  await outside.conntrackForget(rules);
  const after = list();
  const isOf = (i: number) => (line: string) => new RegExp(`(sport|id)=${FIRST + i} `).test(line);
  const parts = (line: string | undefined) => (line ?? '').match(/(src|dst|sport|dport|id)=\S+/g) ?? [];
  const wrong = cases.flatMap(({ what, protocol = 'udp', from, to, fate }, i) => {
    const [was, is] = [parts(before.find(isOf(i))), after.find(isOf(i))];
    const now = parts(is);
    const answerer = /src=\S+.*src=(\S+)/.exec(is ?? '')?.[1] ?? '';
    const got =
      is === undefined
        ? 'forgotten'
        : now.join() === was.join()
          ? 'kept'
          : answerer === to[0]
            ? 'untranslated'
            : answerer;
    return got === fate ? [] : [`${protocol} from ${from}: ${what}: ${got}, not ${fate}`];
  });
  assert.equal(wrong, []);
}

const both = (cases: readonly Case[]) => [...cases, ...cases.map(sixOf)];
const of = (protocol: string, cases: readonly Case[]) => cases.map((one) => ({ ...one, protocol }));

conntrack('udp: entries that would lead elsewhere now are deleted, passing ones are not', async () => {
  await judge([...both(BY_PORT), ...BY_LINK], { ...NOTHING, ports: PORTS });
});

conntrack('tcp: answered connections go on elsewhere, and end with their port', async () => {
  const ends = ({ to, dnat }: Case) => to[0] === HOST && to[1] === 8090 && dnat !== undefined;
  const answered = BY_PORT.map((one): Case => ({ ...one, answered: true, fate: ends(one) ? one.fate : 'kept' }));
  await judge(of('tcp', both(answered)), { ...NOTHING, ports: PORTS });
});

conntrack('tcp: connections that nobody has answered yet move to the new target', async () => {
  // The next packet of the client begins a new connection.
  const asked = BY_PORT.filter(({ answered }) => answered !== true).map((one): Case => ({
    ...one,
    fate: one.to[1] === 53 ? 'forgotten' : one.fate,
  }));
  await judge(of('tcp', both(asked)), { ...NOTHING, ports: PORTS });
});

conntrack('sctp: it is judged as tcp, and a deleted entry is not replaced', async () => {
  // Without sctp in the kernel its ports cannot be translated, so each leads to the same number.
  const through = (port: number, to: string, answered: boolean, fate: string): Case => ({
    what: `${port} to ${to}`,
    protocol: 'sctp',
    from: LAN,
    to: [HOST, port],
    dnat: `${to}:${port}`,
    answered,
    fate,
  });
  await judge(
    [
      through(8080, '10.70.0.2', true, 'kept'),
      through(8080, '10.70.0.3', true, 'kept'),
      through(8080, '10.70.0.3', false, 'forgotten'),
      through(8090, '10.70.0.2', true, 'forgotten'),
    ],
    { ...NOTHING, ports: [open('sctp', 8080, '10.70.0.2:8080'), closed('sctp', 4, 8090)] },
  );
});

conntrack('a port that is closed on one address of the host is closed there', async () => {
  execFileSync('ip', ['address', 'add', '192.0.2.9/24', 'dev', 'lan0']);
  await judge(
    [
      { what: 'on this one', from: LAN, to: [HOST, 8091], dnat: '10.70.0.2:80', fate: 'forgotten' },
      { what: 'on another', from: LAN, to: ['192.0.2.9', 8091], dnat: '10.70.0.2:80', fate: 'kept' },
    ],
    { ...NOTHING, ports: PORTS },
  );
});

conntrack('entries that the networks would not let pass are deleted, whatever their protocol', async () => {
  for (const protocol of ['udp', 'tcp', 'icmp', 'sctp']) {
    const cases = protocol === 'icmp' ? BY_NETWORK.filter(({ dnat }) => dnat === undefined) : BY_NETWORK;
    const sixes = of(protocol === 'icmp' ? 'icmpv6' : protocol, cases.map(sixOf));
    await judge([...of(protocol, cases), ...sixes], { ...NOTHING, networks: NETWORKS });
    execFileSync('conntrack', ['-F'], { stdio: 'ignore' });
  }
});

conntrack('entries with another source than they would have now are deleted, unless they go on', async () => {
  const chosen = [network(70, { outbound: ['192.0.2.9', '2001:db8:2::9'] })];
  const out = (snat: string, fate: string, more: Partial<Case> = {}): Case => ({
    what: `from ${snat}`,
    from: '10.70.0.3',
    to: [FAR, 81],
    snat,
    fate,
    ...more,
  });
  const cases = [out('192.0.2.9', 'kept'), out(HOST, 'forgotten'), out(HOST, 'forgotten', { from: '10.70.0.4' })];
  const six = cases.map((one) => ({ ...sixOf(one), snat: one.snat === HOST ? HOST6 : '2001:db8:2::9' }));
  for (const protocol of ['udp', 'tcp']) {
    await judge(of(protocol, [...cases, ...six]), { ...NOTHING, networks: chosen });
    execFileSync('conntrack', ['-F'], { stdio: 'ignore' });
  }
  const answered = { answered: true };
  await judge([out(HOST, 'kept', { ...answered, protocol: 'tcp' }), out(HOST, 'forgotten', answered)], {
    ...NOTHING,
    networks: chosen,
  });
  execFileSync('conntrack', ['-F'], { stdio: 'ignore' });
  // An address that was chosen for the other family does not matter.
  await judge([out(HOST, 'kept')], { ...NOTHING, networks: [network(70, { outbound: ['2001:db8:2::9'] })] });
});

conntrack('without rules every entry stays', async () => {
  const kept = both([...BY_PORT, ...BY_NETWORK]).map((one) => ({ ...one, fate: 'kept' }));
  await judge(kept, NOTHING);
});

conntrack('entries of an address are deleted, the others stay', async () => {
  const forget = (...addresses: string[]) => outside.conntrackForget({ ...NOTHING, addresses });
  const talk = async (family: 'udp4' | 'udp6', address: string, times: number) => {
    for (let i = 0; i < times; i++) {
      const socket = createSocket(family);
      const send = () => new Promise<boolean>((sent) => socket.send('x', 9, address, (error) => sent(error === null)));
      await until(`${address} is there`, send);
      socket.close();
    }
  };
  await talk('udp4', HOST, 300);
  await talk('udp6', HOST6, 3);
  await talk('udp4', '127.0.0.1', 2);
  await talk('udp6', '::1', 2);
  // Not exactly as many: the kernel may have given a socket the port of an earlier one.
  const tracked = list('-d', HOST).length;
  assert.ok(tracked > 256, String(tracked));
  assert.is(await forget(HOST), tracked);
  assert.is(await forget(HOST), 0);
  assert.is(list('-f', 'ipv6', '-d', HOST6).length, 3);
  assert.is(await forget(HOST6), 3);
  // Concurrent requests are all executed, whether they share a walk or not.
  await talk('udp6', HOST6, 1);
  await Promise.all([HOST6, '127.0.0.1', '192.0.2.9'].map((address) => forget(address)));
  assert.is(list('-f', 'ipv6', '-d', HOST6).length, 0);
  assert.is(list('-d', '127.0.0.1').length, 0);
  assert.is(await forget('::1'), 2);
});

conntrack('requests that make no sense are refused', async () => {
  const codes = await Promise.all(
    [
      { ...NOTHING, addresses: ['10.9.0'] },
      { ...NOTHING, networks: [network(70, { subnets: ['10.70.0.0/33'] })] },
      { ...NOTHING, networks: [network(70, { subnets: ['10.70.0.0'] })] },
      { ...NOTHING, ports: [open('udp', 53, '10.70.0.2:53', { family: 6 })] },
      { ...NOTHING, ports: [open('udp', 53, '10.70.0.2:53', { protocol: 'icmp' })] },
    ].map(async (rules) => (await kernelFailure(outside.conntrackForget(rules))).code),
  );
  assert.equal(codes, ['EINVAL', 'EINVAL', 'EINVAL', 'EINVAL', 'EINVAL']);
});

conntrack.run();

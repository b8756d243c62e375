// slow: 30 s, a LAN is built and compared byte for byte around each case
/**
 * A network on a bridge that others have made, with a LAN behind it. The containers are hosts of that LAN, nothing
 * about the bridge is changed, and when the last container has gone the bridge and its uplink are byte for byte as they
 * were. In both families, with a daemon that is killed in between, and with a bridge that goes away and comes back.
 */
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside } from '../../native/index.ts';
import type { NetworkRequest } from '../../state/network.ts';
import type { Check } from '../../state/answers/doctor.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, on, pathOf, port, TestDaemon, type Body } from '../harness/daemon.ts';
import { dig } from '../harness/dns.ts';
import { asUser, sayAs } from '../harness/peer.ts';
import { addNetns, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { calm, assertComesBackTo, inside, inspectKernel, ipJson, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

/** The host on its bridge, the router of the LAN, and a host behind that router. */
const HOST = { 4: '192.0.2.5', 6: '2001:db8:2::5' };
const ROUTER = { 4: '192.0.2.1', 6: '2001:db8:2::1' };
const BEYOND = { 4: '203.0.113.9', 6: '2001:db8:9::9' };
/** The first address of the range is the host's own: no container may get it. */
const FIRST = { 4: '192.0.2.6', 6: '2001:db8:2::6' };
const LAN: NetworkRequest = {
  name: 'lan',
  network_interface: 'br0',
  options: { mode: 'unmanaged' },
  subnets: [
    { subnet: '192.0.2.0/24', gateway: ROUTER[4], lease_range: { start_ip: HOST[4], end_ip: '192.0.2.99' } },
    { subnet: '2001:db8:2::/64', gateway: ROUTER[6], lease_range: { start_ip: HOST[6], end_ip: '2001:db8:2::99' } },
  ],
};
const FAMILIES = [4, 6] as const;
const PROTOCOLS = ['tcp', 'udp'] as const;

const daemon = new TestDaemon();
const outside = openOutside();
const unmanaged = suite('unmanaged networks');
let lan: string;

/** Acts as the host's administrator. A bridge without a MAC of its own has the lowest MAC of its ports. */
const makeBridge = (mtu = 1500) =>
  execFileSync('ip', ['-batch', '-'], {
    input: `link add br0 type bridge
      link set uplink mtu ${mtu} master br0
      link set br0 up
      addr add ${HOST[4]}/24 dev br0
      addr add ${HOST[6]}/64 dev br0 nodad\n`,
  });
const ip = (...words: string[]) => execFileSync('ip', words, { encoding: 'utf8' });
const restart = async (): Promise<void> => {
  await daemon.kill();
  await daemon.start();
};

unmanaged.before(async () => {
  lan = addNetns('lan');
  execFileSync('sysctl', ['-qw', 'net.ipv6.conf.default.accept_dad=0']);
  ip('link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', 'lan');
  // A MAC as of hardware: nearly all that the kernel picks for a veth are lower.
  ip('link', 'set', 'uplink', 'address', 'fc:34:97:00:00:05', 'up');
  makeBridge();
  execFileSync('ip', ['-n', 'lan', '-batch', '-'], {
    input: `link set eth0 up
      addr add ${ROUTER[4]}/24 dev eth0
      addr add ${ROUTER[6]}/64 dev eth0 nodad
      addr add ${BEYOND[4]}/32 dev lo
      addr add ${BEYOND[6]}/128 dev lo\n`,
  });
  await daemon.start();
  await calm();
});
unmanaged.after(async () => {
  await daemon.stop();
});

/** Everything except cleat's own ports: objects of the bridge, of its uplink and of the host. */
function theirs(): Picture {
  const about = (...words: string[]) =>
    ipJson<{ ifname?: string; dev?: string }[]>(undefined, ...words)
      .filter(({ ifname, dev }) => !(ifname ?? dev ?? '').startsWith('ve'))
      .flatMap((one) => JSON.stringify(one, null, 1).split('\n'))
      // With a port beside it, a bridge listens to all that its uplink receives.
      .filter((line) => !/_timer"|"promiscuity"/.test(line));
  const { ruleset = [], neighbours = [], rules = [], switches = [] } = inspectKernel();
  return {
    links: about('-d', 'link'),
    addresses: about('address'),
    routes4: about('-4', 'route', 'show', 'table', 'all'),
    routes6: about('-6', 'route', 'show', 'table', 'all'),
    rules,
    ruleset,
    neighbours,
    switches: switches.filter((line) => !line.includes('conf/ve')),
  };
}

type Refused = { status: number; body: Body };
const said = ({ status, body }: Refused) => `${status} ${body.error?.code}`;
const create = (more: object): Promise<Refused> => daemon.request('POST', '/v1/networks', { ...LAN, ...more });

/** The server sees the container itself, whoever connects, in both families and protocols. */
async function isOnTheLan(container: ContainerView, why: string): Promise<void> {
  await withAgents([pathOf(container), lan, null], async (web, far, host) => {
    for (const protocol of PROTOCOLS) {
      await web.serve('web', protocol, 80);
      await far.serve('lan', protocol, 7);
      for (const family of FAMILIES) {
        const own = addressOf(container, 'lan', family);
        const to = (agent: typeof far, address: string, number: number) => agent.dial(protocol, address, number, 2000);
        assert.is(await to(web, ROUTER[family], 7), `lan ${own}`, `${why}: ${protocol} to the LAN`);
        assert.is(await to(web, BEYOND[family], 7), `lan ${own}`, `${why}: ${protocol} beyond the router`);
        assert.is(await to(far, own, 80), `web ${ROUTER[family]}`, `${why}: ${protocol} from the LAN`);
        assert.is(await to(host, own, 80), `web ${HOST[family]}`, `${why}: ${protocol} from the host`);
      }
    }
  });
}

unmanaged('options that cannot be on a bridge of others are refused by name, and nothing changes', async () => {
  const before = (await daemon.get('/v1/networks')).text;
  const refusals: [object, string, RegExp][] = [
    [{ network_interface: undefined }, '400 BAD_REQUEST', /name of the bridge/],
    [{ subnets: undefined }, '400 BAD_REQUEST', /which subnet is behind its bridge/],
    [{ subnets: LAN.subnets?.slice(0, 1), ipv6_enabled: true }, '400 BAD_REQUEST', /which IPv6 subnet is behind/],
    [{ internal: true }, '400 BAD_REQUEST', /no rules on br0/],
    ...['mtu=1400', 'isolate=false', 'outbound_addr4=192.0.2.9', 'outbound_addr6=2001:db8::9'].map(
      (text): [object, string, RegExp] => {
        const [key = '', value] = text.split('=');
        return [
          { options: { mode: 'unmanaged', [key]: value } },
          '400 BAD_REQUEST',
          new RegExp(`^${key} means nothing`),
        ];
      },
    ),
    [{ options: { mode: 'ours' } }, '400 BAD_REQUEST', /./],
  ];
  for (const [more, expected, message] of refusals) {
    const answer = await create(more);
    assert.is(said(answer), expected, JSON.stringify(more));
    assert.match(answer.body.error?.message ?? '', message);
  }
  assert.is(sayAs(daemon, asUser(65_534, 0), LAN, '/v1/networks'), '403 NOT_ALLOWED');
  assert.is((await daemon.get('/v1/networks')).text, before);
});

unmanaged('a subnet that is routed on that very bridge gives no warning', async () => {
  const { status, body } = (await create({})) as { status: number; body: { warnings?: string[] } };
  assert.is(status, 201, JSON.stringify(body));
  assert.is(body.warnings?.length, 1);
  assert.match(body.warnings?.[0] ?? '', /can ask the name server/);
  const { checks } = (await daemon.get<{ checks: Check[] }>('/v1/doctor')).body;
  const of = (name: string) => checks.filter((check) => check.name === name).map(({ ok }) => ok);
  assert.equal([of('routes'), of('bridge')], [[true], [true]]);
  // The network stays unmanaged, and no other network gets the bridge.
  const update = await daemon.request('PATCH', '/v1/networks/lan', { options: { mode: 'managed' } });
  assert.is(said(update), '400 BAD_REQUEST');
  const other = await create({ name: 'other', options: {}, subnets: [{ subnet: '10.70.0.0/24' }] });
  assert.is(said(other), '409 INTERFACE_TAKEN');
});

unmanaged('containers are hosts of the LAN, and the bridge is as it was, also after kill -9', async () => {
  const before = theirs();
  const a = await daemon.up('a', { networks: on('lan') });
  assert.equal([addressOf(a, 'lan'), addressOf(a, 'lan', 6)], [FIRST[4], FIRST[6]]);
  const own = await daemon.event({ type: 'create', id: 'x', networks: { lan: { static_ips: [HOST[4]] } } });
  const configured = own.status === 200 ? await daemon.event({ type: 'configure', id: 'x' }) : own;
  assert.is(said(configured), '409 ADDRESS_TAKEN');
  await daemon.down('x');
  const look = async (why: string) => {
    await isOnTheLan(a, why);
    await daemon.clean();
    await assertComesBackTo(before, theirs, 2000);
    const { body } = await daemon.get<ContainerView>('/v1/containers/a');
    assert.equal([body.state, body.drift], ['up', []], why);
    // Any host may answer for the router: no neighbour is known beforehand.
    assert.is(inside(pathOf(a), 'ip', 'neighbour', 'show', 'nud', 'permanent'), '', why);
  };
  await look('at first');
  await restart();
  await look('after a restart');
  await daemon.done({ type: 'reload', id: 'a', full: true });
  await look('after a full reload');
});

unmanaged('names are answered on the addresses of the bridge, and follow them', async () => {
  const b = await daemon.up('b', { networks: on('lan') });
  const asked = (server: string, type: 'A' | 'AAAA') => dig(outside, pathOf(b), server, 'a', type);
  assert.match(await asked(HOST[4], 'A'), new RegExp(`${FIRST[4]}$`));
  assert.match(await asked(HOST[6], 'AAAA'), new RegExp(`${FIRST[6]}$`));
  const servers = async () =>
    (await daemon.get<ContainerView>('/v1/containers/b')).body.networks['lan']?.dns_server_ips ?? [];
  assert.equal(await servers(), [HOST[4], HOST[6]]);
  ip('addr', 'add', '192.0.2.250/24', 'dev', 'br0');
  await until('the new address is told', async () => (await servers()).includes('192.0.2.250'), 15_000);
  assert.match(await asked('192.0.2.250', 'A'), new RegExp(`${FIRST[4]}$`));
  ip('addr', 'del', '192.0.2.250/24', 'dev', 'br0');
  await until('and that it has gone', async () => !(await servers()).includes('192.0.2.250'), 15_000);
  await daemon.down('b');
});

unmanaged('containers have the MTU of the bridge, and leave it as it is', async () => {
  const mtus = (link: string) =>
    ipJson<{ ifname: string; mtu: number }[]>(undefined, 'link').find(({ ifname }) => ifname === link)?.mtu;
  ip('link', 'set', 'uplink', 'mtu', '1400');
  assert.is(mtus('br0'), 1400);
  const { body: a } = await daemon.get<ContainerView>('/v1/containers/a');
  const mtu = () => ipJson<{ mtu: number }[]>(pathOf(a), 'link', 'show', 'eth0')[0]?.mtu;
  await until('the container follows', () => mtu() === 1400, 15_000);
  const b = await daemon.up('b', { networks: on('lan') });
  assert.is(mtus('br0'), 1400);
  assert.is(ipJson<{ mtu: number }[]>(pathOf(b), 'link', 'show', 'eth0')[0]?.mtu, 1400);
  await daemon.down('b');
  ip('link', 'set', 'uplink', 'mtu', '1500');
  ip('link', 'set', 'br0', 'mtu', '1500');
  await until('and back', () => mtu() === 1500, 15_000);
  await daemon.clean();
});

unmanaged(
  'ports are refused by the firewall, move to another network if there is one, and work by the forwarder',
  async () => {
    const ports = PROTOCOLS.map((protocol) => port(8080, 80, { protocol }));
    const refused = await (async () => {
      const made = await daemon.event({ type: 'create', id: 'p', networks: on('lan'), port_mappings: ports });
      return made.status === 200 ? daemon.event({ type: 'configure', id: 'p' }) : made;
    })();
    assert.is(said(refused), '400 PORTS_NEED_NETWORK');
    assert.match(refused.body.error?.message ?? '', /publishes none on an unmanaged network \(lan\)/);
    await daemon.down('p');
    const late = await daemon.event({ type: 'publish', id: 'a', port_mappings: ports });
    assert.is(said(late), '400 PORTS_NEED_NETWORK');
    await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }] });
    for (const how of [
      { networks: on('lan'), port_handler: 'forwarder' as const },
      { networks: { lan: { gateway_priority: 9 }, web: {} } },
    ]) {
      const up = await daemon.up('p', { ...how, port_mappings: ports });
      const served = () =>
        withAgents([pathOf(up), lan], async (p, far) => {
          for (const protocol of PROTOCOLS) {
            await p.serve('p', protocol, 80);
            for (const family of FAMILIES) {
              assert.match(await far.dial(protocol, HOST[family], 8080, 2000), /^p /, JSON.stringify(how));
            }
          }
        });
      await served();
      await daemon.clean();
      await restart();
      await served();
      await daemon.clean();
      await daemon.down('p');
    }
  },
);

unmanaged('containers follow a bridge that goes away and comes back', async () => {
  const { body: a } = await daemon.get<ContainerView>('/v1/containers/a');
  const state = async () => (await daemon.get<ContainerView>('/v1/containers/a')).body.state;
  // The machine's own attempts are 1, 2, 4 and 8 s apart: in the middle of the longest it must not wait for the next.
  for (const between of [() => sleep(8000), restart]) {
    ip('link', 'del', 'br0');
    await until('it is seen to be cut off', async () => (await state()) === 'degraded', 15_000);
    await between();
    const { checks } = (await daemon.get<{ checks: Check[] }>('/v1/doctor')).body;
    assert.equal(
      checks.filter(({ name }) => name === 'bridge').map(({ ok }) => ok),
      [false],
    );
    const made = await daemon.event({ type: 'create', id: 'late', networks: on('lan') });
    const refused = made.status === 200 ? await daemon.event({ type: 'configure', id: 'late' }) : made;
    assert.is(said(refused), '409 BRIDGE_MISSING');
    assert.match(refused.body.error?.message ?? '', /br0 must already exist on the host/);
    await daemon.down('late');
    makeBridge();
    await until('it is whole again', async () => (await state()) === 'up', 5000);
    await isOnTheLan(a, 'after the bridge came back');
    await daemon.clean();
  }
});

unmanaged(
  'a container that is torn down while there is no bridge leaves nothing, nor does one whose start failed',
  async () => {
    ip('link', 'del', 'br0');
    await daemon.down('a');
    const made = await daemon.event({ type: 'create', id: 'a', networks: on('lan') });
    const refused = made.status === 200 ? await daemon.event({ type: 'configure', id: 'a' }) : made;
    assert.is(said(refused), '409 BRIDGE_MISSING');
    ip('link', 'add', 'br0', 'type', 'ifb');
    const again = await daemon.event(
      made.status === 200 ? { type: 'configure', id: 'a' } : { type: 'create', id: 'a', networks: on('lan') },
    );
    assert.is(said(again), '409 BRIDGE_MISSING');
    assert.match(again.body.error?.message ?? '', /is no bridge/);
    await daemon.down('a');
    ip('link', 'del', 'br0');
    makeBridge();
  },
);

unmanaged('when everything has gone, the host is byte for byte as it was', async () => {
  await calm();
  const found = inspectKernel();
  const a = await daemon.up('a', { networks: on('lan') });
  await restart();
  await isOnTheLan(a, 'again');
  await daemon.down('a');
  await assertComesBackTo(found, () => inspectKernel());
  assert.is((await daemon.request('DELETE', '/v1/networks/lan')).status, 204);
});

unmanaged.run();

/**
 * The ground of the attack matrix: a host with two uplinks, networks of every kind, and a station (stations.ts) in each
 * place that an attack can come from or arrive at.
 *
 * Guarantees: the kernels of all places except the host are silent (they answer ARP and neighbour solicitations, and
 * let the daemon query names), so that none of their answers disturbs a station. The host's forwarding is off until the
 * daemon turns it on.
 * Limits: the router of the LAN and the network behind it are the LAN neighbour's station with other addresses: to the
 * host it makes no difference.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { PortMapping } from '../../state/event.ts';
import { addressOf, on, pathOf, port, TestDaemon } from './daemon.ts';
import { addNetns } from './inside.ts';
import { macOf } from './frames.ts';
import type { Family } from './packets.ts';
import { inside, ipJson } from './picture.ts';
import { Stations } from './stations.ts';

/** An address of each family. */
export type Both = Record<Family, string>;

export const HOST: Both = { 4: '192.0.2.1', 6: '2001:db8:2::1' };
/** Another address of the host on the same LAN, which alone a port is published on. */
export const HOST_ONE: Both = { 4: '192.0.2.11', 6: '2001:db8:2::11' };
export const NEIGHBOUR: Both = { 4: '192.0.2.2', 6: '2001:db8:2::2' };
/** The LAN's router, which is the host's default route, and a machine behind it. */
export const ROUTER: Both = { 4: '192.0.2.3', 6: '2001:db8:2::3' };
export const FAR: Both = { 4: '198.51.100.2', 6: '2001:db8:ff::2' };
export const HOST_SECOND: Both = { 4: '203.0.113.1', 6: '2001:db8:3::1' };
export const SECOND: Both = { 4: '203.0.113.2', 6: '2001:db8:3::2' };

export interface Origin {
  name: string;
  station: string;
  /** Its source address when it does not lie. */
  own: Both;
  /** MACs on its Ethernet: its own, and the host's. Null: a program of the host. */
  mac: string | null;
  hostMac: string;
  /** The host's address that it sees. */
  host: Both;
  kind: 'outside' | 'container' | 'program' | 'uplink';
  /** Set for a container on a bridge. */
  network: Network | null;
  /** Set for a container behind a program with access to the host's loopback, at `host`. */
  loopback: boolean;
}

export interface Network {
  name: string;
  bridge: string;
  bridgeMac: string;
  gateway: Both;
  broadcast: string;
  isolate: 'strict' | 'true' | 'false';
  internal: boolean;
}

const NETWORKS = [
  { name: 'web', number: 70, isolate: 'strict', internal: false, containers: ['web', 'peer'] },
  { name: 'other', number: 71, isolate: 'strict', internal: false, containers: ['other'] },
  { name: 'inside', number: 72, isolate: 'strict', internal: true, containers: ['vault', 'cell'] },
  { name: 'half', number: 73, isolate: 'true', internal: false, containers: ['half'] },
  { name: 'open', number: 74, isolate: 'false', internal: false, containers: ['open'] },
] as const;

/** Ports of container web, all of which lead to its port 80. */
export const PUBLISHED = { everywhere: 8080, loopback4: 8081, loopback6: 8082, oneAddress: 8083 };
/**
 * Enough ports that each connection of a program, which carries no token, has its own: published on 127.0.0.1 and ::1
 * under the same number, and the host's own. pasta connects to a local address only when it cannot bind the port, so
 * there is a listener on all.
 */
export const UPLINK_PORTS = { published: 8200, own: 8400, count: 200 };

const PORT_MAPPINGS: PortMapping[] = [
  ...(['tcp', 'udp', 'sctp'] as const).flatMap((protocol) => [
    port(PUBLISHED.everywhere, 80, { protocol }),
    port(PUBLISHED.loopback4, 80, { protocol, host_ip: '127.0.0.1' }),
    port(PUBLISHED.loopback6, 80, { protocol, host_ip: '::1' }),
    port(PUBLISHED.oneAddress, 80, { protocol, host_ip: HOST_ONE[4] }),
    port(PUBLISHED.oneAddress, 80, { protocol, host_ip: HOST_ONE[6] }),
  ]),
  ...['127.0.0.1', '::1'].flatMap((host_ip) =>
    (['tcp', 'udp'] as const).map((protocol) =>
      port(UPLINK_PORTS.published, UPLINK_PORTS.published, { protocol, host_ip, range: UPLINK_PORTS.count }),
    ),
  ),
];

export const DNS_PORT = 53;

export interface Ground {
  daemon: TestDaemon;
  stations: Stations;
  networks: Network[];
  origins: Origin[];
  /** Containers on bridges that only allowed sources may reach. */
  victims: { name: string; address: Both; network: Network; mac: string }[];
  bridgeNetfilter: boolean;
  setSwitches: (rpFilter: number, bridgeNf: number) => void;
  end: () => Promise<void>;
}

export async function makeGround(): Promise<Ground> {
  makeLans();
  const daemon = new TestDaemon();
  await daemon.start();
  const networks: Network[] = [];
  const containers = new Map<string, ContainerView>();
  for (const { name, number, isolate, internal, containers: ids } of NETWORKS) {
    const { network_interface: bridge } = await daemon.network({
      name,
      subnets: [{ subnet: `10.${number}.0.0/24` }, { subnet: `fd00:${number}::/64` }],
      options: { isolate },
      internal,
      dns_enabled: true,
    });
    const ports = name === 'web' ? { port_mappings: PORT_MAPPINGS } : {};
    for (const [i, id] of ids.entries())
      containers.set(id, await daemon.up(id, { networks: on(name), ...(i === 0 ? ports : {}) }));
    const gateway = { 4: `10.${number}.0.1`, 6: `fd00:${number}::1` };
    const bridgeMac = macOf(undefined, bridge);
    networks.push({ name, bridge, bridgeMac, gateway, broadcast: `10.${number}.0.255`, isolate, internal });
  }
  const stations = new Stations();
  const origins: Origin[] = [];
  for (const [name, station, own, link] of [
    ['LAN neighbour', 'lan', NEIGHBOUR, 'lan0'],
    ['behind a router', 'lan', FAR, 'lan0'],
    ['second uplink', 'second', SECOND, 'wan0'],
  ] as const) {
    const [mac, hostMac] = [macOf(`/run/netns/${station}`, 'eth0'), macOf(undefined, link)];
    const sees = station === 'lan' ? HOST : HOST_SECOND;
    origins.push({ name, station, own, mac, hostMac, host: sees, kind: 'outside', network: null, loopback: false });
  }
  await stations.add('lan', '/run/netns/lan', 'eth0');
  await stations.add('second', '/run/netns/second', 'eth0');
  const numbers = Array.from({ length: UPLINK_PORTS.count }, (_, i) => i);
  const listening = numbers.flatMap((i) => [UPLINK_PORTS.published + i, UPLINK_PORTS.own + i]);
  await stations.add('host', null, null, listening); // aardvark-dns 1.14 has port 53 of gateways
  silence('/run/netns/lan');
  silence('/run/netns/second');

  const victims: Ground['victims'] = [];
  for (const { name: of, containers: ids } of NETWORKS) {
    const network = found(networks, of);
    for (const [i, id] of ids.entries()) {
      const container = containers.get(id);
      if (container === undefined) throw new Error(id);
      const path = pathOf(container);
      await stations.add(id, path, 'eth0');
      silence(path);
      const own = { 4: addressOf(container, of), 6: addressOf(container, of, 6) };
      const mac = macOf(path, 'eth0');
      if (i === 0) victims.push({ name: id, address: own, network, mac });
      // The last container of a network attacks: another one than the victim, if there are two.
      if (i < ids.length - 1) continue;
      const hostMac = network.bridgeMac;
      const name = `container on ${of}`;
      origins.push({
        name,
        station: id,
        own,
        mac,
        hostMac,
        host: network.gateway,
        kind: 'container',
        network,
        loopback: false,
      });
    }
  }
  for (const [id, name, uplink, loopback] of UPLINKS) {
    const path = pathOf(await daemon.up(id, { uplink: { ...uplink, options: [...uplink.options] } }));
    const link = linkOf(path);
    await stations.add(id, path, link);
    silence(path);
    const own = { 4: ownAddress(path, link, 4), 6: ownAddress(path, link, 6) };
    const sees = uplink.program === 'slirp4netns' ? { 4: '10.0.2.2', 6: 'fd00::2' } : ROUTER;
    const [mac, hostMac] = [macOf(path, link), ANY_MAC];
    origins.push({ name, station: id, own, mac, hostMac, host: sees, kind: 'uplink', network: null, loopback });
  }
  origins.push({
    name: 'program of the host',
    station: 'host',
    own: HOST,
    mac: null,
    hostMac: '',
    host: HOST,
    kind: 'program',
    network: null,
    loopback: true,
  });

  return {
    daemon,
    stations,
    networks,
    origins,
    victims,
    bridgeNetfilter: readdirSync('/proc/sys/net').includes('bridge'),
    setSwitches,
    end: async () => {
      await stations.end();
      await daemon.stop();
    },
  };
}

/** The containers of user-mode programs: id, label, options, and whether they open the loopback. */
const UPLINKS = [
  ['slirp4netns', 'behind slirp4netns', { program: 'slirp4netns', options: ['enable_ipv6=true'] }, false],
  ['pasta', 'behind pasta', { program: 'pasta', options: [] }, false],
  [
    'slirp4netns-open',
    'behind slirp4netns with allow_host_loopback',
    { program: 'slirp4netns', options: ['enable_ipv6=true', 'allow_host_loopback=true'] },
    true,
  ],
  ['pasta-open', 'behind pasta with --map-gw', { program: 'pasta', options: ['--map-gw'] }, true],
] as const;
/** Both programs take every frame on their TAP device for themselves. */
const ANY_MAC = '52:55:0a:00:02:02';

function makeLans(): void {
  addNetns('lan');
  addNetns('second');
  // Deprecated addresses are no sources of their own (RFC 6724, rule 3): masquerading takes HOST.
  const add = (address: Both, link: string, more = '') =>
    `address add ${address[4]}/24 dev ${link}\naddress add ${address[6]}/64 dev ${link} nodad${more}\n`;
  const ip = (input: string, ...where: string[]) => execFileSync('ip', [...where, '-batch', '-'], { input });
  ip(`link add lan0 type veth peer name eth0 netns lan
link add wan0 type veth peer name eth0 netns second
${add(HOST, 'lan0')}${add(HOST_ONE, 'lan0', ' preferred_lft 0')}${add(HOST_SECOND, 'wan0')}link set lan0 up
link set wan0 up\n`);
  ip(`link set eth0 up\n${add(NEIGHBOUR, 'eth0')}${add(ROUTER, 'eth0')}${add(FAR, 'lo')}`, '-n', 'lan');
  ip(`link set eth0 up\n${add(SECOND, 'eth0')}`, '-n', 'second');
  ip(`route add default via ${ROUTER[4]}\nroute add ::/0 via ${ROUTER[6]} dev lan0\n`);
  // Both user-mode programs carry pings with ping sockets, if their group may have them (icmp(7)).
  writeFileSync('/proc/sys/net/ipv4/ping_group_range', '0 2147483647');
  // pasta sends from the host's port of the same number: none of those that attacks come from may be another program's by chance
  // (attack-tricks.ts), as it would be for every port that slirp4netns gets from the kernel.
  writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', '60001 65535');
}

function silence(path: string): void {
  const rules = `add table inet silence
add chain inet silence output { type filter hook output priority 0; policy drop; }
add rule inet silence output icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
add rule inet silence output udp dport ${DNS_PORT} accept\n`;
  execFileSync('nsenter', [`--net=${path}`, '--', 'nft', '-f', '-'], { input: rules });
}

function linkOf(path: string): string {
  const links = ipJson<{ ifname: string }[]>(path, 'link').map(({ ifname }) => ifname);
  const link = links.find((name) => name !== 'lo');
  if (link === undefined) throw new Error(`no link in ${path}`);
  return link;
}

function ownAddress(path: string, link: string, family: Family): string {
  const [shown] = ipJson<{ addr_info: { local: string }[] }[]>(path, `-${family}`, 'address', 'show', 'dev', link);
  const address = shown?.addr_info.map(({ local }) => local).find((local) => !local.startsWith('fe80'));
  if (address === undefined) throw new Error(`no IPv${family} address: ${inside(path, 'ip', 'address')}`);
  return address;
}

/** On every interface of the machine. */
function setSwitches(rpFilter: number, bridgeNf: number): void {
  for (const name of readdirSync('/proc/sys/net/ipv4/conf'))
    writeFileSync(`/proc/sys/net/ipv4/conf/${name}/rp_filter`, String(rpFilter));
  for (const name of ['iptables', 'ip6tables'])
    try {
      writeFileSync(`/proc/sys/net/bridge/bridge-nf-call-${name}`, String(bridgeNf));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
}

export function found<T extends { name: string }>(all: readonly T[], name: string): T {
  const one = all.find((each) => each.name === name);
  if (one === undefined) throw new Error(`no ${name}`);
  return one;
}

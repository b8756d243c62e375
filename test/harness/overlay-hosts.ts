/**
 * Hosts of an overlay, without a store: namespaces on one Ethernet, each with the real effects, and peers that the test hands out.
 *
 * Guarantees: host N has the address 192.0.2.N and the shares 10.128.N.0/24 and fd00:128:0:N::/64. What a test asks of the network is
 * asked by the programs of iproute2 and iputils, not by cleat.
 * Limits: containers are namespaces with a link that the test makes: effects of containers have tests of their own.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { lowerFirewall, raiseFirewall, readSwitches } from '../../effects/firewall/firewall.ts';
import { lowerNetwork, programPeers, raiseNetwork, repairNetwork, reviseNetwork } from '../../effects/links/bridge.ts';
import type { Switches } from '../../machines/firewall.ts';
import { bridgeMac } from '../../plan/addresses/neighbours.ts';
import type { Seen } from '../../plan/networks/unmanaged.ts';
import { publicOf } from '../../service/overlay/host-keys.ts';
import { OutsideLook } from '../../service/drift/drift-look.ts';
import { uplinkGuard } from '../../service/outsides/uplink-guard.ts';
import type { Difference } from '../../state/container.ts';
import type { Overlay, Peer } from '../../state/overlay.ts';
import { spaceOf } from '../../plan/networks/driver.ts';
import { definition } from './fixtures.ts';
import { addNetns, removeNetns } from './inside.ts';
import { testKernel } from './kernel.ts';

export const POOLS = ['10.128.0.0/10', 'fd00:128::/48'];
const FORWARD_OTHERS = () => false;

export const addressOfHost = (n: number): string => `192.0.2.${n}`;
export const sharesOf = (n: number): string[] => [`10.128.${n}.0/24`, `fd00:128:0:${n.toString(16)}::/64`];
/** The container of a host, by family. */
export const containerAddress = (n: number, family: 4 | 6 = 4): string =>
  family === 4 ? `10.128.${n}.2` : `fd00:128:0:${n.toString(16)}::2`;
export const macOfHost = (n: number): string => `02:12:80:00:00:${n.toString(16).padStart(2, '0')}`;

export const peerOf = (n: number): Peer => ({
  host: n.toString(16).padStart(32, '0'),
  address: addressOfHost(n),
  mac: macOfHost(n),
  subnets: sharesOf(n),
});

const MTUS = { vxlan: '1450', 'host-gw': '1500', wireguard: '1440' };

/** An id per host: all are on one machine here, where two links of one name cannot be WireGuard's (wireguard-helper.ts). */
const wireguardId = (n: number): string => definition('ov', '10.128.0.0/24', '10.128.0.1').id.replace(/^./, String(n));
/** The keys of hosts: the same in each run, so that nothing has to be told. */
const privateKeyOf = (n: number): string => Buffer.alloc(32, n).toString('base64');
const publicKeyOf = (n: number): string => publicOf(privateKeyOf(n));
/** The other host with the key that it has in an overlay of WireGuard. */
export const keyedPeer = (n: number): Peer => ({ ...peerOf(n), public_key: publicKeyOf(n) });

export function overlayOf(
  n: number,
  peers: readonly Peer[],
  more: Partial<Overlay> & { internal?: boolean } = {},
  mtu = MTUS[more.backend ?? 'vxlan'],
): Seen {
  const { internal = false, ...shared } = more;
  const [four = '', six = ''] = sharesOf(n);
  const network = definition('ov', four, `10.128.${n}.1`, { driver: 'overlay', internal, ipv6_enabled: true });
  const isWireguard = shared.backend === 'wireguard';
  const id = isWireguard ? wireguardId(n) : network.id;
  return {
    ...network,
    id,
    subnets: [...network.subnets, { subnet: six, gateway: `${six.replace('/64', '')}1` }],
    options: { mtu },
    overlay: {
      name: 'ov',
      id,
      pools: POOLS,
      host_prefix: 24,
      host_prefix6: 64,
      backend: 'vxlan',
      vni: 0x12_34_56,
      port: isWireguard ? 51_820 : 4789,
      mac: macOfHost(n),
      address: addressOfHost(n),
      ...(isWireguard ? { public_key: publicKeyOf(n) } : {}),
      ...shared,
    },
    peers,
  };
}

export const run = (netns: string | null, ...words: string[]): string =>
  netns === null
    ? execFileSync(words[0] ?? '', words.slice(1), { encoding: 'utf8' })
    : execFileSync('ip', ['netns', 'exec', netns, ...words], { encoding: 'utf8' });

const PING = new URL('../../../test/harness/ping.py', import.meta.url).pathname;

/** True if an answer comes within a second. `size`: the whole packet's, which is not fragmented. */
export const pings = (netns: string, to: string, size = 60, source = '', seconds = 1): boolean =>
  spawnSync('ip', ['netns', 'exec', netns, 'python3', PING, to, String(size), source, String(seconds)]).status === 0;

const kernel = testKernel('cleat', (network) => privateKeyOf(Number(network[0])));

export class OverlayHost {
  readonly n: number;
  readonly netns: string;
  readonly path: string;
  #found: Switches = {};
  readonly #others: string[] = [];

  private constructor(n: number) {
    this.n = n;
    this.netns = `host${n}`;
    this.path = addNetns(this.netns);
  }

  /** Puts a host on the Ethernet `wire`, a bridge of the test's own namespace. */
  static async start(n: number): Promise<OverlayHost> {
    const host = new OverlayHost(n);
    if (spawnSync('ip', ['link', 'show', 'wire'], { stdio: 'ignore' }).status !== 0) {
      run(null, 'ip', 'link', 'add', 'wire', 'up', 'type', 'bridge');
    }
    run(
      null,
      'ip',
      'link',
      'add',
      `wire${n}`,
      'up',
      'master',
      'wire',
      'type',
      'veth',
      'peer',
      'eth0',
      'netns',
      host.netns,
    );
    run(host.netns, 'ip', 'link', 'set', 'lo', 'up');
    run(host.netns, 'ip', 'address', 'add', `${addressOfHost(n)}/24`, 'dev', 'eth0');
    run(host.netns, 'ip', 'link', 'set', 'eth0', 'up', 'addrgenmode', 'none');
    host.#found = await readSwitches(kernel)({ outside: host.path });
    return host;
  }

  get kernel() {
    return kernel.outside(this.path).kernel;
  }

  #input(network: Seen) {
    return { definition: network, mac: bridgeMac(network.id), outside: this.path };
  }

  async raise(network: Seen): Promise<void> {
    await raiseFirewall(kernel, FORWARD_OTHERS, uplinkGuard)({ outside: this.path, found: this.#found });
    await raiseNetwork(kernel)(this.#input(network));
  }

  async program(network: Seen): Promise<void> {
    await programPeers(kernel)(this.#input(network));
  }

  async repair(network: Seen): Promise<void> {
    await repairNetwork(kernel, () => [])(this.#input(network));
  }

  async revise(from: Seen, to: Seen): Promise<void> {
    const { mac, outside } = this.#input(to);
    await reviseNetwork(kernel, () => [])({ from, to, mac, outside });
  }

  async lower(network: Seen): Promise<void> {
    await lowerNetwork(kernel)(this.#input(network));
  }

  async lowerTable(): Promise<void> {
    await lowerFirewall(kernel)({ outside: this.path, found: this.#found });
  }

  look(network: Seen): Promise<Difference[]> {
    return new OutsideLook(kernel, this.path, 0, () => spaceOf(network)).network(network, []);
  }

  /** Makes a namespace with these addresses on a bridge of the host, which is its gateway. */
  attach(name: string, bridge: string, gateways: readonly string[], addresses: readonly string[]): string {
    addNetns(name);
    this.#others.push(name);
    run(
      this.netns,
      'ip',
      'link',
      'add',
      `v-${name}`,
      'up',
      'master',
      bridge,
      'type',
      'veth',
      'peer',
      'eth0',
      'netns',
      name,
    );
    run(name, 'ip', 'link', 'set', 'lo', 'up');
    run(name, 'sysctl', '-qw', 'net.ipv6.conf.eth0.accept_dad=0');
    run(name, 'ip', 'link', 'set', 'eth0', 'up', 'mtu', run(this.netns, 'cat', `/sys/class/net/${bridge}/mtu`).trim());
    for (const address of addresses) {
      run(name, 'ip', 'address', 'add', `${address}/${address.includes(':') ? 64 : 24}`, 'dev', 'eth0');
    }
    for (const gateway of gateways) run(name, 'ip', 'route', 'add', 'default', 'via', gateway);
    return name;
  }

  /** Makes the container of this host on the overlay. */
  container(network: Seen): string {
    const gateways = network.subnets.flatMap(({ gateway }) => gateway ?? []);
    const addresses = [containerAddress(this.n), containerAddress(this.n, 6)];
    return this.attach(`c${this.n}`, network.network_interface, gateways, addresses);
  }

  stop(): void {
    for (const name of this.#others) removeNetns(name);
    // wireguard-go outlives the daemon, and would keep the namespace.
    for (const pid of run(null, 'ip', 'netns', 'pids', this.netns).split('\n').filter(Boolean))
      process.kill(Number(pid), 'SIGKILL');
    kernel.close(this.path);
    spawnSync('ip', ['link', 'del', `wire${this.n}`]);
    removeNetns(this.netns);
  }
}

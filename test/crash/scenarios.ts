/**
 * Lives of containers with every kind of event and every effect, for crash, interference and mutation tests.
 *
 * Guarantees: together they pass the failpoints of every effect and of every file that is written (points.test.ts).
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { on, port, type TestDaemon } from '../harness/daemon.ts';
import { resolversIn } from '../harness/dns.ts';
import { cniGround } from '../harness/conflist.ts';
import { isRootless } from '../harness/host.ts';
import type { Life, Scenario } from '../harness/life.ts';
import type { NetworkRequest } from '../../state/network.ts';
import { forwardersOf, signalAll, uplinksOf } from '../harness/programs.ts';

const ip = (...args: string[]): void => void execFileSync('ip', args);
const nft = (...args: string[]): void => void execFileSync('nft', args);

const bridgeOf = (daemon: TestDaemon, network: string): string => {
  const text = readFileSync(`${daemon.stateDir}/networks/${network}.json`, 'utf8');
  return (JSON.parse(text) as { network_interface: string }).network_interface;
};

/** The only container: networks, firewall and switches are raised for it, the ledger of ports begins and ends with it. */
export const alone: Scenario = {
  networks: [{ name: 'dual', ipv6_enabled: true }],
  witness: false,
  publisher: true,
  steps: [
    { type: 'create', id: 'life', networks: on('dual'), port_mappings: [port(8081, 80)] },
    { type: 'configure', id: 'life' },
    { type: 'teardown', id: 'life' },
  ],
};

/** Every kind of event, beside another container. */
export const beside: Scenario = {
  networks: [{ name: 'dual', ipv6_enabled: true }, { name: 'second' }],
  witness: true,
  steps: [
    { type: 'create', id: 'life', networks: on('second'), port_mappings: [port(0, 53, { protocol: 'udp' })] },
    { type: 'configure', id: 'life' },
    { type: 'connect', id: 'life', network: 'dual' },
    { type: 'publish', id: 'life', port_mappings: [port(8082, 82)] },
    { type: 'reload', id: 'life' },
    { type: 'unpublish', id: 'life', port_mappings: [port(8082, 82)] },
    { type: 'disconnect', id: 'life', network: 'second' },
    { type: 'teardown', id: 'life' },
  ],
};

/** The primary network changes, links are replaced, ports move, a namespace outlives its owner. */
export const live: Scenario = {
  networks: [
    { name: 'front', ipv6_enabled: true },
    { name: 'back', ipv6_enabled: true },
  ],
  witness: true,
  steps: [
    { type: 'create', id: 'blue', networks: on('front'), port_mappings: [port(8080, 80, { range: 2 })] },
    { type: 'configure', id: 'blue' },
    { type: 'create', id: 'green', networks: on('front') },
    { type: 'configure', id: 'green' },
    { type: 'connect', id: 'blue', network: 'back', options: { gateway_priority: 3 } },
    { type: 'reload', id: 'blue', full: true },
    { type: 'publish', id: 'green', port_mappings: [port(8080, 8000)], from: 'blue' },
    { type: 'disconnect', id: 'blue', network: 'back' },
    { type: 'unpublish', id: 'blue', port_mappings: [port(8081, 81)] },
    { type: 'create', id: 'side', netns: { mode: 'container', id: 'green' } },
    { type: 'teardown', id: 'green' },
    { type: 'teardown', id: 'blue' },
    { type: 'teardown', id: 'side' },
  ],
};

/** A network changes under two containers, and then cannot change. */
export const update: Scenario = {
  networks: [
    // The addresses are given, so that the elements of maps are in the same order in every run.
    { name: 'front', subnets: [{ subnet: '10.59.0.0/24' }, { subnet: 'fd00:59::/64' }] },
    { name: 'net', subnets: [{ subnet: '10.60.0.0/24' }] },
  ],
  witness: true,
  steps: [
    { type: 'create', id: 'one', networks: on('net'), port_mappings: [port(8083, 80)] },
    { type: 'configure', id: 'one' },
    { type: 'create', id: 'two', networks: on('net', 'front') },
    { type: 'configure', id: 'two' },
    {
      type: 'update',
      network: 'net',
      change: {
        options: { mtu: '1400', metric: '50' },
        subnets: [{ subnet: '10.60.0.0/24', gateway: '10.60.0.254' }, { subnet: 'fd00:60::/64' }],
      },
    },
    {
      type: 'update',
      network: 'net',
      change: {
        options: { mtu: '1300', metric: null },
        subnets: [{ subnet: '10.60.0.0/24', gateway: '10.60.0.253' }],
        routes: [{ destination: '198.51.100.0/24', gateway: '192.0.2.1' }],
      },
      refused: true,
    },
    {
      type: 'update',
      network: 'net',
      change: {
        options: { isolate: 'true', no_default_route: 'true' },
        remove_subnets: ['10.60.0.0/24'],
        subnets: [{ subnet: '10.60.0.0/23' }],
      },
    },
    { type: 'teardown', id: 'one' },
    { type: 'teardown', id: 'two' },
  ],
};

/** Others remove our objects, and the daemon restores them. */
export const damage: Scenario = {
  networks: [
    { name: 'front', ipv6_enabled: true },
    { name: 'web', subnets: [{ subnet: '10.50.0.0/24' }] },
  ],
  witness: false,
  steps: [
    { type: 'create', id: 'life', networks: on('web'), port_mappings: [port(8084, 80)] },
    { type: 'configure', id: 'life' },
    { type: 'damage', what: 'the ruleset is flushed', act: () => nft('flush', 'ruleset') },
    { type: 'damage', what: 'the bridge is deleted', act: (daemon) => ip('link', 'del', bridgeOf(daemon, 'web')) },
    { type: 'teardown', id: 'life' },
  ],
};

/** Names, files, and an outer publisher. */
export const names: Scenario = {
  networks: [
    { name: 'front', ipv6_enabled: true },
    { name: 'named', dns_enabled: true, subnets: [{ subnet: '10.70.0.0/24' }] },
  ],
  witness: true,
  publisher: true,
  steps: [
    { type: 'create', id: 'db', networks: on('named'), files: true, port_mappings: [port(8085, 80)] },
    { type: 'configure', id: 'db' },
    { type: 'create', id: 'app', networks: on('named') },
    { type: 'configure', id: 'app' },
    {
      type: 'damage',
      what: 'the resolver is killed',
      act: (daemon) => resolversIn(daemon.directory).forEach((pid) => process.kill(pid, 'SIGKILL')),
    },
    { type: 'unpublish', id: 'db', port_mappings: [port(8085, 80)] },
    { type: 'teardown', id: 'app' },
    { type: 'teardown', id: 'db' },
  ],
};

/** Uplink programs replace networks, they and the forwarder carry ports, and end. */
export const programs: Scenario = {
  networks: [{ name: 'front', ipv6_enabled: true }],
  // The forwarder is killed, which carries a user's ports, and so the witness's connection.
  witness: !isRootless,
  steps: [
    { type: 'create', id: 'out', uplink: { program: 'slirp4netns' }, port_mappings: [port(8086, 80)] },
    { type: 'configure', id: 'out' },
    {
      type: 'create',
      id: 'own',
      uplink: { program: 'slirp4netns', options: ['port_handler=slirp4netns'] },
      files: true,
      port_mappings: [port(8087, 80)],
    },
    { type: 'configure', id: 'own' },
    { type: 'publish', id: 'own', port_mappings: [port(8088, 81)] },
    { type: 'reload', id: 'out' },
    { type: 'damage', what: 'the programs are killed', act: (daemon) => signalAll(uplinksOf(daemon), 'SIGKILL') },
    { type: 'damage', what: 'the forwarder is killed', act: (daemon) => signalAll(forwardersOf(daemon), 'SIGKILL') },
    { type: 'unpublish', id: 'out', port_mappings: [port(8086, 80)] },
    { type: 'teardown', id: 'own' },
    { type: 'teardown', id: 'out' },
  ],
};

/** A program holds the firewall; a network comes, with forwarding, and goes again before the program does. */
export const forwarding: Scenario = {
  networks: [{ name: 'front', ipv6_enabled: true }],
  witness: false,
  steps: [
    { type: 'create', id: 'out', uplink: { program: 'slirp4netns' } },
    { type: 'configure', id: 'out' },
    { type: 'create', id: 'life', networks: on('front'), port_mappings: [port(8089, 80)] },
    { type: 'configure', id: 'life' },
    { type: 'teardown', id: 'life' },
    { type: 'teardown', id: 'out' },
  ],
};

/** The host has firewalld, which has the network's bridge while the network is up. */
export const zones: Scenario = {
  networks: [{ name: 'dual', ipv6_enabled: true }],
  witness: false,
  firewalld: true,
  steps: [
    { type: 'create', id: 'life', networks: on('dual') },
    { type: 'configure', id: 'life' },
    { type: 'teardown', id: 'life' },
  ],
};

/** A plugin that leaves nothing behind: the reference plugins keep a bridge, and forwarding on. Like theirs, it adds once. */
const CABLE = `
host=c$(printf %s "$CNI_CONTAINERID" | cksum | cut -d' ' -f1)
case "$CNI_COMMAND" in
ADD)
  ip link add "$host" type veth peer name "$CNI_IFNAME" netns "$CNI_NETNS" || exit 1
  nsenter --net="$CNI_NETNS" ip addr add 10.99.0.2/24 dev "$CNI_IFNAME"
  nsenter --net="$CNI_NETNS" ip link set "$CNI_IFNAME" up
  ip link set "$host" up
  echo '{"cniVersion":"1.0.0","interfaces":[],"ips":[{"address":"10.99.0.2/24"}]}' ;;
CHECK) ip link show "$host" > /dev/null ;;
DEL) ip link del "$host" 2> /dev/null || true ;;
esac
`;

/** A program of others makes the attachment, beside one of cleat; it is checked, made anew, and removed. */
export const plugged: Scenario = {
  networks: [
    { name: 'dual', ipv6_enabled: true },
    { name: 'cable', driver: 'cni', options: { conflist: '/run/plugged/net.d/10-cable.conflist' } },
  ],
  witness: false,
  prepare: (daemon) => {
    const ground = cniGround('/run/plugged');
    ground.standIn('cable', CABLE);
    ground.conflist('cable', [{ type: 'cable' }]);
    daemon.externals = { cniPlugins: [ground.directory] };
  },
  steps: [
    { type: 'create', id: 'life', networks: on('cable') },
    { type: 'configure', id: 'life' },
    { type: 'connect', id: 'life', network: 'dual' },
    { type: 'reload', id: 'life' },
    { type: 'reload', id: 'life', full: true },
    { type: 'disconnect', id: 'life', network: 'cable' },
    { type: 'connect', id: 'life', network: 'cable' },
    { type: 'teardown', id: 'life' },
  ],
};

const OTHER_HOST = '/cleat/v1/networks/all/subnets/10.191.200.0-24';

/** Waits until the kernel leads to another host, or does not; also ends with the daemon. */
async function leads(life: Life, there: boolean): Promise<void> {
  for (let turn = 0; turn < 500; turn++) {
    const routes = execFileSync('ip', ['route', 'show', '10.191.200.0/24'], { encoding: 'utf8' });
    if ((routes !== '') === there || !(await life.alive())) return;
    await sleep(10);
  }
  throw new Error(`the route to another host is ${there ? 'not there' : 'there'} after 5 s`);
}

/** A network on several hosts is joined, told of another host and of its end, and left. */
const hostsBy = (backend: 'vxlan' | 'wireguard'): Scenario => ({
  networks: [{ name: 'front', ipv6_enabled: true }],
  witness: true,
  etcd: true,
  made: ['all'],
  steps: [
    {
      type: 'damage',
      what: 'a network on several hosts is joined',
      act: async (daemon) => {
        const subnets = [{ subnet: '10.128.0.0/10' }];
        const all: NetworkRequest = { name: 'all', driver: 'overlay', subnets, overlay: { backend } };
        await daemon.request('POST', '/v1/networks', all).catch(() => {});
      },
    },
    { type: 'create', id: 'life', networks: on('all') },
    { type: 'configure', id: 'life' },
    {
      type: 'damage',
      what: 'another host joins',
      act: async (_, life) => {
        const claim = {
          host: 'b'.repeat(32),
          address: '192.0.2.77',
          mac: '02:00:00:00:00:77',
          public_key: Buffer.alloc(32, 7).toString('base64'),
          generation: 1,
          place: 'x',
        };
        life.etcd?.put(OTHER_HOST, JSON.stringify(claim));
        await leads(life, true);
      },
    },
    {
      type: 'damage',
      what: 'another host leaves',
      act: async (_, life) => {
        life.etcd?.ctl(0, 'del', OTHER_HOST);
        await leads(life, false);
      },
    },
    { type: 'teardown', id: 'life' },
    {
      type: 'damage',
      what: 'the network is left',
      act: async (daemon) => void (await daemon.request('DELETE', '/v1/networks/all').catch(() => {})),
    },
  ],
});
export const hosts = hostsBy('vxlan');
/** The same, with a helper that carries the link. */
export const tunnels = hostsBy('wireguard');

export const scenarios: Record<string, Scenario> = {
  alone,
  beside,
  live,
  update,
  damage,
  names,
  programs,
  forwarding,
  zones,
  plugged,
  hosts,
  tunnels,
};

/**
 * The peers: netavark, and the CNI plugins run one after another the way libcni runs a chain.
 *
 * Guarantees: each works in the namespace the benchmark runs in, with networks, leases and results in its own folder.
 * Both get a network namespace that exists already; the time to make it is reported apart (parts.netns), never in `ms`.
 * The chain is the one Podman ships for CNI: bridge with host-local, portmap, firewall.
 * Limits: written for netavark 1.4 (/usr/lib/podman) and the reference plugins 1.1 (/usr/lib/cni); both drive iptables.
 */
import { accessSync, constants, mkdirSync } from 'node:fs';
import type { Contender } from './contender.ts';
import type { Floor, PortRun } from './floor/floor.ts';
import { runProgram } from './program.ts';

const NETAVARK = '/usr/lib/podman/netavark';
const CNI = '/usr/lib/cni';
const CHAIN = ['bridge', 'portmap', 'firewall'] as const;

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export interface Peers {
  contenders: Contender[];
  /** The programs that are missing, and which Debian package has each. */
  missing: string[];
}

export function findPeers(floor: Floor, folder: string): Peers {
  const contenders: Contender[] = [];
  const missing: string[] = [];
  const iptables = executable('/usr/sbin/iptables');
  if (!iptables) missing.push('iptables (Debian package iptables): netavark and the CNI plugins need it');
  if (!executable(NETAVARK)) missing.push(`${NETAVARK} (Debian package netavark)`);
  else if (iptables) contenders.push(netavark(floor, `${folder}/netavark`));
  if (!CHAIN.every((plugin) => executable(`${CNI}/${plugin}`)) || !executable(`${CNI}/host-local`)) {
    missing.push(`${CNI}/{${CHAIN.join(',')},host-local} (Debian package containernetworking-plugins)`);
  } else if (iptables) contenders.push(cni(floor, `${folder}/cni`));
  return { contenders, missing };
}

function ports(run: PortRun): number[] {
  return Array.from({ length: run.count }, (_, i) => run.first + i * run.step);
}

function netavark(floor: Floor, folder: string): Contender {
  mkdirSync(folder, { recursive: true });
  const inputs = new Map<number, string>();
  // The default backend looks for firewalld on D-Bus first; there is none here, and its absence is quick.
  const env = { NETAVARK_FW: 'iptables' };
  const input = (id: number, run: PortRun): string =>
    JSON.stringify({
      container_id: `na${id}`.padEnd(64, '0'),
      container_name: `na${id}`,
      port_mappings: ports(run).map((port) => ({
        host_ip: '',
        host_port: port,
        container_port: port,
        protocol: 'tcp',
        range: 1,
      })),
      // netavark 1.4 gets the address: Podman chooses it and keeps the lease.
      networks: {
        bench: { static_ips: [`10.79.${(id + 2) >> 8}.${(id + 2) & 255}`], interface_name: 'eth0' },
      },
      network_info: {
        bench: {
          name: 'bench',
          id: 'b'.repeat(64),
          driver: 'bridge',
          network_interface: 'netavark0',
          subnets: [{ subnet: '10.79.0.0/16', gateway: '10.79.0.1' }],
          ipv6_enabled: false,
          internal: false,
          dns_enabled: false,
          ipam_options: { driver: 'host-local' },
        },
      },
    });
  const run = (word: string, name: string, text: string) =>
    runProgram(NETAVARK, ['--config', folder, word, floor.netnsPath(name)], text, env);
  return {
    name: 'netavark',
    peer: true,
    // Podman holds its network lock around it; without that, two at once fail ("Chain already exists").
    serial: true,
    async create(id, portRun) {
      const name = `na${id}`;
      const netns = await floor.netns(name);
      const text = input(id, portRun);
      inputs.set(id, text);
      const { ms } = await run('setup', name, text);
      return { ms, parts: { netns: netns.ms } };
    },
    async teardown(id) {
      const name = `na${id}`;
      const { ms } = await run('teardown', name, inputs.get(id)!);
      inputs.delete(id);
      const netns = await floor.command(`unnetns ${name}`);
      return { ms, parts: { netns: netns.ms } };
    },
  };
}

function cni(floor: Floor, folder: string): Contender {
  mkdirSync(folder, { recursive: true });
  const network = { cniVersion: '1.0.0', name: 'bench' };
  const plugins: Record<(typeof CHAIN)[number], object> = {
    bridge: {
      type: 'bridge',
      bridge: 'cni0',
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: {
        type: 'host-local',
        dataDir: `${folder}/leases`,
        routes: [{ dst: '0.0.0.0/0' }],
        ranges: [[{ subnet: '10.80.0.0/16', gateway: '10.80.0.1' }]],
      },
    },
    portmap: { type: 'portmap', capabilities: { portMappings: true } },
    firewall: { type: 'firewall', backend: 'iptables' },
  };
  // The result of ADD and its runtimeConfig: libcni caches both and passes them to DEL.
  const cache = new Map<number, { result: object; runtimeConfig: object }>();

  const call = (command: 'ADD' | 'DEL', plugin: (typeof CHAIN)[number], id: number, extra: object) =>
    runProgram(`${CNI}/${plugin}`, [], JSON.stringify({ ...network, ...plugins[plugin], ...extra }), {
      CNI_COMMAND: command,
      CNI_CONTAINERID: `cni${id}`,
      CNI_NETNS: floor.netnsPath(`cni${id}`),
      CNI_IFNAME: 'eth0',
      CNI_PATH: CNI,
    });

  return {
    name: 'CNI',
    peer: true,
    async create(id, run) {
      const netns = await floor.netns(`cni${id}`);
      const portMappings = ports(run).map((port) => ({ hostPort: port, containerPort: port, protocol: 'tcp' }));
      const runtimeConfig = run.count > 0 ? { portMappings } : {};
      const start = performance.now();
      let result: object | null = null;
      for (const plugin of CHAIN) {
        const extra = { ...(plugin === 'portmap' ? { runtimeConfig } : {}), ...(result ? { prevResult: result } : {}) };
        result = JSON.parse((await call('ADD', plugin, id, extra)).stdout) as object;
      }
      const ms = performance.now() - start;
      cache.set(id, { result: result!, runtimeConfig });
      return { ms, parts: { netns: netns.ms } };
    },
    async teardown(id) {
      const { result, runtimeConfig } = cache.get(id)!;
      cache.delete(id);
      const start = performance.now();
      for (const plugin of [...CHAIN].reverse()) {
        await call('DEL', plugin, id, { ...(plugin === 'portmap' ? { runtimeConfig } : {}), prevResult: result });
      }
      const ms = performance.now() - start;
      const netns = await floor.command(`unnetns cni${id}`);
      return { ms, parts: { netns: netns.ms } };
    },
  };
}

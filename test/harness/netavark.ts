/**
 * cleat-netavark as Podman runs it, and the JSON that Podman sends.
 *
 * Guarantees: the executable has a bare environment, as conmon's cleanup gives it, and the daemon's socket. A request has the
 * fields of Podman 4.3, captured from it; `change` puts others in.
 */
import { join } from 'node:path';
import type { NetavarkAnswer } from '../../state/answers/netavark.ts';
import type { Mapping, NetavarkSetup, NetworkInfo, PerNetwork } from '../../state/fronts/netavark.ts';
import { ROOT, run, type Ended } from '../hook/run.ts';

export const NETAVARK = join(ROOT, 'build/Release/cleat-netavark');

export const id64 = (word: string): string => Buffer.from(word).toString('hex').padEnd(64, '0').slice(0, 64);

/** A network as Podman keeps it: web has 10.89.N.0/24 for N, and the bridge podmanN. */
export const network = (name: string, n: number, more: Partial<NetworkInfo> = {}): NetworkInfo => ({
  name,
  id: id64(name),
  driver: 'bridge',
  network_interface: `podman${n}`,
  created: '2023-01-09T12:14:51.123456789Z',
  subnets: [{ subnet: `10.89.${n}.0/24`, gateway: `10.89.${n}.1` }],
  ipv6_enabled: false,
  internal: false,
  dns_enabled: false,
  ipam_options: { driver: 'host-local' },
  ...more,
});

/** A network with both families. */
export const dual = (name: string, n: number, more: Partial<NetworkInfo> = {}): NetworkInfo =>
  network(name, n, {
    subnets: [
      { subnet: `10.89.${n}.0/24`, gateway: `10.89.${n}.1` },
      { subnet: `fd00:89:${n}::/64`, gateway: `fd00:89:${n}::1` },
    ],
    ipv6_enabled: true,
    ...more,
  });

export const mapping = (host_port: number, container_port: number, more: Partial<Mapping> = {}): Mapping => ({
  host_ip: '',
  host_port,
  container_port,
  range: 1,
  protocol: 'tcp',
  ...more,
});

/** Returns what Podman sends for a container that has address `host` in each subnet of these networks. */
export function request(
  name: string,
  host: number,
  infos: readonly NetworkInfo[],
  change: Partial<NetavarkSetup> = {},
): NetavarkSetup {
  const wish = (info: NetworkInfo, i: number): PerNetwork => ({
    interface_name: `eth${i}`,
    static_ips: (info.subnets ?? []).map(({ subnet }) => subnet.replace(/\d*\/\d+$/, String(host))),
    aliases: [id64(name).slice(0, 12)],
  });
  return {
    container_id: id64(name),
    container_name: name,
    networks: Object.fromEntries(infos.map((info, i) => [info.name, wish(info, i)])),
    network_info: Object.fromEntries(infos.map((info) => [info.name, info])),
    ...change,
  };
}

export class Netavark {
  readonly #environment: NodeJS.ProcessEnv;

  constructor(socket: string) {
    this.#environment = { CLEAT_SOCKET: socket };
  }

  /** Runs it with Podman's options. An input that is no text is sent as JSON. */
  run(args: string[], input: unknown = ''): Promise<Ended> {
    const options = ['--config', '/run/containers/networks', '--rootless=false', '--aardvark-binary=/nowhere'];
    const text = typeof input === 'string' ? input : JSON.stringify(input);
    return run(NETAVARK, [...options, ...args], text, this.#environment);
  }

  /** Rejects when it fails. */
  async setup(netns: string, input: NetavarkSetup): Promise<NetavarkAnswer> {
    const { code, stdout, stderr } = await this.run(['setup', netns], input);
    if (code !== 0 || stderr !== '') throw new Error(`setup of ${input.container_name}: ${code} ${stdout} ${stderr}`);
    return JSON.parse(stdout) as NetavarkAnswer;
  }

  async teardown(netns: string, input: NetavarkSetup): Promise<void> {
    const { code, stdout, stderr } = await this.run(['teardown', netns], input);
    if (code !== 0 || stdout + stderr !== '')
      throw new Error(`teardown of ${input.container_name}: ${code} ${stdout} ${stderr}`);
  }

  /** Resolves with the message of a run that must fail in netavark's way: one line of JSON, exit code 1. */
  async refusal(args: string[], input: unknown = ''): Promise<string> {
    const { code, stdout, stderr } = await this.run(args, input);
    const isOneLine = stdout.endsWith('\n') && stdout.indexOf('\n') === stdout.length - 1;
    if (code !== 1 || stderr !== '' || !isOneLine) throw new Error(`${args.join(' ')}: ${code} ${stdout} ${stderr}`);
    const { error, ...more } = JSON.parse(stdout) as { error: string };
    if (Object.keys(more).length > 0 || typeof error !== 'string') throw new Error(`no error of netavark's: ${stdout}`);
    return error;
  }
}

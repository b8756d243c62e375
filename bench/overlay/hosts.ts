/**
 * Hosts on one Ethernet, each a network namespace, and an etcd of three members among them: the ground of the scenario `overlay`.
 *
 * Guarantees: real members, as Debian's package starts them but for their addresses, with their data on disk; everything stands in the
 * benchmark's own namespaces and goes with them. The benchmark itself is on the Ethernet, too, with the address of `OUTSIDER`.
 * Limits: IPv4; hosts have numbers from 1 to 199.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Gateway } from '../../effects/etcd/gateway.ts';
import { Store } from '../../effects/etcd/store.ts';
import { openOutside, type RtnlReply, type RtnlRequest } from '../../native/index.ts';
import { RUN } from '../arena.ts';

const FOLDER = `${RUN}/hosts`;
const WIRE = 'wire0';
const OUTSIDER = '192.0.2.254';
const MEMBERS = [201, 202, 203];
const UP_WITHIN_MS = 20_000;

export interface Host {
  netns: string;
  address: string;
}

const addressOf = (n: number): string => `192.0.2.${n}`;

export class Hosts {
  readonly outside = openOutside();
  readonly endpoints = MEMBERS.map((n) => `http://${addressOf(n)}:2379`);

  /** Starts the members, whose data and logs are in `folder`. */
  static async start(folder: string): Promise<Hosts> {
    const hosts = new Hosts();
    mkdirSync(FOLDER, { recursive: true });
    await hosts.must([
      { op: 'link.add', kind: 'bridge', name: WIRE, up: true },
      { op: 'address.add', link: WIRE, address: OUTSIDER, prefix: 24 },
    ]);
    for (const n of MEMBERS) startMember(n, (await hosts.host(n)).netns, folder);
    await hosts.#healthy(folder);
    return hosts;
  }

  store(): Store {
    return new Store(new Gateway({ endpoints: this.endpoints, ca: null, cert: null, key: null }));
  }

  /** Makes host N, with a default route that leads to the benchmark. */
  async host(n: number): Promise<Host> {
    const netns = `${FOLDER}/${n}`;
    const address = addressOf(n);
    await this.outside.netnsCreate(netns, {});
    const peer = { name: 'eth0', up: true, netns };
    await this.must([{ op: 'link.add', kind: 'veth', name: `wire${n}`, master: WIRE, up: true, peer }]);
    await this.must(
      [
        { op: 'link.set', name: 'lo', up: true },
        { op: 'address.add', link: 'eth0', address, prefix: 24 },
        { op: 'route.add', destination: '0.0.0.0', prefix: 0, gateway: OUTSIDER, link: 'eth0' },
      ],
      netns,
    );
    return { netns, address };
  }

  async must(requests: RtnlRequest[], netns?: string): Promise<void> {
    const replies: RtnlReply[] = await this.outside.rtnl(requests, netns);
    const wrong = replies.find(({ errno }) => errno !== 0);
    if (wrong !== undefined) throw new Error(`the hosts of the benchmark: ${JSON.stringify(wrong)}`);
  }

  async #healthy(folder: string): Promise<void> {
    const store = this.store();
    for (const start = performance.now(); ; await sleep(100)) {
      try {
        await store.transaction([], [{ put: 'bench/healthy', value: 'yes' }]);
        return;
      } catch (error) {
        const log = readFileSync(logOf(folder, MEMBERS[0] ?? 0), 'utf8').slice(-500);
        if (performance.now() - start > UP_WITHIN_MS) throw new Error(`etcd is not up: ${log}`, { cause: error });
      }
    }
  }
}

const logOf = (folder: string, n: number): string => `${folder}/etcd${n}.log`;

function startMember(n: number, netns: string, folder: string): void {
  const [client, peer] = [`http://${addressOf(n)}:2379`, `http://${addressOf(n)}:2380`];
  const flags: Record<string, string> = {
    name: `etcd${n}`,
    'data-dir': `${folder}/etcd${n}`,
    'listen-client-urls': client,
    'advertise-client-urls': client,
    'listen-peer-urls': peer,
    'initial-advertise-peer-urls': peer,
    'initial-cluster': MEMBERS.map((one) => `etcd${one}=http://${addressOf(one)}:2380`).join(','),
    'log-level': 'error',
  };
  const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
  const log = openSync(logOf(folder, n), 'a');
  spawn('nsenter', [`--net=${netns}`, '--', 'etcd', ...words], { stdio: ['ignore', log, log] });
  closeSync(log);
}

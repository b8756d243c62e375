/**
 * Hosts, and an etcd of three members, each in a network namespace of its own, on one switch: what overlay networks need.
 *
 * Guarantees: real members of etcd, each with its own data on a tmpfs of the test's. A host or a member is cut off, frozen, killed
 * and replaced alone. `etcdctl` is the second opinion on what the store has.
 * TEST_ETCD names the directory of another etcd and etcdctl than Debian's.
 * Limits: data is not fsynced, and elections take a fifth of the usual time, so that a test is quick.
 */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { addNetns } from './inside.ts';
import { TestDaemon } from './daemon.ts';

const FOLDER = process.env['TEST_ETCD'];
export const program = (name: string): string => (FOLDER === undefined ? name : `${FOLDER}/${name}`);
const SWITCH = 'switch0';
/** The address of the test's own namespace on the switch. */
export const GROUND_ADDRESS = '192.0.2.254';
let made = false;

const ip = (...args: string[]) => execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] });

/** Adds a namespace with this address, of 192.0.2.0/24, on the switch; its default route leads nowhere. */
export function addHost(name: string, address: string): string {
  if (!made) {
    ip('link', 'add', SWITCH, 'type', 'bridge');
    ip('addr', 'add', `${GROUND_ADDRESS}/24`, 'dev', SWITCH);
    upWithoutLinkLocal(SWITCH);
    made = true;
  }
  const path = addNetns(name);
  ip('link', 'add', `p-${name}`, 'master', SWITCH, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
  upWithoutLinkLocal(`p-${name}`);
  ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', 'eth0', 'nodad');
  ip('-n', name, 'link', 'set', 'eth0', 'up');
  ip('-n', name, 'route', 'add', 'default', 'via', GROUND_ADDRESS);
  return path;
}

/** The kernel gives a link its link-local address when it likes to: a test that compares the kernel before and after would see it. */
function upWithoutLinkLocal(link: string): void {
  ip('link', 'set', link, 'addrgenmode', 'none');
  ip('link', 'set', link, 'up');
}

/** Cuts a host or a member off from all others, and joins it again. */
export const cut = (name: string): void => void ip('link', 'set', `p-${name}`, 'nomaster');
export const join = (name: string): void => void ip('link', 'set', `p-${name}`, 'master', SWITCH);

/** Returns a daemon on a host of its own. */
export function daemonOn(name: string, address: string, etcd: string[], ttl = 5): TestDaemon {
  const daemon = new TestDaemon();
  // Not `ip netns exec`, which has mounts of its own: the test has to see what the daemon pins.
  daemon.launcher = ['nsenter', `--net=/run/netns/${name}`, '--'];
  daemon.etcd = { etcd, advertise: address, etcdTtl: String(ttl) };
  daemon.preparedNamespaces = '0';
  return daemon;
}

let single: Etcd | null = null;

export class Etcd {
  readonly endpoints: string[];
  readonly #members: string[];
  readonly #flags: string[];
  readonly #processes: (ChildProcess | null)[];

  /** `flags`: those of certificates for what clients connect to, for example. */
  constructor(count: number, flags: string[] = []) {
    const scheme = flags.includes('--cert-file') ? 'https' : 'http';
    this.#flags = flags;
    this.#members = Array.from({ length: count }, (_, n) => `192.0.2.${201 + n}`);
    this.endpoints = this.#members.map((address) => `${scheme}://${address}:2379`);
    this.#processes = this.#members.map(() => null);
    this.#members.forEach((address, n) => addHost(`etcd${n}`, address));
  }

  /** Starts the one store of a test that needs no more, with the data that it had when it was stopped. */
  static async alone(): Promise<Etcd> {
    const known = single !== null;
    single ??= new Etcd(1);
    single.startMember(0, known ? 'existing' : 'new');
    await single.healthy();
    return single;
  }

  async start(): Promise<void> {
    this.#members.forEach((_, n) => this.startMember(n));
    await this.healthy();
  }

  /** Starts a member with the data that it has, or with none. */
  startMember(n: number, state: 'new' | 'existing' = 'new'): void {
    const address = this.#members[n] ?? '';
    const [client, peer] = [this.endpoints[n] ?? '', `http://${address}:2380`];
    const log = openSync(`/run/etcd${n}.log`, 'a');
    const all = this.#members.map((one, m) => `etcd${m}=http://${one}:2380`).join(',');
    const flags: Record<string, string> = {
      name: `etcd${n}`,
      'data-dir': `/run/etcd${n}`,
      'listen-client-urls': `${client},http://127.0.0.1:2379`,
      'advertise-client-urls': client,
      'listen-peer-urls': peer,
      'initial-advertise-peer-urls': peer,
      'initial-cluster': all,
      'initial-cluster-state': state,
      'heartbeat-interval': '20',
      'election-timeout': '200',
      'log-level': 'error',
    };
    const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
    this.#processes[n] = spawn(
      'ip',
      ['netns', 'exec', `etcd${n}`, program('etcd'), ...words, ...this.#flags, '--unsafe-no-fsync'],
      {
        stdio: ['ignore', log, log],
      },
    );
    closeSync(log);
  }

  async healthy(): Promise<void> {
    for (let turn = 0; ; turn++) {
      try {
        this.put('test/healthy', 'yes');
        return;
      } catch (error) {
        if (turn > 100) throw new Error(`etcd is not up: ${this.log(0)}`, { cause: error });
        await sleep(100);
      }
    }
  }

  log = (n: number): string => readFileSync(`/run/etcd${n}.log`, 'utf8').slice(-2000);

  signal(n: number, signal: NodeJS.Signals): void {
    this.#processes[n]?.kill(signal);
  }

  /** Kills a member; with `forget`, its disk is gone too. */
  async kill(n: number, { forget = false } = {}): Promise<void> {
    const child = this.#processes[n] ?? null;
    this.#processes[n] = null;
    if (child !== null && child.exitCode === null) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    }
    if (forget) rmSync(`/run/etcd${n}`, { recursive: true, force: true });
  }

  /**
   * Gives a member that has lost its disk a new life, as etcd's documentation says: the cluster forgets it, takes a new member at the same
   * address, and that one starts with no data, and gets all of it from the others.
   */
  async replace(n: number): Promise<void> {
    await this.kill(n, { forget: true });
    const other = (n + 1) % this.#members.length;
    await this.#again(() => {
      // A removal whose answer was late has happened.
      const id = new RegExp(`^([0-9a-f]+), .*, etcd${n}, `, 'm').exec(this.ctl(other, 'member', 'list'))?.[1];
      if (id !== undefined) this.ctl(other, 'member', 'remove', id);
    });
    await this.#again(() =>
      this.ctl(other, 'member', 'add', `etcd${n}`, `--peer-urls=http://${this.#members[n]}:2380`),
    );
    this.startMember(n, 'existing');
    await this.#again(() => this.ctl(n, 'get', 'test/healthy'));
  }

  /** etcd refuses to change its members while it does not believe that it is well. */
  async #again(work: () => unknown): Promise<void> {
    for (let turn = 0; ; turn++) {
      try {
        work();
        return;
      } catch (error) {
        if (turn > 100) throw error;
        await sleep(100);
      }
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#members.map((_, n) => this.kill(n)));
  }

  /** Runs etcdctl beside a member. */
  ctl(n: number, ...args: string[]): string {
    const env = { ...process.env, ETCDCTL_API: '3' };
    return execFileSync('ip', ['netns', 'exec', `etcd${n}`, program('etcdctl'), '--command-timeout', '2s', ...args], {
      encoding: 'utf8',
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** The same, while the test goes on. */
  async ask(n: number, ...args: string[]): Promise<string> {
    const env = { ...process.env, ETCDCTL_API: '3' };
    const command = ['netns', 'exec', `etcd${n}`, program('etcdctl'), '--command-timeout', '1s', ...args];
    return (await promisify(execFile)('ip', command, { env })).stdout;
  }

  put(key: string, value: string): void {
    this.ctl(0, 'put', key, value);
  }

  /** Returns all keys below the prefix of cleat, by the second opinion. */
  all(prefix = '/cleat/'): Map<string, string> {
    const lines = this.ctl(0, 'get', '--prefix', prefix).split('\n');
    return new Map(lines.flatMap((key, i) => (i % 2 === 0 && key !== '' ? [[key, lines[i + 1] ?? '']] : [])));
  }
}

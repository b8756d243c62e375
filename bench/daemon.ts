/**
 * The daemon under test: starts it from dist/, waits until it serves, measures it, kills it.
 *
 * Guarantees: `start` resolves with the time from spawn to the first answered request. The output is kept in a file,
 * whose end is part of the error if the daemon dies or does not serve.
 * Limits: one daemon at a time in a folder; Linux /proc.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, openSync, closeSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BRIDGE, Client, NETWORK, type Stream, upEvents } from './client.ts';
import type { Contender } from './contenders/contender.ts';
import { NO_PORTS } from './floor/floor.ts';

/** `npm run build` makes it of the command line and the daemon. */
export const PROGRAM = fileURLToPath(new URL('../bundle/cleat.cjs', import.meta.url));
const START_LIMIT_MS = 20_000;
const GONE_LIMIT_MS = 20_000;
/** As a unit of systemd gives it. With NODE_EXTRA_CA_CERTS, for one, Node reads certificates for 50 ms at each start. */
const ENVIRONMENT = { PATH: process.env['PATH'] ?? '' };
/** Requests that carry many events are cut to this many containers, well under any body limit. */
const BULK = 50;
const STREAM_PORTS = 20_000;

export function daemonExists(): boolean {
  return existsSync(PROGRAM);
}

export class Daemon {
  private child: ChildProcess | null = null;
  private readonly folder: string;
  private readonly run: string;
  private readonly apart: string[] | null;

  /**
   * Snapshots go to disk in `folder`; namespaces, socket and the rest to `run`, a tmpfs. `apart`: in a network namespace of its own,
   * beside another daemon, with these arguments.
   */
  constructor(folder: string, run: string, apart: string[] | null = null) {
    this.folder = folder;
    this.run = run;
    this.apart = apart;
    for (const name of [`${folder}/state`, `${run}/run`, `${run}/netns`]) mkdirSync(name, { recursive: true });
  }

  get socket(): string {
    return `${this.run}/cleat.sock`;
  }

  /** The folder that has the directories of its forwarder and its uplinks. */
  get runFolder(): string {
    return `${this.run}/run`;
  }

  client(connections = 1): Client {
    return new Client(this.socket, connections);
  }

  /** Resolves to the milliseconds from spawn until GET /v1/version is answered. */
  async start(): Promise<number> {
    const log = openSync(`${this.folder}/log`, 'a');
    const places = ['--run-dir', this.runFolder, '--state-dir', `${this.folder}/state`];
    const args = ['daemon', ...places, '--netns-dir', `${this.run}/netns`, ...(this.apart ?? [])];
    const command = [process.execPath, PROGRAM, ...args, '--socket', this.socket];
    const [program = '', ...rest] = this.apart === null ? command : ['unshare', '--net', ...command];
    const start = performance.now();
    this.child = spawn(program, rest, { stdio: ['ignore', log, log], env: ENVIRONMENT });
    closeSync(log);
    const client = this.client();
    try {
      for (;;) {
        try {
          await client.version();
          return performance.now() - start;
        } catch (error) {
          const died = this.child.exitCode !== null || this.child.signalCode !== null;
          if (died || performance.now() - start > START_LIMIT_MS) {
            throw new Error(`cleat daemon ${died ? 'ended' : 'does not serve'}:\n${this.logEnd()}`, { cause: error });
          }
          await sleep(5);
        }
      }
    } finally {
      client.close();
    }
  }

  async kill(): Promise<void> {
    const child = this.child;
    this.child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
  }

  get pid(): number {
    return this.child!.pid!;
  }

  /** Returns the resident set in KB. */
  rss(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]);
  }

  /** Resolves once the daemon holds so many namespaces that nothing but a descriptor keeps. */
  async prepared(count: number): Promise<void> {
    const start = performance.now();
    const folder = `/proc/${this.pid}/fd`;
    const held = (): number => readdirSync(folder).filter((fd) => isNamespace(`${folder}/${fd}`)).length;
    while (held() < count) {
      if (performance.now() - start > START_LIMIT_MS) throw new Error(`${held()} of ${count} namespaces are prepared`);
      await sleep(20);
    }
  }

  logEnd(): string {
    return readFileSync(`${this.folder}/log`, 'utf8').slice(-1500);
  }
}

function isNamespace(descriptor: string): boolean {
  try {
    return readlinkSync(descriptor).startsWith('net:[');
  } catch {
    return false; // closed meanwhile
  }
}

/** cleat as a contender: create, then configure, one request each, as engines and hooks send them. */
export function cleatContender(client: Client, name = 'cleat'): Contender {
  return {
    name,
    peer: false,
    async create(id, ports) {
      const [create, configure] = upEvents(`c${id}`, ports);
      const created = await client.event(create);
      const configured = await client.event(configure);
      return { ms: created.ms + configured.ms, parts: { create: created.ms, configure: configured.ms } };
    },
    async teardown(id) {
      return { ms: (await client.event({ type: 'teardown', id: `c${id}` })).ms, parts: {} };
    },
  };
}

/** The same over a connection that stays open, as an engine keeps it: both events in one write, two lines back. */
export function streamContender(stream: Stream, name = 'cleat, stream'): Contender {
  return {
    name,
    peer: false,
    async create(id, ports) {
      // Uses ports of its own, because both ways of sending are measured on one daemon.
      const shifted = { ...ports, first: ports.first + STREAM_PORTS };
      return { ms: (await stream.events(upEvents(`s${id}`, shifted))).ms, parts: {} };
    },
    async teardown(id) {
      return { ms: (await stream.events([{ type: 'teardown', id: `s${id}` }])).ms, parts: {} };
    },
  };
}

/** Brings up containers c<first>.. without measuring each, shared out over networks. */
export async function bulkUp(client: Client, first: number, count: number, networks = [NETWORK]): Promise<void> {
  const up = (id: number) => upEvents(`c${id}`, NO_PORTS, networks[id % networks.length]);
  for (let at = first; at < first + count; at += BULK) {
    const part = Math.min(BULK, first + count - at);
    await client.events(Array.from({ length: part }, (_, i) => up(at + i)).flat());
  }
}

/**
 * Tears down c<first>.. in one request. Returns the milliseconds until the replies are in, until the kernel has no port
 * left on the bridge (read from /sys), and until the daemon too reports that each is gone.
 */
export async function bulkDown(
  client: Client,
  first: number,
  count: number,
): Promise<{ reply: number; gone: number; said: number }> {
  const ids = idsOf(first, count);
  const before = bridgePorts().size;
  // A container that never stood cannot go, and would be counted as gone in no time.
  if (before < count) throw new Error(`${count} containers, but ${before} ports on ${BRIDGE}`);
  const left = before - count;
  const start = performance.now();
  await client.events(ids.map((id) => ({ type: 'teardown', id })));
  const reply = performance.now() - start;
  while (bridgePorts().size > left) {
    if (performance.now() - start > GONE_LIMIT_MS) throw new Error(`${bridgePorts().size - left} links never went`);
    await sleep(1);
  }
  const gone = performance.now() - start;
  await Promise.all(ids.map((id) => client.waitGone(id)));
  return { reply, gone, said: performance.now() - start };
}

/** Tears down c<first>.. in one request, of a daemon whose bridges cannot be seen from here. Resolves when it says that all are gone. */
export async function bulkGone(client: Client, first: number, count: number): Promise<void> {
  const ids = idsOf(first, count);
  await client.events(ids.map((id) => ({ type: 'teardown', id })));
  await Promise.all(ids.map((id) => client.waitGone(id)));
}

const idsOf = (first: number, count: number): string[] => Array.from({ length: count }, (_, i) => `c${first + i}`);

/** Returns the bridge's ports by name, from the kernel and not from the daemon. */
export function bridgePorts(): Set<string> {
  return new Set(readdirSync(`/sys/class/net/${BRIDGE}/brif`));
}

/** Returns name -> ifindex: a link that was made again has another index. */
export function bridgePortIndexes(): Map<string, string> {
  const index = (name: string): string => readFileSync(`/sys/class/net/${name}/ifindex`, 'utf8').trim();
  return new Map([...bridgePorts()].map((name) => [name, index(name)]));
}

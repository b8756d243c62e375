/**
 * The contenders of `forwarding` and `publishing`: each carries a published port to a container of its own.
 *
 * Guarantees: in each container the same server; ours are published through the daemon, the way they ship, the others
 * are started by hand; a carrier that is not installed or does not start is left out with its reason.
 * Limits: everyone works as root, in one outside namespace; none of them forwards in another way because of that.
 */
import type { ChildProcess } from 'node:child_process';
import { listForwards } from '../../effects/forwarder/forwarder.ts';
import { RUN } from '../arena.ts';
import { isThere, PROGRAMS, rootlessport, slirpPublished, socat, type Program, type Started } from './by-hand.ts';
import type { Client, LifecycleEvent } from '../client.ts';
import { NETWORK } from '../client.ts';
import type { Daemon } from '../daemon.ts';
import type { Ground } from '../ground.ts';
import { serve, SERVED, type Target } from '../load/load.ts';
import { childrenOf } from '../processes.ts';
import { reasonOf, type Report } from '../report.ts';

export const LOOPBACK = '127.0.0.1';

/** A container with `count` published ports, from `port` on. */
export interface Carried {
  name: string;
  target: Target;
  /** The processes that carry its ports. */
  processes(): Promise<number[]>;
  end(): Promise<void>;
}

export interface Carrier {
  name: string;
  /** The program that has to be installed. */
  needs: Program | null;
  /** How many ports it can publish in the time there is; with a process for each port, more would take too long. */
  most: number;
  publish(port: number, count: number): Promise<Carried>;
}

export const NOBODY = 'veth, no port';
export const FORWARDER = 'cleat forwarder, bridge';
export const FORWARDER_SLIRP = 'cleat forwarder, slirp4netns';
export const ROOTLESSPORT = 'rootlessport';

const MANY = 4096;

/** Returns where to put down that a contender could not be measured: with a peer it is a note. */
export const troubleOf = (report: Report, name: string): string[] =>
  [NOBODY, FORWARDER, FORWARDER_SLIRP].includes(name) ? report.failures : report.notes;

export function carriers(
  ground: Ground,
  daemon: Daemon | null,
  client: Client | null,
  nextId: () => number,
): Carrier[] {
  const ours = (name: string, needs: Program | null, more: object): Carrier => ({
    name,
    needs,
    most: MANY,
    publish: (port, count) => byDaemon(daemon!, client!, `forward${nextId()}`, more, { name, port, count }),
  });
  const place = () => ground.linked(`peer${nextId()}`);
  const folder = () => `${RUN}/peer/${nextId()}`;
  const peers: Carrier[] = [
    {
      name: 'slirp4netns hostfwd',
      needs: 'slirp4netns',
      most: MANY,
      async publish(first, count) {
        const netns = await ground.bare(`peer${nextId()}`);
        return byHand(ground, this.name, netns, first, await slirpPublished({ netns, first, count }, folder()));
      },
    },
    {
      name: ROOTLESSPORT,
      needs: 'rootlessport',
      most: MANY,
      async publish(first, count) {
        const { netns, address } = await place();
        return byHand(ground, this.name, netns, first, await rootlessport({ netns, first, count }, address, folder()));
      },
    },
    {
      name: 'socat',
      needs: 'socat',
      most: 50,
      async publish(first, count) {
        const { netns, address } = await place();
        const each: Started[] = [];
        for (let i = 0; i < count; i++) each.push(await socat(first + i, address));
        return byHand(ground, this.name, netns, first, ...each);
      },
    },
  ];
  if (daemon === null || client === null) return peers;
  return [
    ours(FORWARDER, null, { networks: { [NETWORK]: {} } }),
    ours(FORWARDER_SLIRP, 'slirp4netns', { uplink: { program: 'slirp4netns' } }),
    ...peers,
  ];
}

/**
 * Returns the contender without a carrier: the container's own address, over a veth. It shows what the kernel does
 * alone.
 */
export async function plainVeth(ground: Ground): Promise<Carried> {
  const { netns, address } = await ground.linked('plain');
  const server = await serve(netns);
  return carried(NOBODY, { address, port: SERVED }, server, {
    processes: [],
    end: () => ground.remove(netns),
  });
}

/** Starts all carriers that can be started; the reasons of the others become notes of the report. */
export async function startAll(all: Carrier[], report: Report, first: number): Promise<Carried[]> {
  const started: Carried[] = [];
  for (const [i, carrier] of all.entries()) {
    if (!canRun(carrier, report)) continue;
    try {
      started.push(await carrier.publish(first + i, 1));
    } catch (error) {
      troubleOf(report, carrier.name).push(`${carrier.name}: ${reasonOf(error)}`);
    }
  }
  return started;
}

export function canRun({ name, needs }: Carrier, report: Report): boolean {
  if (needs === null || isThere(needs)) return true;
  report.notes.push(`${name}: left out, ${PROGRAMS[needs].file} (Debian package ${PROGRAMS[needs].debian}) is missing`);
  return false;
}

async function byDaemon(
  daemon: Daemon,
  client: Client,
  id: string,
  more: object,
  { name, port, count }: { name: string; port: number; count: number },
): Promise<Carried> {
  const mappings = Array.from({ length: count }, (_, i) => ({ host_port: port + i, container_port: SERVED }));
  const create: LifecycleEvent = { type: 'create', id, ...more, port_mappings: mappings, port_handler: 'forwarder' };
  await client.event(create);
  await client.event({ type: 'configure', id });
  const server = await serve(await client.netnsOf(id));
  const places = { directory: `${daemon.runFolder}/forwarder`, executable: '' };
  return {
    name,
    target: { address: LOOPBACK, port },
    async processes() {
      const found = await listForwards(places)(null);
      return found === null ? [] : [found.process.pid];
    },
    async end() {
      await stop(server);
      await client.event({ type: 'teardown', id });
      await client.waitGone(id);
    },
  };
}

async function byHand(
  ground: Ground,
  name: string,
  netns: string,
  port: number,
  ...started: Started[]
): Promise<Carried> {
  const end = async (): Promise<void> => {
    for (const one of started) await one.end();
    await ground.remove(netns);
  };
  const processes = started.map(({ pid }) => pid);
  try {
    return carried(name, { address: LOOPBACK, port }, await serve(netns), { processes, end });
  } catch (error) {
    await end();
    throw error;
  }
}

function carried(
  name: string,
  target: Target,
  server: ChildProcess,
  by: { processes: number[]; end: () => Promise<void> },
): Carried {
  return {
    name,
    target,
    processes: async () => by.processes.flatMap((pid) => [pid, ...childrenOf(pid)]),
    async end() {
      await stop(server);
      await by.end();
    },
  };
}

async function stop(server: ChildProcess): Promise<void> {
  const exited = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGKILL');
  await exited;
}

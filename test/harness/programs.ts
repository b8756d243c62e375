/**
 * The processes of user-mode networking that belong to one daemon: uplinks, their keepers, forwarders; and sockets that
 * answer in their place.
 *
 * Guarantees: found by what they were started with, never by name alone, so that nobody else's is signalled.
 * Limits: of a daemon in the test's own pid namespace.
 */
import { existsSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { findUplink, listUplinks } from '../../effects/uplink-keeper.ts';
import type { UplinkStatus } from '../../state/uplink.ts';
import type { TestDaemon } from './daemon.ts';

type Places = Pick<TestDaemon, 'runDir'>;

const statuses = ({ runDir }: Places): UplinkStatus[] =>
  listUplinks(`${runDir}/uplinks`).flatMap((name) => findUplink(`${runDir}/uplinks/${name}`) ?? []);

/** slirp4netns and pasta, not their keepers. */
export const uplinksOf = (daemon: Places): number[] => statuses(daemon).flatMap(({ child }) => child?.pid ?? []);

export const keepersOf = (daemon: Places): number[] => statuses(daemon).map(({ keeper }) => keeper.pid);

export const forwardersOf = ({ runDir }: Places): number[] =>
  readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    const [file, ...words] = commandLine(name);
    return file?.endsWith('/cleat-forwarder') === true && words.some((word) => word.startsWith(`${runDir}/`))
      ? [Number(name)]
      : [];
  });

/** API sockets of slirp4netns, and those of forwarders. */
export const apiSocketsOf = ({ runDir }: Places): string[] => socketsBelow(`${runDir}/uplinks`, 'api');
export const forwarderSocketsOf = ({ runDir }: Places): string[] => socketsBelow(`${runDir}/forwarder`, 'socket');

function socketsBelow(home: string, name: string): string[] {
  if (!existsSync(home)) return [];
  return readdirSync(home)
    .map((directory) => `${home}/${directory}/${name}`)
    .filter((path) => existsSync(path));
}

/** Whoever has ended by now is passed over. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // it has ended
    }
  }
}

function commandLine(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return []; // it has ended
  }
}

/** Answers in the place of every socket at these paths, until it is taken away: with `answer`, null for nothing at all. */
export class Impostor {
  readonly #paths: readonly string[];
  readonly #servers: Server[] = [];

  constructor(paths: readonly string[], answer: string | null) {
    this.#paths = paths;
    for (const path of this.#paths) {
      renameSync(path, `${path}.real`);
      // Closing removes the name that it was bound to, and nothing else.
      const server = createServer((socket) => {
        socket.on('error', () => {});
        socket.on('data', () => answer !== null && socket.end(answer));
      }).listen(`${path}.false`);
      renameSync(`${path}.false`, path);
      this.#servers.push(server);
    }
  }

  /** Those that are still there answer for themselves again. */
  end(): void {
    for (const path of this.#paths) if (existsSync(`${path}.real`)) renameSync(`${path}.real`, path);
    for (const server of this.#servers) server.close();
  }
}

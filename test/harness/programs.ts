/**
 * The processes of user-mode networking that belong to one daemon: uplinks, their keepers, forwarders; and sockets that
 * answer in their place.
 *
 * Guarantees: found by their command lines, never by name alone, so that no foreign process is signalled.
 * Limits: for a daemon in the test's own pid namespace.
 */
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, renameSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { findUplink, listUplinks, PROGRAM } from '../../effects/uplinks/uplink-keeper.ts';
import type { UplinkStatus } from '../../state/uplink.ts';
import type { TestDaemon } from './daemon.ts';
import { commandLines } from './native.ts';

type Places = Pick<TestDaemon, 'runDir'>;

const statuses = ({ runDir }: Places): UplinkStatus[] =>
  listUplinks(`${runDir}/uplinks`).flatMap((name) => findUplink(`${runDir}/uplinks/${name}`) ?? []);

/** slirp4netns and pasta, not their keepers. */
export const uplinksOf = (daemon: Places): number[] => statuses(daemon).flatMap(({ child }) => child?.pid ?? []);

export const keepersOf = (daemon: Places): number[] => statuses(daemon).map(({ keeper }) => keeper.pid);

export const forwardersOf = ({ runDir }: Places): number[] =>
  [...commandLines()].flatMap(([pid, [file, ...words]]) =>
    file?.endsWith('/cleat-forwarder') === true && words.some((word) => word.startsWith(`${runDir}/`)) ? [pid] : [],
  );

/** API sockets of slirp4netns, and those of forwarders. */
export const apiSocketsOf = ({ runDir }: Places): string[] => socketsBelow(`${runDir}/uplinks`, `${PROGRAM}/api`);
export const forwarderSocketsOf = ({ runDir }: Places): string[] => socketsBelow(`${runDir}/forwarder`, 'socket');

function socketsBelow(home: string, name: string): string[] {
  if (!existsSync(home)) return [];
  return readdirSync(home)
    .map((directory) => `${home}/${directory}/${name}`)
    .filter((path) => existsSync(path));
}

/** A process that has ended by now is ignored. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // it has ended
    }
  }
}

/** Sends this to each client that has sent something, null for nothing at all, and does not close by itself. */
class Answerer {
  readonly server: Server;
  readonly #open = new Set<Socket>();

  constructor(answer: string | null) {
    this.server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#open.add(socket);
      socket.on('error', () => {}).on('close', () => this.#open.delete(socket));
      socket.once('data', () => answer !== null && socket.end(answer)).resume();
    });
  }

  async close(): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    await new Promise((closed) => this.server.close(closed));
  }
}

/** Answers by this name in a directory without a server, until it is removed; the path may be of any length. */
export async function answering(directory: string, name: string, answer: string | null): Promise<() => Promise<void>> {
  mkdirSync(directory, { recursive: true });
  const fd = openSync(directory, 'r');
  const answerer = new Answerer(answer);
  await new Promise<void>((listening) => answerer.server.listen(`/proc/self/fd/${fd}/${name}`, listening));
  return async () => {
    await answerer.close();
    closeSync(fd);
  };
}

/** Answers in the place of every socket at these paths, until it is removed: with `answer`, null for nothing at all. */
export class Impostor {
  readonly #paths: readonly string[];
  readonly #answerers: Answerer[] = [];

  constructor(paths: readonly string[], answer: string | null) {
    this.#paths = paths;
    for (const path of this.#paths) {
      renameSync(path, `${path}.real`);
      // Closing removes the name that it was bound to, and nothing else.
      const answerer = new Answerer(answer);
      answerer.server.listen(`${path}.false`);
      renameSync(`${path}.false`, path);
      this.#answerers.push(answerer);
    }
  }

  /** The remaining servers answer by themselves again. */
  end(): void {
    for (const path of this.#paths) if (existsSync(`${path}.real`)) renameSync(`${path}.real`, path);
    for (const answerer of this.#answerers) void answerer.close();
  }
}

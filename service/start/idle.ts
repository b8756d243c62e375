/**
 * Ends a daemon that has nothing to do (`--exit-when-idle`), and removes what it has made on disk.
 *
 * Guarantees: nothing to do means no container and no connection, for the whole time. The decision and the end of the listening
 * are one step, under the lock on the run directory that who starts a daemon there holds (native/client/daemon.cc). So a client
 * is either served, or finds nobody and starts the next daemon: none gets half an answer. A daemon whose socket was removed or
 * replaced ends too, since nobody can reach it; it leaves everything as it is.
 * Limits: of the state directory only what is below the run directory is removed, and only if users made nothing in it. A client
 * that connects at the last moment is disconnected without an answer, and tries again. docs/decisions/0058.
 */
import { rmdirSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { basename, dirname, join, relative } from 'node:path';
import { lockDirectory } from '../../native/index.ts';
import { inodeOf } from '../sockets/listen.ts';
import type { DaemonOptions } from './options.ts';

/** Bounds the time between two looks. */
const LOOK_MS = 1000;

/** Names what is in the run directory of containers that are gone. */
const PAST = ['journal', 'dns', 'uplinks', 'forwarder', 'etc', 'netavark', 'daemon.log'];
/** What is in these is for somebody: a switch that was not put back, a file that was set aside, a program that did not end. */
const KEPT = ['containers', 'outsides', 'rootless'];

export interface IdleParts {
  options: Pick<DaemonOptions, 'runDir' | 'stateDir' | 'netnsDir' | 'socket' | 'socketFd'>;
  seconds: number;
  servers: readonly Server[];
  /** Returns true while a container is there. */
  holds: () => boolean;
  /** Returns true if the state directory has something that a user made. */
  keeps: () => boolean;
}

export type Leaving = 'idle' | 'unreachable';

export class Idle {
  /** Resolves when the daemon does not listen any more. */
  readonly leaving: Promise<Leaving>;
  readonly #parts: IdleParts;
  readonly #inode: number | null;
  #leave: (why: Leaving) => void = () => {};
  #why: Leaving | null = null;
  #connections = 0;
  #since = performance.now();
  readonly #timer: NodeJS.Timeout;

  constructor(parts: IdleParts) {
    this.#parts = parts;
    this.#inode = this.#inodeNow();
    this.leaving = new Promise((resolve) => (this.#leave = resolve));
    for (const server of parts.servers) {
      server.on('connection', (socket) => {
        this.#connections++;
        socket.once('close', () => {
          this.#connections--;
          this.#since = performance.now();
        });
      });
    }
    this.#timer = setInterval(() => this.#look(), Math.min(LOOK_MS, (parts.seconds * 1000) / 4));
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Removes what the daemon has made, after everything else is closed. */
  clear(): void {
    if (this.#why !== 'idle') return;
    const { runDir, stateDir, netnsDir } = this.#parts.options;
    for (const name of PAST) rmSync(join(runDir, name), { recursive: true, force: true });
    for (const name of KEPT) removeEmpty(join(runDir, name));
    if (isBelow(stateDir, runDir) && !this.#parts.keeps()) rmSync(stateDir, { recursive: true, force: true });
    if (isBelow(netnsDir, runDir)) removeEmpty(netnsDir);
    rmSync(join(runDir, 'lock'), { force: true }); // at last, since it keeps out daemons that were started by hand
    removeEmpty(runDir);
    // As who starts a daemon on demand makes it (native/client/place.cc).
    if (basename(runDir).startsWith('netns-') && basename(dirname(runDir)) === 'cleat') removeEmpty(dirname(runDir));
  }

  #look(): void {
    const { seconds, servers, holds, options } = this.#parts;
    if (this.#inodeNow() !== this.#inode) return this.#end('unreachable');
    if (this.#connections > 0 || holds()) this.#since = performance.now();
    if (performance.now() - this.#since < seconds * 1000) return;
    // Somebody who is about to start a daemon here will find this one.
    if (!lockDirectory(options.runDir)) return;
    for (const server of servers) server.close();
    this.#end('idle');
  }

  #end(why: Leaving): void {
    this.close();
    this.#why = why;
    this.#leave(why);
  }

  /** Returns null for a socket that is not ours to watch. */
  #inodeNow(): number | null {
    const { socket, socketFd } = this.#parts.options;
    return socketFd === null ? inodeOf(socket) : null;
  }
}

function isBelow(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way !== '' && !way.startsWith('..');
}

function removeEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // not empty, or somebody else's
  }
}

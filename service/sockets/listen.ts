/**
 * Has the daemon's servers listen on their sockets, and end.
 *
 * Guarantees: a socket of ours is for its owner and its group alone (0660) from its first moment. What is at the path of the socket
 * for Docker's clients is replaced only if it is a socket on which nobody listens: Docker's own daemon may be there. The end of a
 * server leaves a socket that is at its path by now, but is another daemon's.
 * Limits: who may write to the directory of a socket may replace it.
 */
import { chmodSync, lstatSync, rmSync, statSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { FaultError } from '../../state/faults.ts';
import { endEndless } from '../requests/connections.ts';

export interface Listener {
  server: Server;
  /** Returns true if the socket at our path is another one by now. */
  isReplaced: () => boolean;
  close: () => Promise<void>;
}

/** Listens on the daemon's own socket, or on the one that was passed to it. */
export async function listenOn(api: FastifyInstance, socket: string, fd: number | null): Promise<Listener> {
  const { server } = api;
  if (fd === null) {
    rmSync(socket, { force: true }); // of a daemon that is no more: we hold its lock
    return listenAt(api, socket);
  }
  await api.ready();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen({ fd }, resolve));
  const { isReplaced, close } = ending(api, socket);
  // Fastify knows nothing of a socket that was passed.
  const closeAll = () => {
    endEndless(server);
    server.close().closeAllConnections();
    return close();
  };
  return { server, isReplaced, close: closeAll };
}

/** Listens on the socket for Docker's clients. Throws BAD_REQUEST if it cannot be there: it is a setting. */
export async function listenBeside(api: FastifyInstance, socket: string): Promise<Listener> {
  try {
    await removeDead(socket);
    return await listenAt(api, socket);
  } catch (error) {
    throw new FaultError('BAD_REQUEST', `--docker-socket ${socket}: ${(error as Error).message}`);
  }
}

async function listenAt(api: FastifyInstance, socket: string): Promise<Listener> {
  const mask = process.umask(0o117);
  try {
    await api.listen({ path: socket });
  } finally {
    process.umask(mask);
  }
  chmodSync(socket, 0o660);
  return ending(api, socket);
}

function ending(api: FastifyInstance, socket: string): Listener {
  const { server } = api;
  const inode = inodeOf(socket);
  const isReplaced = () => {
    const found = inodeOf(socket);
    return found !== null && found !== inode;
  };
  return {
    server,
    isReplaced,
    close: async () => {
      endEndless(server);
      // The end of a listening socket removes what is at its path (libuv), even if that is another daemon's by now.
      if (isReplaced()) server.closeAllConnections();
      else await api.close();
    },
  };
}

/** Removes a socket on which nobody listens. Throws if anything else is there. */
async function removeDead(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error('something is there that is no socket');
  if (await answers(path)) throw new Error('another program listens there');
  rmSync(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNREFUSED' || error.code === 'ENOENT' ? resolve(false) : reject(error),
    );
  });
}

/** Returns the inode of the socket at this path; null if there is none. */
export const inodeOf = (socket: string): number | null => statSync(socket, { throwIfNoEntry: false })?.ino ?? null;

/** The size of sun_path (unix(7)). Node would pass the beginning of a longer path to the kernel: the socket would be elsewhere. */
const MAX_SOCKET_PATH = 107;

export function refuseSocketPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > 0 && bytes <= MAX_SOCKET_PATH) return;
  const message = `the path of a socket has 1 to ${MAX_SOCKET_PATH} bytes, not ${bytes}: ${path}`;
  throw new FaultError('BAD_REQUEST', message, { object: path });
}

/**
 * A client of a Unix socket that works with bytes alone.
 *
 * Guarantees: an error of the connection is not thrown: the result is what arrived until then.
 */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export async function connectTo(path: string): Promise<Socket> {
  const socket = createConnection(path);
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** Everything that the daemon sends until it closes, or for a while; latin1 has a character for each byte. */
export async function said(socket: Socket, patience = 1000, encoding: 'utf8' | 'latin1' = 'utf8'): Promise<string> {
  let text = '';
  socket.setEncoding(encoding).on('data', (chunk: string) => (text += chunk));
  await Promise.race([once(socket, 'close').catch(() => {}), sleep(patience)]);
  return text;
}

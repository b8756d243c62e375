/**
 * A client of a Unix socket about which nothing is known but its bytes.
 *
 * Guarantees: an error of the connection is not thrown: what was said until then is what was said.
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

/** Everything the daemon answers until it closes, or for a while; latin1 has a character for each byte. */
export async function said(socket: Socket, patience = 1000, encoding: 'utf8' | 'latin1' = 'utf8'): Promise<string> {
  let text = '';
  socket.setEncoding(encoding).on('data', (chunk: string) => (text += chunk));
  await Promise.race([once(socket, 'close').catch(() => {}), sleep(patience)]);
  return text;
}

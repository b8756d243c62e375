/**
 * The daemon's directories and socket, and how long it is waited for: from flags first, then the environment, then the defaults.
 *
 * Guarantees: the client and `cleat daemon` read the same variables in the same way, so one setting moves both.
 * Limits: only the socket's default is here; the daemon has the others.
 */
import { join } from 'node:path';
import { usualSocket } from '../client/socket.ts';
import { usage } from './failure.ts';

/** Returns a setting from the user's environment; an empty value counts as unset. */
export function fromEnvironment(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const value = env[`CLEAT_${name}`];
  return value === '' ? undefined : value;
}

/** Returns an executable of the build, from any folder of dist/. */
export const built = (name: string): string => join(import.meta.dirname, '../../build/Release', name);

/** The directory with the page of the inspector. */
export const PAGE = join(import.meta.dirname, '../inspector');

/** A daemon serves within a second on an idle machine. */
const PATIENCE_S = '5';

/** Returns how long to wait for a daemon that may be starting, in milliseconds. */
export function patience(env: NodeJS.ProcessEnv = process.env): number {
  const text = fromEnvironment('CONNECT_TIMEOUT', env) ?? PATIENCE_S;
  if (/^\d{1,4}(\.\d+)?$/.test(text)) return Number(text) * 1000;
  throw usage(`CLEAT_CONNECT_TIMEOUT is a number of seconds, not ${text}`);
}

/** The limit of sun_path (unix(7)). Node would cut a longer path and connect to another socket. */
const MAX_SOCKET_PATH = 107;

export function socketPath(flag: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  const path = flag ?? usualSocket(env);
  const bytes = Buffer.byteLength(path);
  if (bytes > 0 && bytes <= MAX_SOCKET_PATH) return path;
  throw usage(`the path of a socket has 1 to ${MAX_SOCKET_PATH} bytes, not ${bytes}: ${path}`);
}

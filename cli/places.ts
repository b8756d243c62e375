/**
 * Where the daemon keeps its things and listens: flags first, then the environment, then the usual places.
 *
 * Guarantees: client and `cleat daemon` read the same variables the same way, so that one setting moves both.
 * Limits: the usual places themselves are the daemon's to know; only the socket's is needed here.
 */
import { join } from 'node:path';
import { usage } from './failure.ts';

/** What is asked of the user's environment; an empty value is as good as none. */
export function fromEnvironment(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const value = env[`CLEAT_${name}`];
  return value === '' ? undefined : value;
}

const RUN_DIR = '/run/cleat';

/** sun_path (unix(7)). Node would take the beginning of a longer path, and speak to whoever listens there. */
const MAX_SOCKET_PATH = 107;

export function socketPath(flag: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  const path = flag ?? fromEnvironment('SOCKET', env) ?? join(fromEnvironment('RUN_DIR', env) ?? RUN_DIR, 'cleat.sock');
  const bytes = Buffer.byteLength(path);
  if (bytes > 0 && bytes <= MAX_SOCKET_PATH) return path;
  throw usage(`the path of a socket has 1 to ${MAX_SOCKET_PATH} bytes, not ${bytes}: ${path}`);
}

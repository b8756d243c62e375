/**
 * The daemon's directories and socket, and how long it is waited for: from flags first, then the environment, then the defaults.
 *
 * Guarantees: the client and `cleat daemon` read the same variables in the same way, so one setting moves both.
 * Limits: only the socket's default is here; the daemon has the others.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { usage } from './failure.ts';

/** Returns a setting from the user's environment; an empty value counts as unset. */
export function fromEnvironment(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const value = env[`CLEAT_${name}`];
  return value === '' ? undefined : value;
}

/** Returns the path of an executable of cleat's, from a file of any folder of dist/ (scripts/bundle.ts). */
export const built = (name: string): string => fileURLToPath(new URL(`../../build/Release/${name}`, import.meta.url));

const RUN_DIR = '/run/cleat';

/** Returns the run directory of root's daemon, or of the user's own (native/rootless/user.h). */
function runDirectory(env: NodeJS.ProcessEnv): string {
  const named = fromEnvironment('RUN_DIR', env);
  const uid = process.getuid?.() ?? 0;
  if (named !== undefined || uid === 0) return named ?? RUN_DIR;
  const { XDG_RUNTIME_DIR: runtime = '' } = env;
  return join(runtime === '' ? `/run/user/${uid}` : runtime, 'cleat');
}

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
  const path = flag ?? fromEnvironment('SOCKET', env) ?? join(runDirectory(env), 'cleat.sock');
  const bytes = Buffer.byteLength(path);
  if (bytes > 0 && bytes <= MAX_SOCKET_PATH) return path;
  throw usage(`the path of a socket has 1 to ${MAX_SOCKET_PATH} bytes, not ${bytes}: ${path}`);
}

/**
 * Where the daemon keeps its things and listens: flags first, then the environment, then the usual places.
 *
 * Guarantees: client and `cleat daemon` read the same variables the same way, so that one setting moves both.
 * Limits: the usual places themselves are the daemon's to know; only the socket's is needed here.
 */
import { join } from 'node:path';

/** What is asked of the user's environment; an empty value is as good as none. */
export function fromEnvironment(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const value = env[`CLEAT_${name}`];
  return value === '' ? undefined : value;
}

const RUN_DIR = '/run/cleat';

export function socketPath(flag: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  return flag ?? fromEnvironment('SOCKET', env) ?? join(fromEnvironment('RUN_DIR', env) ?? RUN_DIR, 'cleat.sock');
}

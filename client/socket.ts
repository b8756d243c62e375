/**
 * Where the daemon's socket is, if nobody says so: CLEAT_SOCKET, or cleat.sock in CLEAT_RUN_DIR, or the usual place of root's daemon
 * or of the user's own (native/rootless/user.h).
 *
 * Guarantees: an empty variable counts as unset.
 */
import { join } from 'node:path';

const RUN_DIR = '/run/cleat';

export function usualSocket(env: NodeJS.ProcessEnv = process.env): string {
  const { CLEAT_SOCKET: socket = '' } = env;
  return socket === '' ? join(runDirectory(env), 'cleat.sock') : socket;
}

function runDirectory({ CLEAT_RUN_DIR: named = '', XDG_RUNTIME_DIR: runtime = '' }: NodeJS.ProcessEnv): string {
  const uid = process.getuid?.() ?? 0;
  if (named !== '') return named;
  if (uid === 0) return RUN_DIR;
  return join(runtime === '' ? `/run/user/${uid}` : runtime, 'cleat');
}

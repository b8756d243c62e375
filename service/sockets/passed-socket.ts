/**
 * Socket activation: takes the socket that a supervisor has bound, and passes to the daemon (sd_listen_fds(3)).
 *
 * Guarantees: variables for another process are none of ours, as are those of a parent that did not clean up. Children get
 * neither the descriptor nor the variables. A socket that cannot be served is refused with what it is.
 * Limits: one socket; its name (LISTEN_FDNAMES) does not matter.
 */
import { takeSocket } from '../../native/index.ts';
import { FaultError } from '../../state/faults.ts';

/** SD_LISTEN_FDS_START */
const FIRST = 3;

export interface TakenSocket {
  fd: number;
  path: string;
}

/** Returns the socket, null if none was passed. `wanted` is the path that the settings name, if they do. */
export function takePassedSocket(env: NodeJS.ProcessEnv, wanted: string | undefined): TakenSocket | null {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = env;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) Reflect.deleteProperty(env, name);
  if (pid === undefined || count === undefined || pid !== String(process.pid)) return null;
  if (count !== '1') throw unsuitable(`LISTEN_FDS is ${JSON.stringify(count)}: the daemon takes one socket`);
  const { suitable, path } = taken();
  if (!suitable) throw unsuitable(`descriptor ${FIRST} is no listening Unix stream socket`);
  if (path === '') throw unsuitable('the socket that was passed has no path, which clients could find');
  if (wanted !== undefined && wanted !== path) {
    throw unsuitable(`the socket that was passed is ${path}, and the settings say ${wanted}`);
  }
  return { fd: FIRST, path };
}

function taken(): ReturnType<typeof takeSocket> {
  try {
    return takeSocket(FIRST);
  } catch (error) {
    throw unsuitable(`descriptor ${FIRST} cannot be used: ${(error as Error).message}`);
  }
}

const unsuitable = (message: string): FaultError => new FaultError('SOCKET_UNSUITABLE', message);

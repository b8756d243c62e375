/**
 * Translates the binding of an owner's ports to the forwarder's protocol and back (native/forwarder/control/bond.h,
 * docs/decisions/0046 and 0059).
 *
 * Guarantees: pid and start time identify a process, its inode a pipe. A forwarder that does not support bindings, or that
 * cannot see a process that we see, is distinguished from one that refuses what has ended.
 */
import { processStartTime } from '../../native/index.ts';
import type { ProcessIdentity, Tie } from '../../state/container.ts';
import { FaultError } from '../../state/faults.ts';
import { containerIdOf } from '../../plan/owner.ts';
import { descriptorFor, tieHasEnded } from '../processes/exit-descriptor.ts';
import type { Answer } from './forwarder-client.ts';

/** Says what one container of an owner's namespace ends with, in the forwarder's list. */
export interface ListedTie {
  pid?: number;
  start_time?: number;
  exit?: { dev: number; ino: number } | { pid: number; start_time: number };
}

/** Returns the request. The forwarder opens pipes by our descriptors. Throws if all of it has ended. */
export async function bindingOf(owner: string, boundTo: readonly Tie[]) {
  const listed = listedAs(boundTo);
  if (listed.length === 0) return { owner, to: [] };
  const to = (await Promise.all(boundTo.map((tie, n) => requestOf(tie, listed[n])))).filter((tie) => tie !== null);
  if (to.length > 0) return { owner, to };
  throw new FaultError('NO_SUCH_PROCESS', `what container ${containerIdOf(owner)} ends with has ended`);
}

async function requestOf({ exit }: Tie, listed: ListedTie = {}): Promise<object | null> {
  if (exit?.kind !== 'pipe') return listed;
  const fd = await descriptorFor(exit);
  return fd === null ? null : { ...listed, exit: { ...processOf(ourselves()), fd, dev: exit.dev, ino: exit.ino } };
}

const ourselves = (): ProcessIdentity => ({ pid: process.pid, startTime: processStartTime(process.pid) });

const processOf = ({ pid, startTime }: ProcessIdentity) => ({ pid, start_time: startTime });

/**
 * A socket can be opened by nobody else. So a container that ends with a socket alone ends by a teardown for the forwarder, and
 * its owner is bound to nothing.
 */
function listedAs(boundTo: readonly Tie[]): ListedTie[] {
  const listed = boundTo.map(({ process: its, exit }): ListedTie => {
    const pipe = exit?.kind === 'pipe' ? { exit: { dev: exit.dev, ino: exit.ino } } : {};
    const pidfd = exit?.process ? { exit: processOf(exit.process) } : {};
    return { ...(its === null ? {} : processOf(its)), ...pipe, ...pidfd };
  });
  return listed.some((tie) => Object.keys(tie).length === 0) ? [] : listed;
}

/**
 * Returns true if the forwarder lists these bindings. A forwarder of an earlier version lists none, and then the answer is true
 * as well.
 */
export const isBoundTo = (listed: readonly ListedTie[] | undefined, boundTo: readonly Tie[]): boolean =>
  listed === undefined || JSON.stringify(listed) === JSON.stringify(listedAs(boundTo));

/**
 * True if the forwarder has nothing left to serve: all containers of the binding have ended, even if their machines do not know
 * it yet.
 */
export const hasEnded = (boundTo: readonly Tie[]): boolean => boundTo.length > 0 && boundTo.every(tieHasEnded);

const UNSEEN = new Set(['ESRCH', 'EPERM', 'EACCES']);

/**
 * True if the forwarder cannot bind. An earlier version does not know the request; another forwarder may not see the process
 * (another pid or time namespace, hidepid of proc(5)). Such forwarders carry ports until they get a request to stop.
 */
export function cannotBind(answer: Answer, boundTo: readonly Tie[]): boolean {
  if (answer.ok) return false;
  const { message, errno = '', host_port: port } = answer.error;
  return message.startsWith('not a request') || (port === undefined && UNSEEN.has(errno) && !hasEnded(boundTo));
}

export const isBound = (listed: unknown): listed is ListedTie[] => Array.isArray(listed) && listed.every(isListed);

function isListed(one: unknown): boolean {
  const { pid, start_time: startTime, exit } = (one ?? {}) as Record<string, unknown>;
  const its = areNumbers(pid, startTime);
  return exit === undefined ? its : (its || pid === undefined) && isListedExit(exit);
}

function isListedExit(exit: unknown): boolean {
  const { pid, start_time: startTime, dev, ino } = (exit ?? {}) as Record<string, unknown>;
  return areNumbers(pid, startTime) || areNumbers(dev, ino);
}

const areNumbers = (...all: unknown[]): boolean => all.every((one) => Number.isSafeInteger(one));

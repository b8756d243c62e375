/**
 * The program wireguard-go, which carries a link of WireGuard where the kernel has none: found, started and ended by the name of its
 * link.
 *
 * Guarantees: only a process whose command line names the link, and that lives in the namespace of the link, is ever signalled, by pid
 * and start time. It outlives the daemon. `startHelper` returns when the link is there, and leaves nothing behind if it is not. The
 * program runs as a user of its own with no right but NET_ADMIN: the daemon makes the socket on which it is configured, which stays
 * root's, and is no other user's to connect to.
 * Limits: link and helper end with each other, so whoever watches the link notices. What the program logs is lost: it would go on for as
 * long as another host is away. Two links of one name in different namespaces of one mount namespace would have one socket, whose path
 * wg(8) knows by heart: the second one is refused.
 */
import { chownSync, closeSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isKernelError, listenUnix, spawn, type Child, type Outside } from '../../native/index.ts';
import { FaultError } from '../../state/faults.ts';
import { isExecutable } from '../processes/executable.ts';
import { ended, hasGone, isAlive, isStopped, SIGKILL, signal, SIGTERM } from '../processes/process.ts';
import { processesBy } from '../processes/process-list.ts';
import { findUser } from '../processes/users.ts';
import { requireFor } from '../refusal.ts';
import { WIREGUARD_GO } from './wireguard-tool.ts';

/** Known to wg(8) and wireguard-go alike. */
const SOCKETS = '/var/run/wireguard';
/** A start takes 20 ms. */
const START_MS = 5000;
const LOOK_MS = 5;
const END_MS = 2000;
/** A tun device, two UDP sockets, and one for each wg(8) that asks. */
const DESCRIPTORS = 256;

export interface Namespace {
  ino: number;
  dev: number;
}

/** Returns the name of the link that a command line of ours is about. */
const linkOf = ([file = '', option, name = '', more]: readonly string[]): string | null =>
  basename(file) === 'wireguard-go' && option === '-f' && name.startsWith('wg-') && more === undefined ? name : null;

/** Returns every helper in a namespace, with its link. */
export async function helpersIn(netns: Namespace): Promise<{ link: string; helper: Child }[]> {
  const found = await processesBy(linkOf);
  return found
    .filter(({ process }) => livesIn(process, netns))
    .map(({ what: link, process: helper }) => ({ link, helper }));
}

/** Returns the helpers of one link. */
export const helpersOf = async (name: string, netns: Namespace): Promise<Child[]> =>
  (await helpersIn(netns)).filter(({ link }) => link === name).map(({ helper }) => helper);

function livesIn({ pid }: Child, { ino, dev }: Namespace): boolean {
  try {
    const found = statSync(`/proc/${pid}/ns/net`);
    return found.ino === ino && found.dev === dev;
  } catch (error) {
    if (hasGone(error)) return false;
    throw error;
  }
}

/** Starts the helper of a link that does not exist, in the namespace at this path (null: the daemon's own). */
export async function startHelper(native: Outside, name: string, netns: string | null): Promise<Child> {
  requireFor('wireguard-go');
  const file = WIREGUARD_GO.find(isExecutable);
  if (file === undefined) throw failed(name, 'it is not installed');
  const { uid, gid } = findUser('cleat-wireguard');
  const listening = await listenFor(native, name, gid);
  let end: string | null = null;
  let helper: Child;
  try {
    helper = spawn(
      {
        file,
        args: ['-f', name],
        env: { WG_UAPI_FD: '3', LOG_LEVEL: 'silent' },
        fds: [-1, -1, -1, listening],
        ownSession: true,
        ...(netns === null ? {} : { netns }),
        confinement: { uid, gid, capabilities: ['NET_ADMIN'], descriptors: DESCRIPTORS },
      },
      (status, number) => {
        end = number === null ? `it ended with status ${status}` : `signal ${number} ended it`;
      },
    );
  } catch (error) {
    rmSync(socketOf(name), { force: true });
    throw isKernelError(error) ? failed(name, error.message) : error;
  } finally {
    closeSync(listening);
  }
  for (const deadline = performance.now() + START_MS; performance.now() < deadline; await delay(LOOK_MS)) {
    if ((await native.link(name)) !== null) return helper;
    if (end !== null || !isAlive(helper)) break;
  }
  await stopHelpers(name, native.identity());
  throw failed(name, `${end ?? `it has made no link within ${START_MS / 1000} s`}${tunOpen(uid)}`);
}

const failed = (name: string, why: string) =>
  new FaultError('TUNNEL_FAILED', `wireguard-go cannot carry ${name}: ${why}`, { object: name });

/** Adds the usual reason. */
function tunOpen(uid: number): string {
  const mode = statSync('/dev/net/tun', { throwIfNoEntry: false })?.mode;
  if (mode === undefined) return ' (/dev/net/tun is not there: modprobe tun)';
  return (mode & 0o006) === 0o006 ? '' : ` (uid ${uid} may not open /dev/net/tun: chmod 0666, as udev makes it)`;
}

const socketOf = (name: string): string => `${SOCKETS}/${name}.sock`;

/** Listens where wg(8) looks. The helper may see the socket, which it watches, but not connect to it. */
async function listenFor(native: Outside, name: string, gid: number): Promise<number> {
  const { ino, dev } = native.identity();
  const all = (await processesBy(linkOf)).filter(({ what }) => what === name);
  const other = all.find(({ process }) => !livesIn(process, { ino, dev }) && sharesMounts(process));
  if (other !== undefined) {
    const owner = `wireguard-go (pid ${other.process.pid}) in another network namespace`;
    throw new FaultError('NAME_TAKEN_IN_KERNEL', `${socketOf(name)} belongs to ${owner}`, { object: name, owner });
  }
  try {
    mkdirSync(SOCKETS, { recursive: true, mode: 0o755 });
    rmSync(socketOf(name), { force: true });
    const fd = listenUnix(socketOf(name), 0o640);
    chownSync(socketOf(name), 0, gid);
    return fd;
  } catch (error) {
    throw failed(name, error instanceof Error ? error.message : String(error));
  }
}

/** True if a process sees the same files. */
function sharesMounts({ pid }: Child): boolean {
  try {
    return statSync(`/proc/${pid}/ns/mnt`).ino === statSync('/proc/self/ns/mnt').ino;
  } catch (error) {
    if (hasGone(error)) return false;
    throw error;
  }
}

/** Ends all helpers of a link in this namespace, and removes their socket. None is no error. */
export async function stopHelpers(name: string, netns: Namespace): Promise<void> {
  const helpers = await helpersOf(name, netns);
  for (const helper of helpers) {
    // A stopped process takes no other signal (signal(7)).
    signal(helper, isStopped(helper) ? SIGKILL : SIGTERM);
    if (await ended(helper, END_MS)) continue;
    signal(helper, SIGKILL);
    if (await ended(helper, END_MS)) continue;
    throw failed(name, `pid ${helper.pid} does not end`);
  }
  if (helpers.length > 0) rmSync(socketOf(name), { force: true });
}

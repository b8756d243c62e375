/**
 * The container's network namespace: made by us, now or in advance, or joined, and pinned by a bind mount either way.
 *
 * Guarantees: ensure run twice gives the same namespace; a placeholder file that a crash left unmounted is replaced; a process
 * is checked (pid and start time) before its namespace is taken. A namespace of the host is refused under any path, because the
 * open file is compared. Remove unpins: the kernel then removes a namespace of ours with its links; a joined one lives on with
 * its other holders. In between, no operation reaches another namespace through the pin, even if one is mounted over it
 * (expectNetns).
 * Limits: the directory of the pins must exist. The namespace of pid 1 is unknown if /proc hides it from us.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, statSync } from 'node:fs';
import type { NamespaceInput } from '../../machines/container/container-inputs.ts';
import {
  expectNetns,
  isKernelError,
  openProcessNetns,
  pinNetns,
  type NetnsIdentity,
  type Outside,
} from '../../native/index.ts';
import type { ContainerContext } from '../../state/container.ts';
import { FaultError } from '../../state/faults.ts';
import { identityAt, namespaceFault, type Kernel } from '../kernel.ts';
import { kernelHasIpv6 } from './switches.ts';

/**
 * Written before any link exists. Router advertisements and redirects are ignored (CVE-2020-10749: a neighbour could route the
 * container's traffic through itself). Addresses are usable at once (no duplicate address detection, since cleat owns the
 * subnet). IPv6 is off until an attachment has an address. IPv4 accepts a redirect if `all` or the interface says so
 * (IN_DEV_RX_REDIRECTS in include/linux/inetdevice.h), so `all` changes in a joined namespace too. It stays changed, because
 * its former value is not recorded.
 */
export const NAMESPACE_SYSCTLS: Record<string, string> = {
  'net/ipv4/conf/all/accept_redirects': '0',
  'net/ipv4/conf/default/accept_redirects': '0',
  'net/ipv6/conf/default/accept_redirects': '0',
  'net/ipv6/conf/default/accept_ra': '0',
  'net/ipv6/conf/default/accept_dad': '0',
  'net/ipv6/conf/default/disable_ipv6': '1',
};

async function switchesOf(native: Outside): Promise<Record<string, string>> {
  if (await kernelHasIpv6(native)) return NAMESPACE_SYSCTLS;
  return Object.fromEntries(Object.entries(NAMESPACE_SYSCTLS).filter(([key]) => !key.startsWith('net/ipv6/')));
}

/** Runs work with a namespace that was made in advance, for this work alone; with null if there is none. */
export type Taking = <T>(use: (netns: number | null) => Promise<T>) => Promise<T>;

export const ensureNamespace =
  (kernel: Kernel, taking: Taking) =>
  async (input: NamespaceInput): Promise<NetnsIdentity> => {
    const identity = await makeNamespace(kernel, taking, input);
    expectNetns(input.path, identity);
    return identity;
  };

/** Makes a namespace that is nobody's yet, as a container's begins. The caller closes the descriptor. */
export const prepareNamespace = (kernel: Kernel) => async (): Promise<number> => {
  const { kernel: native } = kernel.outside(null);
  return native.netnsPrepare(await switchesOf(native));
};

async function makeNamespace(
  kernel: Kernel,
  taking: Taking,
  { outside, path, source }: NamespaceInput,
): Promise<NetnsIdentity> {
  const { kernel: native } = kernel.outside(outside);
  if (source.mode === 'new') {
    const switches = await switchesOf(native);
    const make = (netns: number | null) =>
      pin(native, path, async () => (netns === null ? native.netnsCreate(path, switches) : pinNetns(netns, path)));
    return outside === null ? taking(make) : make(null);
  }
  const object = source.mode === 'path' ? source.path : `pid ${source.process.pid}`;
  const open = () => (source.mode === 'process' ? openProcess(source.process) : openPath(source.path));
  const fd = kernel.isRootless ? await refuseOthersNamespace(object, open) : open();
  try {
    refuseHostNamespace(kernel, outside, fstatSync(fd), object);
    if (kernel.isRootless) await refuseOthersNamespace(object, () => native.links(`/proc/self/fd/${fd}`));
    return await pin(native, path, () => native.netnsPin(fd, path));
  } catch (error) {
    if (source.mode === 'path' && isKernelError(error) && error.code === 'EINVAL') {
      throw new FaultError('NOT_A_NAMESPACE', `${source.path} is not a network namespace`, { object: source.path });
    }
    throw error;
  } finally {
    closeSync(fd);
  }
}

/**
 * Mounts the pin of a container again after somebody has unmounted it. Finds the namespace by a process that lives in it, and
 * returns false if there is none: then the kernel has removed the namespace with the pin. A link of the container must be in
 * the namespace, too, because inode numbers are used again.
 */
export async function pinAgain(
  kernel: Kernel,
  { outside, netns, identity, attachments }: Pick<ContainerContext, 'outside' | 'netns' | 'identity' | 'attachments'>,
): Promise<boolean> {
  if (netns === null || identity === null) return false;
  const { kernel: native } = kernel.outside(outside);
  const { path } = netns;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const living = `/proc/${pid}/ns/net`;
    if (!isSame(identityAt(living), identity)) continue;
    const fd = openIfThere(living);
    if (fd === null) continue;
    try {
      const links = await native.links(`/proc/self/fd/${fd}`);
      const isOurs = attachments.some(({ link, mac }) => links.some((one) => one.name === link && one.mac === mac));
      if (!isSame(fstatSync(fd), identity) || !isOurs) continue;
      return isSame(await pin(native, path, () => native.netnsPin(fd, path)), identity);
    } finally {
      closeSync(fd);
    }
  }
  return false;
}

const isSame = (a: NetnsIdentity | null, b: NetnsIdentity): boolean => a?.dev === b.dev && a.ino === b.ino;

/** Returns null if the process has ended meanwhile. */
function openIfThere(path: string): number | null {
  try {
    return openSync(path, 'r');
  } catch {
    return null;
  }
}

export const removeNamespace =
  (kernel: Kernel) =>
  async ({ path }: NamespaceInput): Promise<void> => {
    // A pin is a mount, so it is the same from any network namespace, even if its outside is gone.
    await kernel.outside(null).kernel.netnsRemove(path);
    expectNetns(path, null);
  };

/**
 * Throws NOT_A_NAMESPACE for the daemon's own namespaces, that of pid 1, and the one that holds the container's bridges and
 * rules: a link or a default route made for a container would be the host's.
 */
export function refuseHostNamespace(
  kernel: Pick<Kernel, 'outside' | 'listening'>,
  outside: string | null,
  found: NetnsIdentity,
  object: string,
): void {
  // A rootless daemon is in a namespace of the host, and its bridges are in its own.
  const [own, here] = [kernel.outside(null).kernel.identity(), kernel.listening(null).identity()];
  const holder = kernel.outside(outside).kernel.identity();
  const is = (other: NetnsIdentity | undefined) => other?.dev === found.dev && other.ino === found.ino;
  const whose = is(holder)
    ? 'holds the bridges'
    : is(own) || is(here)
      ? 'is the one of the daemon'
      : is(namespaceOfInit())
        ? 'is the one of pid 1'
        : null;
  if (whose === null) return;
  const message = `the namespace of ${object} ${whose}: it cannot be that of a container`;
  throw new FaultError('NOT_A_NAMESPACE', message, { object });
}

/** Throws NOT_A_NAMESPACE if an ordinary user's daemon may not open a namespace, or not enter it: it is root's, or another user's. */
async function refuseOthersNamespace<T>(object: string, reach: () => T | Promise<T>): Promise<T> {
  try {
    return await reach();
  } catch (error) {
    const errno = error instanceof FaultError ? error.fault.errno : isKernelError(error) ? error.code : undefined;
    if (errno !== 'EPERM' && errno !== 'EACCES') throw error;
    const message = `the namespace of ${object} is not this user's: the daemon has no rights over it`;
    throw new FaultError('NOT_A_NAMESPACE', message, { object });
  }
}

function namespaceOfInit(): NetnsIdentity | undefined {
  try {
    return statSync('/proc/1/ns/net');
  } catch {
    return undefined; // no CAP_SYS_PTRACE over it, or hidepid (proc(5))
  }
}

/** Makes the pin. An existing pin is ours (it has our name), unless it is only the placeholder. */
async function pin(native: Outside, path: string, make: () => Promise<NetnsIdentity>): Promise<NetnsIdentity> {
  try {
    return await make();
  } catch (error) {
    if (!isKernelError(error) || error.code !== 'EEXIST') throw error;
  }
  try {
    return await native.netnsIdentify(path);
  } catch (error) {
    if (!isKernelError(error) || error.code !== 'EINVAL') throw error;
  }
  await native.netnsRemove(path);
  return make();
}

function openProcess(process: { pid: number; startTime: number }): number {
  try {
    const { fd, startTime } = openProcessNetns(process.pid);
    if (startTime === process.startTime) return fd;
    closeSync(fd);
  } catch (error) {
    if (!isKernelError(error) || !['ESRCH', 'ENOENT'].includes(error.code)) throw error;
  }
  throw new FaultError('NO_SUCH_PROCESS', `process ${process.pid} has ended`, { object: String(process.pid) });
}

function openPath(path: string): number {
  try {
    // The path may lead to any file: opening a FIFO must not block, and a terminal must not become the daemon's own.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    throw namespaceFault(path, error);
  }
}

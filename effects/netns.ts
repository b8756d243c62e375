/**
 * The container's network namespace: made by us or joined, and pinned by a bind mount either way.
 *
 * Guarantees: ensure run twice gives the same namespace; a placeholder file that a crash left unmounted is replaced;
 * a process is checked (pid and start time) before its namespace is taken. Remove unpins: a namespace of ours is then
 * reaped by the kernel with its links, a joined one lives on with its other holders.
 * Limits: the directory of the pins must exist.
 */
import { closeSync, constants, openSync } from 'node:fs';
import type { NamespaceInput } from '../machines/container-inputs.ts';
import { isKernelError, openProcessNetns, type NetnsIdentity, type Outside } from '../native/index.ts';
import { EffectError } from './effect.ts';
import { namespaceFault, type Kernel } from './kernel.ts';

/**
 * Written before any link exists. Router advertisements are not believed (CVE-2020-10749), addresses are usable at
 * once (no duplicate address detection: cleat owns the subnet), IPv6 is off until an attachment has an address.
 */
export const NAMESPACE_SYSCTLS: Record<string, string> = {
  'net/ipv6/conf/default/accept_ra': '0',
  'net/ipv6/conf/default/accept_dad': '0',
  'net/ipv6/conf/default/disable_ipv6': '1',
};

export const ensureNamespace =
  (kernel: Kernel) =>
  async ({ outside, path, source }: NamespaceInput): Promise<NetnsIdentity> => {
    const { kernel: native } = kernel.outside(outside);
    if (source.mode === 'new') return pin(native, path, () => native.netnsCreate(path, NAMESPACE_SYSCTLS));
    const fd = source.mode === 'process' ? openProcess(source.process) : openPath(source.path);
    try {
      return await pin(native, path, () => native.netnsPin(fd, path));
    } catch (error) {
      if (source.mode === 'path' && isKernelError(error) && error.code === 'EINVAL') {
        throw new EffectError({
          code: 'NOT_A_NAMESPACE',
          message: `${source.path} is not a network namespace`,
          object: source.path,
        });
      }
      throw error;
    } finally {
      closeSync(fd);
    }
  };

export const removeNamespace =
  (kernel: Kernel) =>
  ({ path }: NamespaceInput): Promise<void> =>
    // A pin is a mount, the same from any network namespace, and there even when its outside is gone.
    kernel.outside(null).kernel.netnsRemove(path);

/** Make the pin; one that is there already is ours (the name is), unless it is only the placeholder. */
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
  throw new EffectError({
    code: 'NO_SUCH_PROCESS',
    message: `process ${process.pid} has ended`,
    object: String(process.pid),
  });
}

function openPath(path: string): number {
  try {
    // Whatever the path leads to: a FIFO must not hold the daemon up, nor a terminal become its own.
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    throw namespaceFault(path, error);
  }
}

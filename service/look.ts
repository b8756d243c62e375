/**
 * A look into a container's namespace, through its pin.
 *
 * Guarantees: never throws: what cannot be read is an answer that says why. The namespace at the pin is the one that was
 * pinned there, or the answer says that it is another. Changes nothing.
 * Limits: a moment: what is read together is read by several dumps.
 */
import { isNoNamespace, type Kernel } from '../effects/kernel.ts';
import type { Dump } from '../machines/plan/expected.ts';
import { isKernelError, type Outside } from '../native/index.ts';
import type { ContainerContext, Difference } from '../state/container.ts';

export interface Blind {
  problem: Difference['problem'];
  path: string;
  why: string;
  errno?: string;
  syscall?: string;
}
export type Look<T> = { seen: T } | Blind;

/** Null: there is no namespace to look into (netns host), or none yet. */
export async function lookInside<T>(
  kernel: Kernel,
  { netns, identity, outside }: Pick<ContainerContext, 'netns' | 'identity' | 'outside'>,
  read: (native: Outside, path: string) => Promise<T>,
): Promise<Look<T> | null> {
  if (netns === null || identity === null) return null;
  const { path } = netns;
  try {
    // A pin is the same from everywhere; its outside's thread does the work, as long as there is one.
    const { kernel: native } = kernel.outsideIfThere(outside) ?? kernel.outside(null);
    const [now, seen] = await Promise.all([native.netnsIdentify(path), read(native, path)]);
    if (now.dev === identity.dev && now.ino === identity.ino) return { seen };
    return { problem: 'changed', path, why: 'it is another namespace' };
  } catch (error) {
    if (!isKernelError(error)) return { problem: 'unreadable', path, why: String(error) };
    const { code, syscall } = error;
    return { problem: isNoNamespace(code) ? 'missing' : 'unreadable', path, why: code, errno: code, syscall };
  }
}

export async function dumpOf(native: Outside, path: string): Promise<Dump> {
  const [links, addresses, routes, neighbours] = await Promise.all([
    native.links(path),
    native.addresses(path),
    native.routes(path),
    native.neighbours(path),
  ]);
  return { links, addresses, routes, neighbours };
}

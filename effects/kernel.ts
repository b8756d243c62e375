/**
 * What effects need of their surroundings: who this daemon is in the kernel, and the outside namespaces it works in.
 *
 * Guarantees: the outside is looked up by what the snapshot says, never assumed; each is opened once, has its own worker
 * thread and its own watch on links. What is done in one is done in the namespace that was opened, wherever its path leads
 * by now; a helper that would be started by a path which leads elsewhere is refused. One that nobody uses is let go (`close`).
 * See docs/decisions/0045.
 * Limits: an outside is known by its path until it is let go: what is mounted there meanwhile is not looked into.
 */
import { statSync } from 'node:fs';
import { EventEmitter } from 'eventemitter3';
import {
  expectNetns,
  isKernelError,
  openOutside,
  type NetnsIdentity,
  type Outside,
  type RtnlNotification,
} from '../native/index.ts';
import { whyDenied } from './capabilities.ts';
import { EffectError } from './effect.ts';
import { retryUntilDone } from './retry.ts';

/** How an instance of cleat marks what is its own. Several daemons on one machine differ in all three. */
export interface Instance {
  /** In link aliases: cleat:<name>:... */
  name: string;
  /** nftables table. */
  table: string;
  /** IFLA_GROUP of every link. */
  group: number;
  /** IFLA_GROUP that links are moved to in order to be removed together. */
  doomedGroup: number;
}

interface LinkEvents {
  gone: (name: string) => void;
}

export interface OutsideKernel {
  kernel: Outside;
  /** Emits 'gone' with the name of each link that the kernel has removed from the outside. */
  links: EventEmitter<LinkEvents>;
}

export class Kernel {
  readonly instance: Instance;
  /** Reports what failed behind an effect, or beside it, without making the effect fail. */
  readonly failed: (what: string, error: unknown) => void;
  readonly #outsides = new Map<string | null, OutsideKernel & { unwatch: () => void }>();
  /** Paths that lead to another namespace than the one that is meant. */
  readonly #replaced = new Set<string>();

  constructor(instance: Instance, failed: (what: string, error: unknown) => void) {
    this.instance = instance;
    this.failed = failed;
  }

  /** The outside at `path`, the daemon's own namespace for null. Throws NOT_A_NAMESPACE when there is none, KERNEL else. */
  outside(path: string | null): OutsideKernel {
    let outside = this.#outsides.get(path);
    if (outside === undefined) {
      if (path !== null && this.#replaced.has(path)) throw replaced(path);
      const kernel = open(path);
      const links = new EventEmitter<LinkEvents>();
      let stop: (() => void) | null = () => {};
      const unwatch = () => {
        stop?.();
        stop = null;
      };
      outside = { kernel, links, unwatch };
      this.#outsides.set(path, outside);
      if (path !== null) expectNetns(path, kernel.identity());
      const heard = (event: RtnlNotification) => {
        if (event.type === 'link.del') links.emit('gone', event.name);
      };
      const listen = async () => {
        if (stop === null) return;
        const end = await kernel.monitor(heard, undefined, ['link.del']);
        if (stop === null) end();
        else stop = end;
      };
      // Until it listens, waits fall back to looking (link.ts).
      retryUntilDone(listen, (error) => this.failed(`listening to the links of ${path ?? 'the host'}`, error));
    }
    return outside;
  }

  /**
   * The path by which the namespace at `path` is open already, null for the daemon's own: however it is called, an outside
   * is one namespace, with one owner of its firewall. `path` itself when it is none of them, or nothing is there.
   */
  nameOf(path: string): string | null {
    const found = identityAt(path);
    if (found === null) return path;
    this.outside(null);
    for (const [known, { kernel }] of this.#outsides) {
      const { dev, ino } = kernel.identity();
      if (dev === found.dev && ino === found.ino) return known;
    }
    return path;
  }

  /** The namespace at the path is another than the one that this outside is in, or there is none. */
  leadsElsewhere(path: string): boolean {
    if (this.#replaced.has(path)) return true;
    const open = this.#outsides.get(path)?.kernel.identity();
    if (open === undefined) return false;
    const found = identityAt(path);
    return found === null || found.dev !== open.dev || found.ino !== open.ino;
  }

  /** Whether the outside is open; one that never was, or was let go, is not. */
  isOpen(path: string | null): boolean {
    return this.#outsides.has(path);
  }

  /** Outsides that are open, without the daemon's own. */
  opened(): string[] {
    return [...this.#outsides.keys()].filter((path) => path !== null);
  }

  /** Nothing that is to be done in this outside is done in what is at its path: that is another namespace. */
  refuse(path: string): void {
    this.#outsides.delete(path);
    this.#replaced.add(path);
  }

  /** Let go of an outside that nobody uses: its thread, its descriptors, its namespace. False while something is under way. */
  close(path: string): boolean {
    const outside = this.#outsides.get(path);
    if (outside !== undefined) {
      outside.unwatch();
      if (!outside.kernel.close()) return false;
    }
    this.#outsides.delete(path);
    this.#replaced.delete(path);
    expectNetns(path, null);
    return true;
  }

  /** For taking things away: null when the outside is gone, and with it everything that was in it. */
  outsideIfThere(path: string | null): OutsideKernel | null {
    try {
      return this.outside(path);
    } catch (error) {
      if (error instanceof EffectError && error.fault.code === 'NOT_A_NAMESPACE') return null;
      throw error;
    }
  }
}

/** A name for an outside that is safe as a file name. Two of them differ for any two paths of up to 150 bytes. */
export function outsideKey(path: string | null): string {
  return path === null ? 'own' : Buffer.from(path).toString('base64url').slice(0, 200);
}

/** Device and inode of what is at a path; null when nothing is there, or it cannot be looked at. */
export function identityAt(path: string): NetnsIdentity | null {
  try {
    return statSync(path);
  } catch {
    return null;
  }
}

function replaced(path: string): EffectError {
  const message = `at ${path} is another network namespace than the one that its containers were made in`;
  return new EffectError({ code: 'NOT_A_NAMESPACE', message, object: path });
}

function open(path: string | null): Outside {
  if (path === null) return openOutside();
  try {
    return openOutside(path);
  } catch (error) {
    throw namespaceFault(path, error);
  }
}

/**
 * The errors by which open(2), and the native primitives (ESTALE), say that a path leads to no network namespace, or to
 * another than the one that is meant. Any other error does not tell what is there.
 */
const NO_NAMESPACE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'ENXIO', 'EINVAL', 'ESTALE']);
export const isNoNamespace = (errno: string | undefined): boolean => NO_NAMESPACE.has(errno ?? '');

/** The work may find that the namespace is gone, with everything in it: a container may end at any time. */
export async function unlessGone(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isKernelError(error) || !isNoNamespace(error.code)) throw error;
  }
}

/** Why the namespace at a path could not be opened: NOT_A_NAMESPACE where there is none, KERNEL where that is not known. */
export function namespaceFault(path: string, error: unknown): EffectError {
  const { code = 'EIO', syscall } = error as NodeJS.ErrnoException;
  return new EffectError(
    whyDenied({
      code: isNoNamespace(code) ? 'NOT_A_NAMESPACE' : 'KERNEL',
      message: `retrieving network namespace at ${path}: ${code}`,
      errno: code,
      syscall,
      object: path,
    }),
  );
}

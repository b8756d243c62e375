/**
 * The kernel objects that all effects share: the marks of this daemon's own objects, and the outside namespaces that it
 * works in.
 *
 * Guarantees: an outside is looked up by the snapshot's path, never assumed. Each is opened once and has its own worker
 * thread and its own watch on links. All work in an outside is done in the namespace that was opened, even if its path leads
 * elsewhere by now; a helper that would have to be started through such a path is refused. An outside without users is
 * closed (`close`). See docs/decisions/0045. The own outside of a rootless daemon (null) is not the namespace that its process is
 * in, where it has no rights: that one is the host's, in which it listens and looks (docs/decisions/0061).
 * Limits: an outside is known by its path until it is closed; a namespace that is mounted there meanwhile is not looked at.
 */
import { statSync } from 'node:fs';
import { EventEmitter } from 'eventemitter3';
import {
  expectNetns,
  isKernelError,
  openHere,
  openOutside,
  type Child,
  type NetnsIdentity,
  type Outside,
  type RtnlNotification,
} from '../native/index.ts';
import { whyDenied } from './capabilities.ts';
import { FaultError } from '../state/faults.ts';
import { retryUntilDone } from './retry.ts';

/** The marks of one instance's own objects. Several daemons on one machine differ in all of them. */
export interface Instance {
  /** The name in link aliases: cleat:<name>:... */
  name: string;
  /** The nftables table. */
  table: string;
  /** The IFLA_GROUP of every link. */
  group: number;
  /** The IFLA_GROUP that links are moved to in order to be removed together. */
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
  /** Reports a failure in the background of an effect, which does not make the effect fail. */
  readonly failed: (what: string, error: unknown) => void;
  /** The path of the daemon's own outside, if it is rootless; null: the namespace that its process is in. */
  readonly own: string | null;
  /** Has systemd give scopes to helpers of networks, once the daemon has begun to. */
  scopes: { own(kind: 'wireguard', helper: Child): void } | null = null;
  readonly #privateKeyOf: (network: string) => string;
  #here: Outside | null = null;
  readonly #outsides = new Map<string | null, OutsideKernel & { unwatch: () => void }>();
  /** Paths that lead to another namespace than their containers'. */
  readonly #replaced = new Set<string>();

  /** `privateKeyOf`: returns the private key of this host in the overlay with this id (WireGuard). */
  constructor(
    instance: Instance,
    failed: (what: string, error: unknown) => void,
    own: string | null = null,
    privateKeyOf: (network: string) => string = noKey,
  ) {
    this.#privateKeyOf = privateKeyOf;
    this.instance = instance;
    this.failed = failed;
    this.own = own;
  }

  privateKeyOf(network: string): string {
    return this.#privateKeyOf(network);
  }

  /** True if the daemon has no rights over the host's namespace. */
  get isRootless(): boolean {
    return this.own !== null;
  }

  /** Returns where the ports of an outside are listened on: in it, or on the host for the own outside of a rootless daemon. */
  listening(outside: string | null): Outside {
    return outside === null && this.isRootless ? (this.#here ??= openHere()) : this.outside(outside).kernel;
  }

  /** Returns the namespace that a program in this outside has to enter when it is started; null if that is the daemon's. */
  entered(outside: string | null): string | null {
    return outside ?? this.own;
  }

  /**
   * Returns the outside at `path`; null means the daemon's own namespace. Throws NOT_A_NAMESPACE if there is none, otherwise
   * KERNEL.
   */
  outside(path: string | null): OutsideKernel {
    let outside = this.#outsides.get(path);
    if (outside === undefined) {
      if (path !== null && this.#replaced.has(path)) throw replaced(path);
      const kernel = open(this.entered(path));
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
      // Until this succeeds, waits fall back to polling (link.ts).
      retryUntilDone(listen, (error) => this.failed(`listening to the links of ${path ?? 'the host'}`, error));
    }
    return outside;
  }

  /**
   * Returns the path under which the namespace at `path` is open already, null for the daemon's own. An outside with several
   * paths must be one outside, with one owner of its firewall. Returns `path` itself if the namespace is not open, or there
   * is none.
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

  /** Returns true if the path leads to another namespace than this outside's, or to none. */
  leadsElsewhere(path: string): boolean {
    if (this.#replaced.has(path)) return true;
    const open = this.#outsides.get(path)?.kernel.identity();
    if (open === undefined) return false;
    const found = identityAt(path);
    return found === null || found.dev !== open.dev || found.ino !== open.ino;
  }

  /** Returns true if the outside is open. One that was never opened, or was closed, is not. */
  isOpen(path: string | null): boolean {
    return this.#outsides.has(path);
  }

  /** Returns the open outsides without the daemon's own. */
  opened(): string[] {
    return [...this.#outsides.keys()].filter((path) => path !== null);
  }

  /** Refuses all further work at this path, because it leads to another namespace now. */
  refuse(path: string): void {
    this.#outsides.delete(path);
    this.#replaced.add(path);
  }

  /** Closes an outside without users: its thread, its descriptors, its namespace. Returns false while work is under way. */
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

  /** For removals. Returns null if the outside is gone, and so everything that was in it. */
  outsideIfThere(path: string | null): OutsideKernel | null {
    try {
      return this.outside(path);
    } catch (error) {
      if (error instanceof FaultError && error.fault.code === 'NOT_A_NAMESPACE') return null;
      throw error;
    }
  }
}

/** Returns a name for an outside that is safe as a file name. It is unique for paths of up to 150 bytes. */
export function outsideKey(path: string | null): string {
  return path === null ? 'own' : Buffer.from(path).toString('base64url').slice(0, 200);
}

/** Returns the device and inode of the file at a path; null if there is none or stat fails. */
export function identityAt(path: string): NetnsIdentity | null {
  try {
    return statSync(path);
  } catch {
    return null;
  }
}

function replaced(path: string): FaultError {
  const message = `at ${path} is another network namespace than the one that its containers were made in`;
  return new FaultError('NOT_A_NAMESPACE', message, { object: path });
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
 * The errors of open(2), and of the native primitives (ESTALE), for a path that leads to no network namespace, or to another
 * than the expected one. Any other error tells nothing about the namespace.
 */
const NO_NAMESPACE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'ENXIO', 'EINVAL', 'ESTALE']);
export const isNoNamespace = (errno: string | undefined): boolean => NO_NAMESPACE.has(errno ?? '');

/** Ignores a missing namespace, which takes everything in it along: a container may end at any time. */
export async function unlessGone(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isKernelError(error) || !isNoNamespace(error.code)) throw error;
  }
}

/** Returns the fault of a namespace that could not be opened: NOT_A_NAMESPACE if there is none, KERNEL if that is unknown. */
export function namespaceFault(path: string, error: unknown): FaultError {
  const { code = 'EIO', syscall } = error as NodeJS.ErrnoException;
  return FaultError.of(
    whyDenied({
      code: isNoNamespace(code) ? 'NOT_A_NAMESPACE' : 'KERNEL',
      message: `retrieving network namespace at ${path}: ${code}`,
      errno: code,
      syscall,
      object: path,
    }),
  );
}

function noKey(network: string): never {
  throw new FaultError('TUNNEL_FAILED', `there is no key of this host in network ${network}`, { object: network });
}

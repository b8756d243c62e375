/**
 * What effects need of their surroundings: who this daemon is in the kernel, and the outside namespaces it works in.
 *
 * Guarantees: the outside is looked up by what the snapshot says, never assumed; each is opened once, has its own worker
 * thread and its own watch on links.
 * Limits: an outside that has gone away stays open until the daemon ends (its namespace lives as long).
 */
import { statSync } from 'node:fs';
import { EventEmitter } from 'eventemitter3';
import { openOutside, type Outside, type RtnlNotification } from '../native/index.ts';
import { EffectError } from './effect.ts';
import { insist } from './insist.ts';

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
  readonly #outsides = new Map<string | null, OutsideKernel>();

  constructor(instance: Instance) {
    this.instance = instance;
  }

  /** The outside at `path`, the daemon's own namespace for null. Throws NOT_A_NAMESPACE when there is none, KERNEL else. */
  outside(path: string | null): OutsideKernel {
    let outside = this.#outsides.get(path);
    if (outside === undefined) {
      const kernel = open(path);
      const links = new EventEmitter<LinkEvents>();
      outside = { kernel, links };
      this.#outsides.set(path, outside);
      const heard = (event: RtnlNotification) => {
        if (event.type === 'link.del') links.emit('gone', event.name);
      };
      const listen = async () => void (await kernel.monitor(heard, undefined, ['link.del']));
      insist(listen, () => {}); // until then waits fall back to looking (link.ts)
    }
    return outside;
  }

  /**
   * The path by which the namespace at `path` is open already, null for the daemon's own: however it is called, an outside
   * is one namespace, with one owner of its firewall. `path` itself when it is none of them, or nothing is there.
   */
  nameOf(path: string): string | null {
    let found: { dev: number; ino: number };
    try {
      found = statSync(path);
    } catch {
      return path;
    }
    this.outside(null);
    for (const [known, { kernel }] of this.#outsides) {
      const { dev, ino } = kernel.identity();
      if (dev === found.dev && ino === found.ino) return known;
    }
    return path;
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

function open(path: string | null): Outside {
  if (path === null) return openOutside();
  try {
    return openOutside(path);
  } catch (error) {
    throw namespaceFault(path, error);
  }
}

/** What open(2) and we say of a path that leads to no network namespace. Anything else says nothing of what is there. */
const NO_NAMESPACE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'ENXIO', 'EINVAL']);
export const isNoNamespace = (errno: string | undefined): boolean => NO_NAMESPACE.has(errno ?? '');

/** Why the namespace at a path could not be opened: NOT_A_NAMESPACE where there is none, KERNEL where that is not known. */
export function namespaceFault(path: string, error: unknown): EffectError {
  const { code = 'EIO', syscall } = error as NodeJS.ErrnoException;
  return new EffectError({
    code: isNoNamespace(code) ? 'NOT_A_NAMESPACE' : 'KERNEL',
    message: `retrieving network namespace at ${path}: ${code}`,
    errno: code,
    syscall,
    object: path,
  });
}

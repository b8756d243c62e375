/**
 * Chooses the names of host ends for engines that expect those of netavark: veth0, veth1, ..., the lowest that is free.
 *
 * Guarantees: two requests under way do not get the same name, and no name is that of a link that exists or that a container is to
 * have. Limits: another program may make a link of this name before the container's is made; then the container is refused
 * (NAME_TAKEN_IN_KERNEL), and the caller asks again.
 */
import type { Containers } from '../containers/containers.ts';

interface Parts {
  containers: Pick<Containers, 'all'>;
  /** Returns true if the daemon's own outside has a link of this name. */
  exists(name: string): Promise<boolean>;
}

export class HostLinks {
  readonly #parts: Parts;
  /** Holds the names of requests under way. */
  readonly #held = new Set<string>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Runs work with this number of names, which are its own until it has ended. */
  async having<T>(count: number, work: (names: string[]) => Promise<T>): Promise<T> {
    const names: string[] = [];
    try {
      for (let n = 0; names.length < count; n++) {
        const name = `veth${n}`;
        if (this.#held.has(name) || this.#isPromised(name)) continue;
        this.#held.add(name);
        names.push(name);
        if (!(await this.#parts.exists(name))) continue;
        this.#held.delete(name);
        names.pop();
      }
      return await work(names);
    } finally {
      for (const name of names) this.#held.delete(name);
    }
  }

  #isPromised(name: string): boolean {
    return this.#parts.containers
      .all()
      .some(
        ({ context: { attachments, request } }) =>
          attachments.some(({ hostLink }) => hostLink === name) ||
          Object.values(request.networks).some(({ host_interface_name: wish }) => wish === name),
      );
  }
}

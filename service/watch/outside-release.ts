/**
 * Checks which namespace an outside is, whenever it matters, and releases outsides that nothing uses.
 *
 * Guarantees: a container is never made in another namespace than the one that is now at its outside's path. While containers are
 * in the namespace that was at the path before, a new one is refused. After a restart an outside counts as the same if device and
 * inode are those on record, and something of ours is in it where containers should have something: inode numbers are reused. A
 * few seconds after the last container of an outside its machines, threads and descriptors are gone.
 * Limits: an outside in which something of ours is left after its last container stays open, so that `audit` can look into it. It
 * is released half a minute after that has gone.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { identityAt, type Kernel } from '../../effects/kernel.ts';
import { isSteadyName, stateName } from '../../plan/states.ts';
import { mayRunUplink } from '../../plan/uplinks/uplink.ts';
import { expectNetns, type NetnsIdentity } from '../../native/index.ts';
import type { ContainerContext } from '../../state/container.ts';
import { FaultError } from '../../state/faults.ts';
import type { Notification } from '../../state/answers/notification.ts';
import type { Containers } from '../containers/containers.ts';
import type { Shared } from '../outsides/shared.ts';

/** The pause after a container has gone: another is often made at once. */
const RELEASE_MS = 1000;
const ATTEMPTS = 20;
const BETWEEN_MS = 50;
/** Objects left in an outside may be on their way out, or stay for good: the pauses between looks grow up to this. */
const LONGEST_MS = 30_000;
const SETTLE_MS = 5000;

export interface OutsideReleaseParts {
  kernel: Kernel;
  containers: Pick<Containers, 'all' | 'bus'>;
  shared: Pick<Shared, 'outsides' | 'release' | 'settled'>;
  failed: (what: string, error: unknown) => void;
}

export class OutsideRelease {
  readonly #parts: OutsideReleaseParts;
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = RELEASE_MS;
  #closed = false;
  readonly #heard = (notification: Notification) => {
    if (notification.type !== 'state' || notification.to !== 'gone') return;
    // A look that is due within a second is not postponed.
    if (this.#pauseMs > RELEASE_MS) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#pauseMs = RELEASE_MS;
    }
    this.#soon();
  };

  constructor(parts: OutsideReleaseParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#parts.containers.bus.on('notification', this.#heard);
    this.#soon();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#parts.containers.bus.off('notification', this.#heard);
  }

  /**
   * Must be called before a container is made in the outside at this path. Throws NOT_A_NAMESPACE while containers are in another
   * namespace of this path.
   */
  async ready(path: string): Promise<void> {
    const { kernel, shared } = this.#parts;
    if (!kernel.leadsElsewhere(path)) return;
    if (this.#usersOf(path).length === 0) await shared.settled(SETTLE_MS);
    const users = this.#usersOf(path);
    if (users.length === 0 && (await this.#letGo(path))) return;
    const whose = users.length === 0 ? 'what is being taken away there' : `container ${users.join(', ')}`;
    const message = `${path} does not lead to the network namespace of ${whose} any more: tear that down first`;
    throw new FaultError('NOT_A_NAMESPACE', message, { object: path });
  }

  #usersOf(path: string): string[] {
    const all = this.#parts.containers.all().map(({ context }) => context);
    return all.filter(({ outside }) => outside === path).map(({ id }) => id);
  }

  /** Releases an outside. A look into it may be under way for a few milliseconds, so this tries again for a second. */
  async #letGo(path: string): Promise<boolean> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (this.#usersOf(path).length > 0) return false;
      if (this.#release(path)) return true;
      await sleep(BETWEEN_MS);
    }
    return false;
  }

  /** Returns false while something is under way there. */
  #release(path: string): boolean {
    return this.#parts.shared.release(path) && this.#parts.kernel.close(path);
  }

  #soon(): void {
    if (this.#timer !== undefined || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_MS);
      this.#releaseUnused().then(
        (again) => again && this.#soon(),
        (error: unknown) => {
          this.#parts.failed('outsides that nobody uses', error);
          this.#soon();
        },
      );
    }, this.#pauseMs).unref();
  }

  /** Returns true if some outsides are to be tried again. */
  async #releaseUnused(): Promise<boolean> {
    const { kernel, shared } = this.#parts;
    let again = false;
    // Includes outsides without machines: a look that was under way at their release has opened them again.
    for (const path of new Set([...shared.outsides(), ...kernel.opened()])) {
      if (path === null || this.#usersOf(path).length > 0) continue;
      const left = await holdsOurs(kernel, path);
      if (this.#usersOf(path).length > 0) continue;
      if (left || !(await this.#letGo(path))) again = true;
    }
    return again;
  }
}

/**
 * Called at a start, before anything is done in an outside. An outside whose path leads to another namespace than the recorded
 * one counts as gone, and no effect reaches another namespace through a container's pin.
 */
export async function recognise(
  kernel: Kernel,
  records: readonly { outside: string | null; namespace?: NetnsIdentity | undefined }[],
  containers: readonly { context: ContainerContext; snapshot: unknown }[],
  failed: (what: string, error: unknown) => void,
): Promise<void> {
  for (const { netns, identity } of containers.map(({ context }) => context)) {
    if (netns !== null && identity !== null) expectNetns(netns.path, identity);
  }
  for (const { outside, namespace } of records) {
    if (outside === null || namespace === undefined) continue;
    const found = identityAt(outside);
    if (found === null) continue;
    const same = found.dev === namespace.dev && found.ino === namespace.ino;
    const due = containers.some(
      ({ context, snapshot }) =>
        context.outside === outside &&
        isSteadyName(stateName(snapshot as { value: unknown })) &&
        (context.attachments.some(({ unmanaged, external }) => unmanaged !== true || external !== undefined) ||
          mayRunUplink(context)),
    );
    // An outside that cannot be looked into, for lack of descriptors for example, counts as the recorded one.
    const mayHoldOurs = () =>
      holdsOurs(kernel, outside).catch((error: unknown) => {
        failed(`looking for what is ours in ${outside}`, error);
        return true;
      });
    if (same && (!due || (await mayHoldOurs()))) continue;
    kernel.close(outside);
    kernel.refuse(outside);
  }
}

/** Returns true if a link or a table of ours is in the namespace. */
async function holdsOurs(kernel: Kernel, path: string): Promise<boolean> {
  const native = kernel.outsideIfThere(path)?.kernel;
  if (native === undefined) return false;
  const { name, group, doomedGroup, table } = kernel.instance;
  const links = await native.links();
  const ours = links.some(
    (link) => link.alias.startsWith(`cleat:${name}:`) || [group, doomedGroup].includes(link.group),
  );
  return ours || (await native.nftTable('inet', table)) !== null;
}

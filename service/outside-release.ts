/**
 * Which namespace an outside is: told again whenever it matters, and let go when nobody uses it.
 *
 * Guarantees: a container is never made in another namespace than the one that is at its outside's path now: while others
 * are in the one that was there before, it is refused. After a restart an outside counts as the same when device and inode are
 * the ones on record, and something of ours is in it where containers say so: inode numbers come back. A few seconds after
 * the last container of an outside its machines, threads and descriptors are gone.
 * Limits: one in which something of ours is left after its last container stays open, for `audit` to look into; half a minute
 * after that has gone it is let go, too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { identityAt, type Kernel } from '../effects/kernel.ts';
import { mayRunUplink } from '../machines/plan/uplink.ts';
import { expectNetns, type NetnsIdentity } from '../native/index.ts';
import type { ContainerContext } from '../state/container.ts';
import { FaultError } from '../state/faults.ts';
import type { Notification } from '../state/notification.ts';
import type { Containers } from './containers.ts';
import type { Shared } from './shared.ts';
import { STEADY } from './desired-ruleset.ts';

/** After a container has gone; another is often made at once. */
const RELEASE_MS = 1000;
const ATTEMPTS = 20;
const BETWEEN_MS = 50;
/** Something left there may be on its way out, or stay for good: the pauses between looks grow up to this. */
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
    // A look that is due within a second is not put off.
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

  /** To be called before a container is made in the outside at this path. Throws NOT_A_NAMESPACE while others are in another namespace of this path. */
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

  /** Somebody may be looking around there just now, for a few milliseconds: tried again for a second. */
  async #letGo(path: string): Promise<boolean> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (this.#usersOf(path).length > 0) return false;
      if (this.#release(path)) return true;
      await sleep(BETWEEN_MS);
    }
    return false;
  }

  /** False while something is under way there. */
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

  /** Whether some are to be tried again. */
  async #releaseUnused(): Promise<boolean> {
    const { kernel, shared } = this.#parts;
    let again = false;
    // Also those without machines: whoever was looking around when they were let go has opened them again.
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
 * At a start, before anything is done there: outsides whose path leads to another namespace than on record count as gone, and
 * no act reaches another through a container's pin.
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
        STEADY.has(String((snapshot as { value?: unknown }).value)) &&
        (context.attachments.some(({ unmanaged }) => unmanaged !== true) || mayRunUplink(context)),
    );
    // One that cannot be looked into, for want of descriptors say, is the one on record as far as anybody can tell.
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

/** A link or a table of ours is in it. */
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

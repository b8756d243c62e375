/**
 * Orders for the calls of a daemon: the n-th of a kind is refused, fails, is slow, waits, or loses its answer.
 *
 * The daemon is the shipped one; test/faults/interpose.c stands between it and the C library. One order at a time:
 * `order()` counts and strikes from then on, `revoke()` ends that and returns the result.
 *
 * Guarantees: everything that is not ordered happens as usual. Calls are counted from 1, from the order on.
 * Limits: needs a C compiler. Threads of the daemon share the count, so where two of them work at once, which call is
 * the n-th may differ from run to run; `what` says which one it was.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { TestDaemon } from './daemon.ts';

/**
 * request    netlink messages to the kernel; a transaction of nftables counts as one
 * answer     receives on the sockets of these
 * news       receives on sockets that listen to announcements
 * store      open, write, fsync, rename, unlink, rmdir, mkdir below the run and the state directory
 * switch     open, read, write of /proc/sys/net
 * namespace  setns, unshare, mount, umount, statfs; opening namespaces and the places they are pinned to
 * socket     socket, bind, ioctl of netlink sockets and of those that try out ports
 * helper     what starts, finds and signals other processes
 */
const KINDS = ['request', 'answer', 'news', 'store', 'switch', 'namespace', 'socket', 'helper'] as const;
/** descriptors: not a call; the daemon has n of them left (RLIMIT_NOFILE), of which the connection of a request takes one */
export type Kind = (typeof KINDS)[number] | 'descriptors';

/** No verb needs more descriptors at the same time. */
const DESCRIPTORS = 30;

/**
 * fail       it does not happen, and the caller gets `errno`; for a request the kernel's answer has it
 * break      the system call that sends requests fails
 * lose       the kernel does what was asked, and its answer does not fit into the socket
 * interrupt  the answer says that what is being listed has changed meanwhile
 * after      it happens, and the caller gets `errno`
 * full       from here on the disk has no room; the first write has room for half of it
 * delay      it happens after so many milliseconds
 * hold       it happens when release() is called: `meanwhile` is over
 */
const ACTIONS = ['fail', 'break', 'lose', 'interrupt', 'after', 'full', 'delay', 'hold'] as const;

export interface Strike {
  kind: Kind;
  action: (typeof ACTIONS)[number];
  errno?: keyof typeof constants.errno;
  ms?: number;
  /** Only calls whose text (Outcome.what) contains this are counted. */
  about?: string;
  /** True: all calls from the n-th on, not only that one. */
  lasting?: boolean;
  /** A change of the kernel while a call is held, and its repair. */
  meanwhile?: () => void;
  mend?: () => void;
  /** The daemon is killed after the answer, and started again. */
  kill?: boolean;
  /** The daemon is started again before it: after many failures its attempts have growing pauses (backOff). */
  fresh?: boolean;
  /** The failure must not be visible: the answer is success. */
  harmless?: boolean;
}

export interface Outcome {
  /** Calls of the kind since the order. */
  count: number;
  /** True if it struck; 'in vain' when that call cannot fail in this way. */
  struck: boolean | 'in vain';
  /** The first call that it struck. */
  what: string;
}

/** Offsets of struct order in interpose.c. */
const AT = { armed: 0, count: 24, released: 32, clock: 36, what: 40, about: 256, end: 384 };

export class Faults {
  readonly #fd: number;
  readonly #daemon: TestDaemon;
  /** The number of descriptors that are left, and a function that ends that. */
  #scarce: { left: number; end: () => void } | null = null;

  /** Orders for a daemon that is not started yet. */
  constructor(daemon: TestDaemon) {
    this.#daemon = daemon;
    const library = join(mkdtempSync(join(tmpdir(), 'faults-')), 'interpose.so');
    const source = resolve(import.meta.dirname, '../../../test/faults/interpose.c');
    const flags = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC'];
    execFileSync('cc', [...flags, '-o', library, source, '-ldl']);
    const path = `${daemon.directory}/faults`;
    this.#fd = openSync(path, 'w+');
    writeSync(this.#fd, Buffer.alloc(AT.end), 0, AT.end, 0);
    Object.assign(daemon.environment, {
      LD_PRELOAD: library,
      CLEAT_FAULTS: path,
      CLEAT_FAULTS_RUN: daemon.runDir,
      CLEAT_FAULTS_STATE: daemon.stateDir,
      CLEAT_FAULTS_NETNS: daemon.netnsDir,
    });
  }

  /** With n = 0 it only counts. */
  order({ kind, action, errno, ms, lasting = false, about = '' }: Strike, n: number): void {
    this.revoke();
    if (kind === 'descriptors') {
      this.#scarce = { left: n, end: n === 0 ? () => {} : leaveDescriptors(this.#daemon.pid, n) };
      return;
    }
    const argument = errno === undefined ? (ms ?? 0) : constants.errno[errno];
    const last = n > 0 && (lasting || action === 'full') ? 0xffff_ffff : n;
    const words = [KINDS.indexOf(kind) + 1, n, last, ACTIONS.indexOf(action) + 1, argument, 0, 0, 0];
    this.#write(AT.armed + 4, words);
    const texts = Buffer.alloc(AT.end - AT.what);
    texts.write(about, AT.about - AT.what, AT.end - AT.about - 1, 'latin1');
    writeSync(this.#fd, texts, 0, texts.length, AT.what);
    if (action === 'full') this.#write(AT.armed + 20, [constants.errno.ENOSPC]);
    this.#write(AT.armed, [1]);
  }

  look(): Outcome {
    if (this.#scarce !== null) {
      const { left } = this.#scarce;
      return { count: DESCRIPTORS, struck: left <= DESCRIPTORS, what: `${left} descriptors left` };
    }
    const bytes = Buffer.alloc(AT.end);
    readSync(this.#fd, bytes, 0, AT.end, 0);
    const text = bytes.toString('latin1', AT.what);
    const hit = bytes.readUInt32LE(AT.count + 4);
    const struck = hit === 2 ? 'in vain' : hit === 1;
    return { count: bytes.readUInt32LE(AT.count), struck, what: text.slice(0, text.indexOf('\0')).trim() };
  }

  revoke(): Outcome {
    this.#write(AT.armed, [0]);
    this.release();
    this.#scarce?.end();
    const outcome = this.look();
    this.#scarce = null;
    return outcome;
  }

  /** Releases the held call. */
  release(): void {
    this.#write(AT.released, [1]);
  }

  /** Shifts CLOCK_REALTIME by so many seconds from now on, for the daemon alone. */
  setClock(seconds: number): void {
    this.#write(AT.clock, [seconds]);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #write(at: number, words: readonly number[]): void {
    const bytes = Buffer.alloc(words.length * 4);
    words.forEach((word, i) => bytes.writeInt32LE(word | 0, i * 4));
    writeSync(this.#fd, bytes, 0, bytes.length, at);
  }
}

/** From now on a process may open so many more descriptors; returns a function that restores its limit. */
function leaveDescriptors(pid: number, left: number): () => void {
  const [, before = ''] = /^Max open files +(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8')) ?? [];
  const limit = (soft: number | string) => execFileSync('prlimit', ['--pid', `${pid}`, `--nofile=${soft}:`]);
  const open = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let soft = 0;
  for (let free = left; free > 0 || open.has(soft); soft++) if (!open.has(soft)) free--;
  limit(soft);
  return () => {
    if (existsSync(`/proc/${pid}/fd`)) limit(before);
  };
}

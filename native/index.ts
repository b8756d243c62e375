/**
 * The typed face of the C++ addon: kernel primitives, no policy.
 *
 * Guarantees: everything that can block runs on the worker thread of its outside namespace and returns a promise;
 * failures are `KernelError`s (code, errno, syscall, object); nothing here knows a container, a plan or a snapshot.
 * Limits: Linux only, root in the user namespace that owns the outside namespace.
 */
import { createRequire } from 'node:module';

/** A network namespace's identity. Inode numbers are reused once a namespace is gone: pair it with the boot id. */
export interface NetnsIdentity {
  dev: number;
  ino: number;
}

/** What every failed native call rejects with. `code` is the errno name, `object` what the call was made on. */
export interface KernelError extends Error {
  code: string;
  errno: number;
  syscall: string;
  object: string;
}

export function isKernelError(error: unknown): error is KernelError {
  return error instanceof Error && 'syscall' in error && 'errno' in error;
}

/** A port to try on the outside: `address` "" stands for every address of the family. */
export interface PortProbe {
  protocol: 'tcp' | 'udp' | 'sctp';
  family: 4 | 6;
  address: string;
  port: number;
}

/** What holds a port: pid and command are null when the holder lives in another pid namespace or has gone. */
export interface PortHolder {
  index: number;
  code: string;
  pid: number | null;
  command: string | null;
}

export type * from './rtnl-types.ts';
import type {
  Address,
  Link,
  Neighbour,
  Route,
  RtnlNotification,
  RtnlReply,
  RtnlRequest,
  Rule,
  Way,
} from './rtnl-types.ts';

export type * from './nft-types.ts';
import type { NftElement, NftNotification, NftOperation, NftTable } from './nft-types.ts';

export type * from './conntrack-types.ts';
import type { ConntrackLimits, ConntrackRules } from './conntrack-types.ts';

/** A network namespace that kernel work is done in, with the thread that does it. */
export interface Outside {
  /** dev and inode of the namespace. */
  identity(): NetnsIdentity;
  /**
   * End the threads and let go of the namespace; whatever is asked of it from then on is EBADF. False, and nothing is
   * changed, while something is under way. Monitors are their listeners' to stop.
   */
  close(): boolean;

  /**
   * Make a network namespace and pin it at `path`: exclusive placeholder file, unshare, sysctls (paths under
   * /proc/sys, written inside the new namespace before any link exists), lo up, bind mount.
   * The parent directory must exist. EEXIST when path exists. On failure nothing is left at path.
   */
  netnsCreate(path: string, sysctls: Record<string, string>): Promise<NetnsIdentity>;
  /** Pin the network namespace that the open fd refers to at `path` (bind mount); same rules as netnsCreate. */
  netnsPin(fd: number, path: string): Promise<NetnsIdentity>;
  /** Unmount (lazily) and unlink. Already gone is success. A placeholder that was never mounted is unlinked. */
  netnsRemove(path: string): Promise<void>;
  /** Identity of the network namespace at path. ENOENT: nothing there; EINVAL: not a network namespace. */
  netnsIdentify(path: string): Promise<NetnsIdentity>;

  /**
   * The number of the namespace at `path` in the outside (nsid, ip-netns(8)): it is given one when it has none, and keeps
   * it as long as it lives. EINVAL for the outside itself.
   */
  netnsId(path: string): Promise<number>;

  /** Send all requests in one go, inside `netns` (path) or in the outside itself; the kernel works through them all. */
  rtnl(requests: RtnlRequest[], netns?: string): Promise<RtnlReply[]>;
  links(netns?: string): Promise<Link[]>;
  /** One link by name, null when there is none. */
  link(name: string, netns?: string): Promise<Link | null>;
  addresses(netns?: string): Promise<Address[]>;
  /**
   * `into`: only routes whose destination has an address in common with one of these. The others of a large table never
   * become objects: 100,000 routes are a matter of some 0.1 s then, on the thread of the outside.
   */
  routes(netns?: string, into?: { destination: string; prefix: number }[]): Promise<Route[]>;
  /** Only those of these tables: as above, the others never become objects. */
  routesOf(netns: string | undefined, tables: number[]): Promise<Route[]>;
  /** Policy rules of both families, in order of priority. A kernel without policy routing answers EOPNOTSUPP. */
  rules(netns?: string): Promise<Rule[]>;
  neighbours(netns?: string): Promise<Neighbour[]>;
  /**
   * How full the neighbour tables are that all namespaces of the machine share: IPv4's first, then IPv6's. `entries` counts
   * permanent ones too, which have no limit; `maximum` (gc_thresh3) is how many of the others there can be; `allocated` is how
   * many were ever made. ~20 us.
   */
  neighbourUse(): Promise<{ family: 4 | 6; entries: number; maximum: number; allocated: number }[]>;
  /**
   * The link that packets of the outside to this address leave by, and the MTU they have: the route's, where it says one,
   * and never more than the link's. Null when no route leads there. Nothing is sent. `packet`: of packets with this source;
   * with `cameBy`, a link's name, of those that come in there and are forwarded.
   */
  wayTo(address: string, packet?: { source: string; cameBy?: string }): Promise<Way | null>;
  /** Kernel notifications of the outside (or of `netns`), until the returned function is called. */
  monitor(
    listener: (event: RtnlNotification) => void,
    netns?: string,
    /** Only these (and 'overrun'); the others never leave the kernel. link.down: of link.new those that are not up. */
    only?: (Exclude<RtnlNotification['type'], 'overrun'> | 'link.down')[],
    /**
     * Also those of every other namespace that has an nsid at the time (netnsId). A namespace that ends loses its nsid
     * first: its end is not announced, but the end of what its links were connected to is.
     */
    everywhere?: boolean,
  ): Promise<() => void>;

  /**
   * The switches of links ("net/ipv4/conf/eth0/arp_notify") as text, null for those of a link that is not there: one dump for all
   * of them, where sysctlRead looks up a path for each. EINVAL for a switch that link-switches.cc does not name.
   */
  linkSwitches(keys: string[], netns?: string): Promise<(string | null)[]>;

  /** Read sysctls ("net/ipv4/ip_forward") as text; null for one that does not exist. */
  sysctlRead(keys: string[], netns?: string): Promise<(string | null)[]>;
  /**
   * Write sysctls, in order; stops at the first that fails. `ours`: of what we have made, as everything in a container's
   * namespace is; then they are written also where /proc/sys is read-only (native/sysctl.h).
   */
  sysctlWrite(values: Record<string, string>, netns?: string, ours?: boolean): Promise<void>;

  /** Which of these ports could not be bound now, and who holds them. Binds and closes at once; empty = all free. */
  portProbe(ports: PortProbe[]): Promise<PortHolder[]>;

  /**
   * A UDP socket made inside `netns` or in the outside itself; it stays in there. Not bound (node's dgram takes it so:
   * `bind({ fd })`), not blocking, and the caller's to close.
   */
  udpSocket(family: 4 | 6, netns?: string): Promise<number>;

  /** One nf_tables transaction: all operations or none. The failure's object names the operation refused. */
  nft(operations: NftOperation[]): Promise<void>;
  /** What a table holds, or null when it does not exist. */
  nftTable(family: 'inet', name: string): Promise<NftTable | null>;
  /** The elements of one set or map. */
  nftElements(family: 'inet', table: string, set: string): Promise<NftElement[]>;
  /**
   * Chains of any table (ip, ip6, inet) that see what is forwarded and drop it unless one of their rules accepts it, with
   * those of `names` (interfaces) that rules of the same table mention.
   */
  nftForwardDrops(
    names: readonly string[],
  ): Promise<{ family: 'ip' | 'ip6' | 'inet'; table: string; chain: string; named: string[] }[]>;
  /**
   * Each transaction of another process that did anything to this table of family inet, until the returned function is
   * called. What was done before the promise resolves is not told.
   */
  nftMonitor(table: string, listener: (event: NftNotification) => void): Promise<() => void>;
  /**
   * Forget the connections that these rules would not make (conntrack-judge.h says how that is judged). Returns how many;
   * calls that are made while others still wait share one walk through the kernel's table (~10 ms, on a thread of its
   * own) and its result: what a later one says of a port or of the networks counts.
   */
  conntrackForget(rules: ConntrackRules): Promise<number>;
  /** How many connections are tracked, and how many may be (0: this kernel tracks none). One question, ~20 us. */
  conntrackUse(): Promise<{ entries: number; maximum: number }>;
  /**
   * Forget what each owner, a list of subnets (CIDR), has above `limit`. An entry belongs to whoever began the connection,
   * or else to whoever answers: to the first owner of exactly that address, or else to the first whose subnet it is in,
   * and to nobody by an address that is exempt. Walks through the whole table: ~2 us for each entry. In the order of the
   * owners: how many entries each had, and how many of them are forgotten now.
   */
  conntrackLimit(limits: ConntrackLimits): Promise<{ entries: number; forgotten: number }[]>;
}

/** Credentials of the process at the other end of a Unix socket at the time it connected (SO_PEERCRED). */
export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
}

/** Names of capabilities(7), without CAP_. */
export type Capability = 'NET_BIND_SERVICE' | 'NET_ADMIN' | 'KILL';

/** The user and the rights that a program gets. */
export interface Confinement {
  uid: number;
  gid: number;
  /** Kept over execve (ambient); nothing else is in its bounding set, and it can gain no more (no_new_privs). */
  capabilities: Capability[];
  /** RLIMIT_NOFILE, or our own hard limit where that is lower. RLIMIT_CORE is 0. */
  descriptors: number;
}

export interface SpawnOptions {
  file: string;
  args: string[];
  env: Record<string, string>;
  /** fds[i] becomes fd i of the child; all others are closed. -1 is /dev/null. */
  fds: number[];
  /** setsid(2): no signal of the caller's terminal or group reaches it. */
  ownSession?: boolean;
  /** unshare(CLONE_NEWNS) with MS_SLAVE|MS_REC on / : its mounts and unmounts stay its own (slirp4netns#153). */
  ownMounts?: boolean;
  /** Network namespace (path) to start in. */
  netns?: string;
  /** As this user, without supplementary groups; by default as we are. Namespaces are entered before. */
  confinement?: Confinement;
}

export interface Child {
  pid: number;
  /** Field 22 of /proc/pid/stat, clock ticks since boot: with the pid, an identity that survives a daemon restart. */
  startTime: number;
}

interface Addon {
  /** Lock a file (made if need be) until this process ends, however it ends. False when another process holds it. */
  lockFile(path: string): boolean;
  /** The namespace at path, or the caller's own. */
  openOutside(path?: string): Outside;
  /**
   * From now on `path`, wherever a `netns` is named, leads to this namespace or to none (ESTALE); null: to any. What only
   * looks (netnsIdentify, openOutside) and what unpins is not kept from another.
   */
  expectNetns(path: string, identity: NetnsIdentity | null): void;
  peerCredentials(fd: number): PeerCredentials;
  /** Start a program (no shell, absolute path). Rejects with the child's errno when exec fails. */
  spawn(options: SpawnOptions): Child;
  /** Start time of a live process; ESRCH when gone (a zombie counts as gone). */
  processStartTime(pid: number): number;
  /**
   * Call `exited` once when the process ends (pidfd); returns a function that stops watching. Throws ESRCH when the
   * process is gone already or its start time is another (a recycled pid).
   */
  watchProcess(pid: number, startTime: number, exited: () => void): () => void;
  /** Send a signal by pidfd to exactly this process; ESRCH when it is gone or another has its pid. */
  signalProcess(pid: number, startTime: number, signal: number): void;
  /** Open a namespace by pid, pinned against pid reuse (pidfd + start time checked after opening). Caller closes fd. */
  openProcessNetns(pid: number): { fd: number; startTime: number };
}

const addon = createRequire(import.meta.url)('../../build/Release/cleat.node') as Addon;

export const {
  lockFile,
  openOutside,
  expectNetns,
  peerCredentials,
  spawn,
  processStartTime,
  watchProcess,
  signalProcess,
  openProcessNetns,
} = addon;

/**
 * The typed interface of the C++ addon: kernel primitives, no policy.
 *
 * Guarantees: everything that can block for long runs on the worker thread of its outside namespace and returns a promise;
 * failures are `KernelError`s (code, errno, syscall, object); nothing here knows a container, a plan or a snapshot.
 * Limits: Linux only, root in the user namespace that owns the outside namespace.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';

/** A network namespace's identity. Inode numbers are reused once a namespace is gone: pair it with the boot id. */
export interface NetnsIdentity {
  dev: number;
  ino: number;
}

/** The error of every failed native call. `code` is the errno name, `object` the object of the call. */
export interface KernelError extends Error {
  code: string;
  errno: number;
  syscall: string;
  object: string;
}

export function isKernelError(error: unknown): error is KernelError {
  return error instanceof Error && 'syscall' in error && 'errno' in error;
}

/** A port to probe in the outside: `address` "" stands for every address of the family. */
export interface PortProbe {
  protocol: 'tcp' | 'udp' | 'sctp';
  family: 4 | 6;
  address: string;
  port: number;
}

/** The holder of a port: pid and command are null if the holder lives in another pid namespace or is gone. */
export interface PortHolder {
  index: number;
  code: string;
  pid: number | null;
  command: string | null;
}

export type * from './rtnetlink/rtnl-types.ts';
import type {
  Address,
  FdbEntry,
  Link,
  Neighbour,
  Route,
  RtnlNotification,
  RtnlReply,
  RtnlRequest,
  Rule,
  Way,
} from './rtnetlink/rtnl-types.ts';

export type * from './nftables/nft-types.ts';
import type { NftElement, NftNotification, NftOperation, NftTable } from './nftables/nft-types.ts';

export type * from './conntrack/conntrack-types.ts';
import type { ConntrackLimits, ConntrackRules } from './conntrack/conntrack-types.ts';

/** A network namespace for kernel work, with the thread that does the work. */
export interface Outside {
  /** Returns dev and inode of the namespace. */
  identity(): NetnsIdentity;
  /**
   * Ends the threads and releases the namespace; every later call fails with EBADF. Returns false and changes nothing while a
   * call is under way. The caller must stop monitors itself.
   */
  close(): boolean;

  /**
   * Makes a network namespace and pins it at `path`: exclusive placeholder file, unshare, sysctls (paths under /proc/sys,
   * written inside the new namespace before any link exists), lo up, bind mount. The parent directory must exist. EEXIST if
   * path exists. On failure nothing is left at path.
   */
  netnsCreate(path: string, sysctls: Record<string, string>): Promise<NetnsIdentity>;
  /**
   * Makes a network namespace as netnsCreate does, but pins it nowhere: the returned descriptor, which the caller closes, alone
   * keeps it. Works on the thread for what nobody waits for.
   */
  netnsPrepare(sysctls: Record<string, string>): Promise<number>;
  /** Pins the network namespace that the open fd refers to at `path` (bind mount); same rules as netnsCreate. */
  netnsPin(fd: number, path: string): Promise<NetnsIdentity>;
  /** Unmounts (lazily) and unlinks. Already gone is success. A placeholder that was never mounted is unlinked. */
  netnsRemove(path: string): Promise<void>;
  /** Returns the identity of the network namespace at path. ENOENT: nothing there; EINVAL: not a network namespace. */
  netnsIdentify(path: string): Promise<NetnsIdentity>;

  /**
   * Returns the number of the namespace at `path` in the outside (nsid, ip-netns(8)). Assigns one if it has none; the namespace
   * keeps it as long as it lives. EINVAL for the outside itself.
   */
  netnsId(path: string): Promise<number>;

  /**
   * Sends all requests in one batch, inside `netns` (path) or in the outside itself. The kernel processes all of them, even
   * after a failure.
   */
  rtnl(requests: RtnlRequest[], netns?: string): Promise<RtnlReply[]>;
  links(netns?: string): Promise<Link[]>;
  /** Returns one link by name; null if there is none. */
  link(name: string, netns?: string): Promise<Link | null>;
  addresses(netns?: string): Promise<Address[]>;
  /**
   * `into`: returns only routes whose destination has an address in common with one of these. The other routes of a large table
   * never become objects, so 100,000 routes take some 0.1 s on the thread of the outside.
   */
  routes(netns?: string, into?: { destination: string; prefix: number }[]): Promise<Route[]>;
  /** Returns only the routes of these tables; as above, the others never become objects. */
  routesOf(netns: string | undefined, tables: number[]): Promise<Route[]>;
  /** Returns the policy rules of both families, in order of priority. A kernel without policy routing answers EOPNOTSUPP. */
  rules(netns?: string): Promise<Rule[]>;
  neighbours(netns?: string): Promise<Neighbour[]>;
  /** Returns the forwarding table of one vxlan link, given by its index. */
  fdb(netns: string | undefined, link: number): Promise<FdbEntry[]>;
  /**
   * Returns the use of the neighbour tables that all namespaces of the machine share: IPv4's first, then IPv6's. `entries`
   * includes permanent ones, which have no limit; `maximum` (gc_thresh3) is the limit of the others; `allocated` is the number
   * of all entries ever made. ~20 us.
   */
  neighbourUse(): Promise<{ family: 4 | 6; entries: number; maximum: number; allocated: number }[]>;
  /**
   * Returns the link that packets of the outside to this address leave by, and their MTU: the route's, if it has one, and never
   * more than the link's. Null if no route leads there. Sends nothing. `packet`: for packets with this source; with `cameBy`, a
   * link's name, for packets that come in there and are forwarded.
   */
  wayTo(address: string, packet?: { source: string; cameBy?: string }): Promise<Way | null>;
  /** Reports kernel notifications of the outside (or of `netns`), until the returned function is called. */
  monitor(
    listener: (event: RtnlNotification) => void,
    netns?: string,
    /** Only these types (and 'overrun'); the kernel does not send the others. link.down: those of link.new that are not up. */
    only?: (Exclude<RtnlNotification['type'], 'overrun'> | 'link.down')[],
    /**
     * Includes every other namespace that has an nsid at the time (netnsId). A namespace that ends loses its nsid first: its
     * end is not announced, but the end of the links that its links were connected to is.
     */
    everywhere?: boolean,
  ): Promise<() => void>;

  /**
   * Returns switches of links ("net/ipv4/conf/eth0/arp_notify") as text, null for those of a missing link. One dump reads all
   * of them, while sysctlRead looks up a path for each. EINVAL for a switch that link-switches.cc does not name.
   */
  linkSwitches(keys: string[], netns?: string): Promise<(string | null)[]>;

  /** Reads sysctls ("net/ipv4/ip_forward") as text; null for one that does not exist. */
  sysctlRead(keys: string[], netns?: string): Promise<(string | null)[]>;
  /**
   * Writes sysctls in order; stops at the first failure. `ours`: they belong to an object that we have made, like everything in
   * a container's namespace, and are written even if /proc/sys is read-only (native/namespaces/sysctl.h).
   */
  sysctlWrite(values: Record<string, string>, netns?: string, ours?: boolean): Promise<void>;

  /** Returns the ports that cannot be bound now, and their holders. Binds and closes at once; empty = all free. */
  portProbe(ports: PortProbe[]): Promise<PortHolder[]>;

  /**
   * Makes a UDP socket inside `netns` or in the outside itself; it stays in that namespace. It is not bound (node's dgram
   * accepts that: `bind({ fd })`), not blocking, and the caller must close it.
   */
  udpSocket(family: 4 | 6, netns?: string): Promise<number>;

  /** Runs one nf_tables transaction: all operations or none. The error's object names the refused operation. */
  nft(operations: NftOperation[]): Promise<void>;
  /** Returns the content of a table, or null if it does not exist. */
  nftTable(family: 'inet', name: string): Promise<NftTable | null>;
  /** Returns the elements of one set or map. */
  nftElements(family: 'inet', table: string, set: string): Promise<NftElement[]>;
  /**
   * Returns the chains of any table (ip, ip6, inet) that see forwarded packets and drop them unless one of their rules accepts
   * them, with those of `names` (interfaces) that rules of the same table mention.
   */
  nftForwardDrops(
    names: readonly string[],
  ): Promise<{ family: 'ip' | 'ip6' | 'inet'; table: string; chain: string; named: string[] }[]>;
  /**
   * Reports each transaction of another process that changes this table of family inet, until the returned function is called.
   * Transactions before the promise resolves are not reported.
   */
  nftMonitor(table: string, listener: (event: NftNotification) => void): Promise<() => void>;
  /**
   * Deletes the connections that these rules would not make (conntrack-judge.h defines that). Returns their number. Calls that
   * are made while others still wait share one walk through the kernel's table (~10 ms, on a thread of its own) and its result;
   * the latest data about a port or the networks counts.
   */
  conntrackForget(rules: ConntrackRules): Promise<number>;
  /** Returns how many connections are tracked, and the maximum (0: this kernel tracks none). One request, ~20 us. */
  conntrackUse(): Promise<{ entries: number; maximum: number }>;
  /**
   * Deletes the entries that each owner, a list of subnets (CIDR), has above `limit`. An entry belongs to the owner of the side
   * that began the connection, else to that of the side that answers: to the first owner of exactly that address, else to the
   * first whose subnet contains it. An exempt address belongs to no owner. Walks through the whole table: ~2 us for each entry.
   * Returns, in the order of the owners, how many entries each had, and how many of them are deleted now.
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

/** The user and the rights of a program. */
export interface Confinement {
  uid: number;
  gid: number;
  /** Kept over execve (ambient). The bounding set has nothing else, and the program can gain no more (no_new_privs). */
  capabilities: Capability[];
  /** RLIMIT_NOFILE, or our own hard limit if that is lower. RLIMIT_CORE is 0. */
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
  /** With `ownMounts`: the program finds nothing in this directory but `show`, below it, at its usual path. */
  cover?: string;
  show?: string;
  /** Network namespace (path) to start in. */
  netns?: string;
  /** Runs as this user, without supplementary groups; by default with our own rights. Namespaces are entered before. */
  confinement?: Confinement;
}

export interface Child {
  pid: number;
  /** Field 22 of /proc/pid/stat, clock ticks since boot: with the pid, an identity that survives a daemon restart. */
  startTime: number;
}

/** A socket that the daemon was started with. */
export interface PassedSocket {
  /** AF_UNIX, SOCK_STREAM, and listen(2) was called. */
  suitable: boolean;
  /** Where it is bound; empty if nowhere, or to no path. */
  path: string;
}

interface Addon {
  /** Locks a file (made if necessary) until this process ends, however it ends. Returns false if another process holds it. */
  lockFile(path: string): boolean;
  /** The same for a directory that exists. */
  lockDirectory(path: string): boolean;
  /** Opens the namespace at path, or the caller's own. */
  openOutside(path?: string): Outside;
  /**
   * Opens the caller's own namespace without a right to it, to read and probe. What has to enter another namespace, or needs
   * the right, fails with EPERM.
   */
  openHere(): Outside;
  /**
   * Does what netnsPin does, at once and on the calling thread: a mount of a namespace that exists takes 20 us, and the way to a
   * worker and back takes longer, on a busy machine a hundred times as long.
   */
  pinNetns(fd: number, path: string): NetnsIdentity;
  /**
   * From now on, `path` leads to this namespace or to none (ESTALE) in every `netns` argument; null: to any. Functions that
   * only read (netnsIdentify, openOutside) or unpin are exempt.
   */
  expectNetns(path: string, identity: NetnsIdentity | null): void;
  peerCredentials(fd: number): PeerCredentials;
  /** Says what a descriptor is that somebody else has opened, and keeps it from our children. */
  takeSocket(fd: number): PassedSocket;
  /** Sends a datagram to the Unix socket at this path, or with this abstract name ("@..."). EAGAIN while who listens is behind. */
  sendDatagram(socket: string, text: string): void;
  /**
   * Starts a program (no shell, absolute path). Throws the child's errno if exec fails. `ended` is called once, when it has been
   * reaped: with its exit status, or with the signal that ended it. Both are null if it was reaped by `watchProcess` instead.
   */
  spawn(options: SpawnOptions, ended?: (status: number | null, signal: number | null) => void): Child;
  /**
   * Listens on a Unix socket at this path (close-on-exec), which has this mode less the umask from the beginning. The caller closes
   * it, or gives it to a program (`fds`), and removes the path.
   */
  listenUnix(path: string, mode: number): number;
  /** Opens a pipe (close-on-exec). The caller closes both ends. */
  openPipe(): { reading: number; writing: number };
  /**
   * Executes a program in this process, with this environment (execve(2)). It gets the descriptors below `kept`. Returns only by
   * throwing.
   */
  become(file: string, args: string[], env: Record<string, string>, kept: number): never;
  /** Returns the start time of a live process; ESRCH if it is gone (a zombie counts as gone). */
  processStartTime(pid: number): number;
  /**
   * Calls `exited` once when the process ends (pidfd); returns a function that stops watching. Throws ESRCH if the process is
   * gone already or its start time differs (a recycled pid).
   */
  watchProcess(pid: number, startTime: number, exited: () => void): () => void;
  /** Sends a signal by pidfd to exactly this process; ESRCH if it is gone or another has its pid. */
  signalProcess(pid: number, startTime: number, signal: number): void;
  /**
   * Duplicates a descriptor of a process (pidfd_getfd(2)): ESRCH if there is no such process, EBADF if it has no such descriptor.
   * The caller closes fd, and shares the open file description with others.
   */
  takeDescriptor(pid: number, number: number): { fd: number; startTime: number };
  /** Opens a pidfd of a live process. The caller closes fd. */
  openProcess(pid: number): { fd: number; startTime: number };
  descriptorKind(fd: number): 'pipe' | 'socket' | 'process' | 'write end' | 'unconnected' | 'other';
  /** Returns true if the other end of a pipe or socket is closed, or the process of a pidfd has ended. */
  hasHungUp(fd: number): boolean;
  /** Calls `ended` once, when that happens; returns a function that stops watching. The descriptor stays the caller's. */
  watchHangUp(fd: number, ended: () => void): () => void;
  /** Opens a namespace by pid, safe against pid reuse (pidfd + start time checked after opening). The caller closes fd. */
  openProcessNetns(pid: number): { fd: number; startTime: number };
}

/** The native executables and the addon. The bundle of the daemon (scripts/bundle.ts) is as deep below the root as this file. */
export const built = (name: string): string => join(import.meta.dirname, '../../build/Release', name);

const addon = createRequire(import.meta.url)(built('cleat.node')) as Addon;

export const {
  lockFile,
  lockDirectory,
  openOutside,
  openHere,
  pinNetns,
  expectNetns,
  peerCredentials,
  takeSocket,
  sendDatagram,
  spawn,
  become,
  listenUnix,
  openPipe,
  processStartTime,
  watchProcess,
  signalProcess,
  openProcessNetns,
  takeDescriptor,
  openProcess,
  descriptorKind,
  hasHungUp,
  watchHangUp,
} = addon;

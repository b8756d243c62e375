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

/** Where an rtnetlink peer or moved link goes: the path of a network namespace. */
export interface LinkPeer {
  name: string;
  mac?: string;
  mtu?: number;
  up?: boolean;
  netns: string;
}

/**
 * One rtnetlink request. Names are interface names (<= 15 bytes), addresses are text ("10.0.0.1", "fd00::1"),
 * prefixes are lengths in bits, mtu is bytes.
 */
export type RtnlRequest =
  | {
      op: 'link.add';
      kind: 'veth' | 'bridge' | 'macvlan' | 'vxlan' | 'ifb';
      name: string;
      mac?: string;
      mtu?: number;
      master?: string;
      group?: number;
      up?: boolean;
      peer?: LinkPeer;
    }
  | {
      op: 'link.set';
      name: string;
      rename?: string;
      mac?: string;
      mtu?: number;
      /** null detaches from the master. */
      master?: string | null;
      group?: number;
      /** IFLA_IFALIAS, <= 255 bytes. */
      alias?: string;
      up?: boolean;
      /** IN6_ADDR_GEN_MODE_NONE (no link-local address by itself) when true. */
      noLinkLocal?: boolean;
      /** A bridge port may send a frame back where it came from (IFLA_BRPORT_MODE). */
      hairpin?: boolean;
      netns?: string;
    }
  | { op: 'link.del'; name: string }
  /** One request removes every link of the group in the namespace: one RCU grace period instead of one per link. */
  | { op: 'link.delGroup'; group: number }
  | { op: 'address.add' | 'address.del'; link: string; address: string; prefix: number; broadcast?: string }
  | {
      op: 'route.add' | 'route.replace' | 'route.del';
      /** "0.0.0.0" / "::" with prefix 0 is the default route. */
      destination: string;
      prefix: number;
      gateway?: string;
      link?: string;
      metric?: number;
      table?: number;
      type?: 'unicast' | 'local' | 'blackhole' | 'unreachable' | 'prohibit';
      scope?: 'global' | 'link' | 'host';
    }
  /** Permanent (NUD_PERMANENT), whatever was there before: never asked for, never forgotten, counted by no gc_thresh. */
  | { op: 'neighbour.replace'; link: string; address: string; mac: string }
  | { op: 'neighbour.del'; link: string; address: string };

/** Per request, in order: 0 when done, else the errno (positive) and its name. */
export interface RtnlReply {
  errno: number;
  code: string;
}

export interface LinkStatistics {
  rxBytes: number;
  rxPackets: number;
  rxErrors: number;
  rxDropped: number;
  txBytes: number;
  txPackets: number;
  txErrors: number;
  txDropped: number;
}

export interface Link {
  index: number;
  name: string;
  /** IFLA_INFO_KIND ("veth", "bridge", ...), "" for none (lo, hardware). */
  kind: string;
  mac: string;
  mtu: number;
  up: boolean;
  lowerUp: boolean;
  /** ifindex of the master, 0 for none. */
  master: number;
  /** ifindex of the peer or lower link (IFLA_LINK), 0 for none. */
  link: number;
  /** nsid of the network namespace that `link` is in when it is another one (IFLA_LINK_NETNSID), else null. */
  netnsId: number | null;
  group: number;
  alias: string;
  statistics: LinkStatistics;
}

export interface Address {
  link: number;
  address: string;
  prefix: number;
  scope: number;
  tentative: boolean;
}

export interface Route {
  destination: string;
  prefix: number;
  gateway: string | null;
  /** output ifindex, 0 for none. */
  link: number;
  metric: number;
  table: number;
  /** RTN_* name as in RtnlRequest, or the number as text. */
  type: string;
  protocol: number;
}

export interface Neighbour {
  link: number;
  address: string;
  mac: string;
  /** NUD_* (linux/neighbour.h). */
  state: number;
}

/**
 * A change the kernel announced (rtnetlink multicast groups LINK, IPV4/6_IFADDR, IPV4/6_ROUTE). `nsid`: the network
 * namespace it happened in (netnsId), null for the one that is listened in.
 * Not announced: the IPv4 routes that a link takes along when it goes down (a link.new that is not `up`) or ends, and
 * those through a gateway that its last address takes along.
 */
export type RtnlNotification =
  | { type: 'link.new' | 'link.del'; nsid: number | null; index: number; name: string; up: boolean; alias: string }
  | { type: 'address.new' | 'address.del'; nsid: number | null; link: number; address: string; prefix: number }
  | {
      type: 'route.new' | 'route.del';
      nsid: number | null;
      destination: string;
      prefix: number;
      link: number;
      metric: number;
      table: number;
    }
  /** A link is no port of its bridge any more. Only when asked for. */
  | { type: 'port.del'; nsid: number | null; index: number; name: string }
  /** The socket buffer overflowed (ENOBUFS): notifications were lost, dump again. */
  | { type: 'overrun' };

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

export type * from './nft-types.ts';
import type { NftElement, NftNotification, NftOperation, NftTable } from './nft-types.ts';

/** A network namespace that kernel work is done in, with the thread that does it. */
export interface Outside {
  /** dev and inode of the namespace. */
  identity(): NetnsIdentity;

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
  routes(netns?: string): Promise<Route[]>;
  neighbours(netns?: string): Promise<Neighbour[]>;
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

  /** Read sysctls ("net/ipv4/ip_forward") as text; null for one that does not exist. */
  sysctlRead(keys: string[], netns?: string): Promise<(string | null)[]>;
  /** Write sysctls, in order; stops at the first that fails. */
  sysctlWrite(values: Record<string, string>, netns?: string): Promise<void>;

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
   * Each transaction of another process that did anything to this table of family inet, until the returned function is
   * called. What was done before the promise resolves is not told.
   */
  nftMonitor(table: string, listener: (event: NftNotification) => void): Promise<() => void>;
  /**
   * Forget connection tracking entries whose original or reply tuple has this address. Returns how many; calls that are
   * made while others still wait share one walk through the kernel's table (~10 ms) and their result, so do not await one
   * address after the other.
   */
  conntrackFlush(address: string): Promise<number>;
}

/** Credentials of the process at the other end of a Unix socket at the time it connected (SO_PEERCRED). */
export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
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
  peerCredentials,
  spawn,
  processStartTime,
  watchProcess,
  signalProcess,
  openProcessNetns,
} = addon;

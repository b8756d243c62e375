/**
 * rtnetlink as data: requests for links, addresses, routes, rules and neighbours, the content of dumps, and the kernel's
 * notifications.
 *
 * Guarantees: the shapes follow the kernel's own (rtnetlink(7)); addresses and MACs are text.
 * Limits: only the parts that cleat uses.
 */

/** The destination of an rtnetlink peer or moved link; `netns` is the path of a network namespace. */
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
      kind: 'veth' | 'bridge' | 'macvlan' | 'ipvlan' | 'vlan' | 'vxlan' | 'wireguard' | 'ifb';
      name: string;
      mac?: string;
      mtu?: number;
      master?: string;
      /** Of a macvlan, ipvlan or vlan: the link of this namespace that it is on (IFLA_LINK). */
      parent?: string;
      /** The link is made there, and not here. */
      netns?: string;
      /** Of a macvlan or ipvlan; bridge and l2 by default. */
      mode?: 'bridge' | 'private' | 'vepa' | 'passthru' | 'l2' | 'l3' | 'l3s';
      /** Of a macvlan: IFLA_MACVLAN_BC_CUTOFF. */
      bclim?: number;
      /** Of a vlan: the tag. */
      vlan?: number;
      /** Of a bridge: its ports have tags (IFLA_BR_VLAN_FILTERING). A kernel built without that refuses it (EOPNOTSUPP). */
      vlanFiltering?: boolean;
      /**
       * A vxlan has a VNI (24 bits), an address of this host that its packets come from and go to, and a UDP port; without these its
       * VNI is 0. It learns nothing from packets (fdb.replace).
       */
      vxlan?: { vni: number; local: string; port: number };
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
      /**
       * The kernel announces the link's IPv4 addresses (gratuitous ARP) whenever the link goes up or its MAC is set, even to
       * the same MAC: conf/NAME/arp_notify.
       */
      arpNotify?: boolean;
      /** The bridge port may send a frame back by the port that it came from (IFLA_BRPORT_MODE). */
      hairpin?: boolean;
      /** The tag of frames that the bridge port gets without one, and that it sends without one (PVID, untagged). */
      portVlan?: number;
      /** The same for a bridge itself: the tag of the host's own frames. */
      selfVlan?: number;
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
      /** The protocol names who made the route (RTPROT_*), RTPROT_STATIC by default. When deleting, only a route of this protocol matches; by default any. */
      protocol?: number;
      /** The gateway is on the link, whatever other routes say (RTNH_F_ONLINK). */
      onlink?: boolean;
    }
  /** Permanent (NUD_PERMANENT), and replaces any other entry: never resolved, never evicted, counted by no gc_thresh. */
  | { op: 'neighbour.replace'; link: string; address: string; mac: string; protocol?: number }
  | { op: 'neighbour.del'; link: string; address: string }
  /** The vxlan `link` sends the frames for this MAC to that host, for good. The kernel keeps no protocol here. */
  | { op: 'fdb.replace' | 'fdb.del'; link: string; mac: string; destination: string }
  /** Packets from these addresses use this table before those of rules with a higher priority number (ip-rule(8)). */
  | { op: 'rule.add' | 'rule.del'; source: string; prefix: number; table: number; priority: number };

/** One per request, in order: 0 for success, else the errno (positive) and its name. */
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
  /**
   * True once the link has seen its carrier come up (IFLA_OPERSTATE), so that a bridge port forwards frames. The kernel updates
   * it with a delay (linkwatch); since Linux 6.8 at the latest when this one link is read.
   */
  operational: boolean;
  /** ifindex of the master, 0 for none. */
  master: number;
  /** ifindex of the peer or lower link (IFLA_LINK), 0 for none. */
  link: number;
  /** nsid of the network namespace of `link` if that is another one (IFLA_LINK_NETNSID), else null. */
  netnsId: number | null;
  group: number;
  alias: string;
  /** A vxlan keeps what it was made with; other kinds have null. `local` is "" if it is any address. */
  vxlan: { vni: number; local: string; port: number; learning: boolean } | null;
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

/** The route that packets to one address leave by. */
export interface Way {
  link: string;
  /** Null if the destination itself is on the link. */
  gateway: string | null;
  /** The table that has the route. */
  table: number;
  mtu: number;
}

/** A policy rule: the table that matching packets use (ip-rule(8)). */
export interface Rule {
  family: 4 | 6;
  priority: number;
  /** The action: "table", "blackhole", "unreachable", "prohibit", or FR_ACT_* as text. */
  action: string;
  table: number;
  /** The rule matches packets from here; prefix 0 stands for all. */
  source: string;
  sourcePrefix: number;
  /** The rule matches packets to here; prefix 0 stands for all. */
  destination: string;
  prefix: number;
  /** True if the rule matches all packets but those described (`ip rule add not ...`). */
  inverted: boolean;
  /** Routes with a prefix no longer than this are ignored (suppress_prefixlength); null: none are. */
  suppressPrefix: number | null;
}

export interface Neighbour {
  link: number;
  address: string;
  mac: string;
  /** NUD_* (linux/neighbour.h). */
  state: number;
  /** The protocol names who made the neighbour (RTPROT_*); 0 means that this is unknown. */
  protocol: number;
}

/** Where a vxlan sends the frames for a MAC. */
export interface FdbEntry {
  mac: string;
  destination: string;
}

/**
 * A change that the kernel announced (rtnetlink multicast groups LINK, IPV4/6_IFADDR, IPV4/6_ROUTE). `nsid`: the network
 * namespace of the change (netnsId), null for the one that the monitor is in. Not announced are the IPv4 routes that a link
 * removes when it goes down (a link.new that is not `up`) or ends, and those through a gateway that are removed with the link's
 * last address.
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
  /** A policy rule is gone. Only sent if requested. */
  | { type: 'rule.del'; nsid: number | null }
  /**
   * A switch of forwarding or of the reverse path filter has changed (netconf). Only sent if requested. The kernel announces
   * few other switches, and not route_localnet, accept_ra, disable_ipv6, accept_redirects.
   */
  | { type: 'switch'; nsid: number | null }
  /** A link has left its bridge. Only sent if requested. */
  | { type: 'port.del'; nsid: number | null; index: number; name: string }
  /** The socket buffer overflowed (ENOBUFS): notifications were lost, dump again. */
  | { type: 'overrun' };

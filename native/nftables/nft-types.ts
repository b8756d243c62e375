/**
 * nf_tables as data: the operations of a transaction, and the content of a dump.
 *
 * Guarantees: the shapes follow the kernel's own model (tables, chains, sets, elements, rules of expressions over
 * registers; nf_tables.h), so that a ruleset is a value that can be compared, printed and tested without a kernel.
 * Limits: only the expressions that cleat uses; family inet only. Ports are exact elements, whose cost does not depend on their
 * number. An interval is two elements: its first key, and the first key after it (`intervalEnd`).
 */

/** Data in a register, a set key or an element. Concatenations are arrays; each part is padded to 4 bytes (nft). */
export type NftDatum =
  | { ipv4: string }
  | { ipv6: string }
  /** Network byte order, 2 bytes. */
  | { port: number }
  /** IPPROTO_* number or nfproto, 1 byte. */
  | { byte: number }
  /** Host byte order, 4 bytes (marks, ct status, fib types). */
  | { u32: number }
  /** IFNAMSIZ bytes, zero padded. */
  | { ifname: string };

export type NftType = 'ipv4_addr' | 'ipv6_addr' | 'inet_proto' | 'inet_service' | 'ifname' | 'mark';

export type NftVerdict = { verdict: 'accept' | 'drop' | 'return' } | { verdict: 'jump' | 'goto'; chain: string };

/**
 * One expression. Registers are the 4-byte ones, written 0..15 (NFT_REG32_00 + n); wider data takes the following
 * ones. `verdict` expressions write the verdict register.
 */
export type NftExpression =
  | {
      expr: 'meta';
      key:
        | 'iifname'
        | 'oifname'
        | 'nfproto'
        | 'l4proto'
        | 'mark'
        | 'iifgroup'
        | 'oifgroup'
        | 'pkttype'
        | 'iifkind'
        | 'skuid';
      dreg: number;
    }
  | { expr: 'payload'; base: 'network' | 'transport'; offset: number; length: number; dreg: number }
  /** Writes the packet's source address, and updates the checksums that cover it. */
  | { expr: 'source'; family: 4 | 6; sreg: number }
  | { expr: 'ct'; key: 'state' | 'status' | 'mark' | 'direction'; dreg: number }
  /** The original destination of the connection's first packet, as it came in. */
  | { expr: 'ct'; key: 'daddr4' | 'daddr6'; original: true; dreg: number }
  /**
   * A route lookup. type: the RTN_* of the address. oif: the index of the interface that leads there, 0 for none. oifname: its
   * name (without an interface only the first 4 bytes are written, so compare oif with 0 for that). With `iif` only routes
   * through the packet's incoming interface count.
   */
  | { expr: 'fib'; of: 'daddr' | 'saddr'; iif?: boolean; result: 'type' | 'oif' | 'oifname'; dreg: number }
  | { expr: 'cmp'; sreg: number; op: 'eq' | 'neq' | 'lt' | 'gt'; data: NftDatum | { bytes: Uint8Array } }
  /** dreg = (sreg & mask) ^ xor, over as many bytes as the masks have. */
  | { expr: 'bitwise'; sreg: number; dreg: number; mask: Uint8Array; xor: Uint8Array }
  /**
   * Without dreg: match membership; `inverted` negates it. With dreg: load the map's data. With `verdict`: apply the map's
   * verdict. A map that lacks the key ends the rule, not the chain.
   */
  | { expr: 'lookup'; set: string; sreg: number; dreg?: number; verdict?: boolean; inverted?: boolean }
  | { expr: 'immediate'; dreg: number; data: NftDatum }
  | ({ expr: 'verdict' } & NftVerdict)
  /** DNAT/SNAT to the address in addressReg (and the port in portReg). */
  | { expr: 'nat'; kind: 'dnat' | 'snat'; family: 4 | 6; addressReg: number; portReg?: number }
  | { expr: 'masquerade' }
  | { expr: 'notrack' }
  | { expr: 'counter' }
  | { expr: 'reject' }
  /** The largest TCP segment that fits the packet's route and the route back, 2 bytes in host byte order. */
  | { expr: 'rt'; key: 'tcpmss'; dreg: number }
  /** 2 bytes, from host to network byte order. */
  | { expr: 'byteorder'; op: 'hton'; sreg: number; dreg: number }
  /** Writes the option "maximum segment size" of a SYN, if it has one and that is larger (2 bytes, network byte order). */
  | { expr: 'tcpmss'; sreg: number };

export interface NftHook {
  type: 'filter' | 'nat' | 'route';
  hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';
  /** Signed; raw -300, dstnat -100, filter 0, srcnat 100 (nf_ip_hook_priorities). */
  priority: number;
  policy: 'accept' | 'drop';
}

export type NftOperation =
  | { op: 'table.add'; table: string }
  /** An absent table fails the whole transaction: check first, or add before delete. */
  | { op: 'table.del'; table: string }
  /** An existing chain gets this policy; any other difference fails the transaction with EEXIST. */
  | { op: 'chain.add'; table: string; chain: string; hook?: NftHook }
  | { op: 'chain.flush' | 'chain.del'; table: string; chain: string }
  /** Appends a rule. The comment goes to the rule's userdata (shown by `nft list`), <= 127 bytes. */
  | { op: 'rule.add'; table: string; chain: string; expressions: NftExpression[]; comment?: string }
  | { op: 'rule.del'; table: string; chain: string; handle: number }
  | {
      op: 'set.add';
      table: string;
      set: string;
      key: NftType[];
      /** A map when given; 'verdict' makes a verdict map. */
      data?: NftType[] | 'verdict';
      /** Elements are intervals. */
      interval?: boolean;
    }
  | { op: 'set.del' | 'set.flush'; table: string; set: string }
  /**
   * An existing element with the same data is left as it is (comment included); with other data it fails the transaction with
   * EEXIST. exclusive: any existing element is EEXIST.
   */
  | { op: 'element.add'; table: string; set: string; elements: NftElement[]; exclusive?: boolean }
  /** Deletes by key alone (data is not compared). A missing element fails the transaction with ENOENT. */
  | { op: 'element.del'; table: string; set: string; elements: NftElement[] };

export interface NftElement {
  key: NftDatum[];
  data?: NftDatum[] | NftVerdict;
  /** This element ends an interval: its key is the first one after it. It has no data. */
  intervalEnd?: boolean;
  /** Shown by `nft list`, <= 127 bytes; cleat writes the owner here. */
  comment?: string;
}

/** Chains and sets are in the order of their names, rules in that of the chain. */
export interface NftTable {
  handle: number;
  /** NFT_TABLE_F_*: 1 means dormant, so none of the table's chains is called. */
  flags: number;
  chains: { name: string; hook: NftHook | null; rules: { handle: number; comment: string }[] }[];
  /**
   * key as `nft` writes it ("inet_proto . inet_service"), "" for types that we do not use. flags are NFT_SET_*, without those
   * for maps, intervals and concatenated keys.
   */
  sets: { name: string; key: string; map: boolean; interval: boolean; flags: number; elements: number }[];
}

/** Somebody else's change to a table. */
export type NftNotification =
  /**
   * One transaction. `pid` is that of a thread, in the initial pid namespace; `command` is the thread's name (15 bytes at
   * most). Null if the kernel does not report them.
   */
  | { type: 'changed'; pid: number | null; command: string | null }
  /** Notifications were lost: read the table again. */
  | { type: 'overrun' };

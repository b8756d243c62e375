/**
 * The tricks that try to make a forbidden packet arrive: each as frames of one origin, with the stations that receive
 * it if the trick works.
 *
 * Guarantees: every attack has a token of its own, and connection tracking sees other ports each time, so that any
 * number of attacks can be under way at once. Limits: ports come again after tens of thousands.
 */
import type { Origin } from './attack-ground.ts';
import { ANSWERS, carried, KINDS, OPENERS, packet, type Kind, type Protocol } from './attack-kinds.ts';
import * as packets from './packets.ts';
import type { Ends, EthernetOptions, Family, IpOptions } from './packets.ts';
import { token, type Sent } from './stations.ts';

export type Expected = 'refused' | 'arrives' | 'either';

export interface Plan {
  target: string;
  trick: string;
  /** Stations that receive its token, or segments to its port, if it comes through. */
  where: readonly string[];
  expected: Expected;
}

export interface Attack extends Plan {
  origin: string;
  family: Family;
  protocol: Protocol;
  /** The packets, step by step: the next one when the one before has arrived wherever it goes. */
  steps: Sent[][];
  token: number;
  /** The targets of a program's connections, which carry no token; any address if null. */
  segment: { address: string | null; port: number } | null;
}

/** How a packet is put on the wire. */
type Way = IpOptions & EthernetOptions & { to?: string };

const NOTHING = Buffer.alloc(0);
const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff';
const C_TAG = 0x8100;
const S_TAG = 0x88a8;
const TAGS: Record<string, EthernetOptions['tags']> = {
  'VLAN 0': [[C_TAG, 0]],
  'VLAN 1': [[C_TAG, 1]],
  'VLAN 100': [[C_TAG, 100]],
  'service VLAN 0': [[S_TAG, 0]],
  'VLAN 0 in service VLAN 0': [
    [S_TAG, 0],
    [C_TAG, 0],
  ],
};

type Shape = 'whole' | 'tiny' | 'overlapping' | 'first alone' | 'last alone';
const FRAGMENTS: readonly Shape[] = ['whole', 'tiny', 'overlapping', 'first alone', 'last alone'];
/** The number of ANSWERS that are tried where not all are. */
const BRIEF = 5;

export class Numbers {
  #token = 0;
  #port = 0;

  token(): number {
    return ++this.#token;
  }

  /** Neither a well-known one nor one that the kernel gives away (attack-ground.ts). */
  port(): number {
    return 20_000 + (this.#port++ % 40_000);
  }
}

export class Tricks {
  readonly origin: Origin;
  readonly attacks: Attack[] = [];
  readonly #numbers: Numbers;

  constructor(origin: Origin, numbers: Numbers) {
    this.origin = origin;
    this.#numbers = numbers;
  }

  #add(family: Family, kind: Kind, plan: Plan, number: number, steps: Sent[][]): void {
    const attack = { origin: this.origin.name, family, protocol: KINDS[kind], steps, token: number, segment: null };
    this.attacks.push({ ...attack, ...plan });
  }

  /** One packet of each of these kinds; to no particular port when it is null. */
  single(ends: Ends, port: number | null, kinds: readonly Kind[], plan: Plan, way: Way = {}): void {
    for (const kind of kinds) {
      const number = this.#numbers.token();
      const to = port ?? this.#numbers.port();
      const bytes = packet(kind, ends, this.#numbers.port(), to, token(number), way);
      const trick = `${plan.trick}, ${kind}`;
      this.#add(packets.familyOf(ends.to), kind, { ...plan, trick }, number, [[sent(this.origin, bytes, way)]]);
    }
  }

  /** Frames that a switch or a firewall may read differently from the kernel; null: there is no other bridge. */
  ethernet(ends: Ends, port: number, kinds: readonly Kind[], plan: Plan, otherBridge: string | null): void {
    for (const [what, tags = []] of Object.entries(TAGS))
      this.single(ends, port, kinds, { ...plan, trick: `${plan.trick}, ${what}` }, { tags });
    // All hosts on its own Ethernet get it without the host.
    const where = plan.where.filter((station) => station !== this.origin.network?.name);
    const everybody = { ...plan, trick: `${plan.trick}, frame to everybody`, where };
    this.single(ends, port, kinds, everybody, { to: BROADCAST_MAC });
    if (otherBridge === null) return;
    const elsewhere = { ...plan, trick: `${plan.trick}, frame to another bridge's MAC` };
    this.single(ends, port, kinds, elsewhere, { to: otherBridge });
  }

  fragments(ends: Ends, port: number, kinds: readonly Kind[], plan: Plan, shapes = FRAGMENTS): void {
    for (const kind of kinds) {
      for (const shape of shapes) {
        const number = this.#numbers.token();
        // Every fragment except the one with the header has a whole token: they begin at a multiple of 8.
        const padding = Buffer.alloc(KINDS[kind] === 'tcp' ? 4 : 0);
        const payload = Buffer.concat([padding, ...Array.from({ length: 6 }, () => token(number))]);
        const { protocol, data } = carried(kind, ends, this.#numbers.port(), port, payload);
        const piece = (at: number, end = data.length) => ({
          at,
          data: data.subarray(at, end),
          last: end >= data.length,
        });
        const pieces = {
          whole: [piece(0, 32), piece(32)],
          tiny: [piece(0, 8), piece(8, 24), piece(24)],
          overlapping: [piece(0, 32), piece(24)],
          'first alone': [piece(0, 32)],
          'last alone': [piece(32)],
        }[shape];
        const frames = packets.fragments(ends, protocol, pieces).map((bytes) => sent(this.origin, bytes));
        const trick = `${plan.trick}, fragments: ${shape}, ${kind}`;
        this.#add(packets.familyOf(ends.to), kind, { ...plan, trick }, number, [frames]);
      }
    }
  }

  /** Past the host by fields of the packet itself: source routes, extension headers, a packet in a packet. */
  routed(family: Family, to: string, port: number, plan: Plan): void {
    const { own, host } = this.origin;
    const from = own[family];
    const by = (trick: string, target: string, way: Way): void =>
      this.single({ from, to: target }, port, OPENERS, { ...plan, trick }, way);
    if (family === 4) {
      for (const [name, kind] of Object.entries({ loose: 131, strict: 137 } as const)) {
        by(`${name} source route by the host`, host[4], { options: packets.sourceRoute(kind, to) });
        by(`${name} source route past the victim`, to, { options: packets.sourceRoute(kind, host[4]) });
      }
    } else {
      for (const type of [0, 2, 4] as const)
        by(`routing header ${type}`, host[6], { extension: packets.routingHeader(type, to) });
      by('destination options', to, { extension: packets.destinationOptions });
    }
    const { ipip, ipv6, gre } = packets.PROTOCOL;
    const greHeader = Buffer.from(family === 4 ? '00000800' : '000086dd', 'hex');
    for (const outer of [4, 6] as const) {
      const number = this.#numbers.token();
      const inner = packet('udp', { from, to }, this.#numbers.port(), port, token(number));
      const ends = { from: own[outer], to: host[outer] };
      const frames = [
        packets.ipPacket(ends, family === 4 ? ipip : ipv6, inner),
        packets.ipPacket(ends, gre, Buffer.concat([greHeader, inner])),
      ].map((bytes) => sent(this.origin, bytes));
      this.#add(family, 'udp', { ...plan, trick: `a packet in an IPv${outer} packet` }, number, [frames]);
    }
  }

  /**
   * `VICTIM:port -> ME:q` in the victim's name, by an accomplice (or oneself), and then `ME:q -> VICTIM:port`, which
   * looks like the answer.
   */
  conversations(accomplice: Origin, victim: string, me: string, port: number, plan: Plan, brief: boolean): void {
    for (const kinds of brief ? ANSWERS.slice(0, BRIEF) : ANSWERS)
      this.exchange(kinds, accomplice, { from: victim, to: me }, { from: me, to: victim }, port, plan);
  }

  /** From one port of the origin, first an allowed packet and then, to another place, a forbidden one. */
  after(
    [first, then]: readonly [Kind, Kind],
    there: Ends,
    port: number,
    victim: Ends,
    victimPort: number,
    plan: Plan,
  ): void {
    const number = this.#numbers.token();
    const mine = this.#numbers.port();
    const begun = packet(first, there, mine, port, NOTHING);
    const bytes = packet(then, victim, mine, victimPort, token(number));
    const trick = `${plan.trick}, ${first} / ${then}`;
    const steps = [[sent(this.origin, begun)], [sent(this.origin, bytes)]];
    this.#add(packets.familyOf(victim.to), then, { ...plan, trick }, number, steps);
  }

  /** Sends packets of these kinds in turn, from `first` and from the other side. The last packet is the attack. */
  exchange(kinds: readonly Kind[], first: Origin, there: Ends, back: Ends, port: number | null, plan: Plan): void {
    const number = this.#numbers.token();
    const mine = this.#numbers.port();
    // An echo has only one number for both directions.
    const theirs = port === null || KINDS[kinds[0] ?? 'udp'] === 'icmp' ? this.#numbers.port() : port;
    let begun: Buffer | undefined;
    const steps = kinds.map((kind, i) => {
      const payload = i === kinds.length - 1 ? token(number) : NOTHING;
      if (i % 2 === 0) {
        const bytes = packet(kind, there, theirs, mine, payload);
        begun ??= bytes;
        return [sent(first, bytes)];
      }
      // An error quotes the first packet as its receiver would know it.
      const about = back.to === there.from ? begun : undefined;
      return [sent(this.origin, packet(kind, back, mine, theirs, payload, { about }))];
    });
    const last = kinds.at(-1) ?? 'udp';
    const trick = `${plan.trick}, ${kinds.join(' / ')}`;
    this.#add(packets.familyOf(back.to), last, { ...plan, trick }, number, steps);
  }
}

function sent(origin: Origin, bytes: Buffer, { to = origin.hostMac, tags = [] }: Way = {}): Sent {
  if (origin.mac === null) return { station: origin.station, bytes };
  return { station: origin.station, bytes: packets.frame(origin.mac, to, bytes, { tags }) };
}

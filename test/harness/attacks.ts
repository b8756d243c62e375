/**
 * Attacks on a host's containers and on the host: origin x target x family x protocol x trick, each with its expected
 * result. Attacks that must arrive are the positive controls: they differ from forbidden ones only in their lie.
 *
 * Guarantees: everything from one origin can be under way at once.
 * Limits: expectations are what docs/firewall.md promises; `either` is tried and counted where nothing is promised.
 */
import * as ground from './attack-ground.ts';
import { found, FAR, HOST, HOST_ONE, NEIGHBOUR, PUBLISHED, SECOND, UPLINK_PORTS } from './attack-ground.ts';
import type { Ground, Network, Origin } from './attack-ground.ts';
import { ALL, OPENERS, type Kind } from './attack-kinds.ts';
import { attackSources } from './attack-sources.ts';
import { Numbers, Tricks, type Attack, type Expected, type Plan } from './attack-tricks.ts';
import { familyOf, type Family } from './packets.ts';

/** A port where a container would serve; nothing is published there. */
const VICTIMS_PORT = 81;
const TCP_AND_UDP: readonly Kind[] = ['tcp SYN', 'udp'];
const FRAGMENTED: readonly Kind[] = ['tcp SYN', 'udp', 'icmp request'];
const WITH_PORTS: readonly Kind[] = ['tcp SYN', 'udp', 'sctp init'];

export class Attacks {
  readonly #ground: Ground;
  readonly #thorough: boolean;
  readonly #numbers = new Numbers();
  #uplinkPort = 0;

  /** Thorough: every kind of packet from every forged source, and every accomplice with every address. */
  constructor(place: Ground, thorough: boolean) {
    this.#ground = place;
    this.#thorough = thorough;
  }

  /** Everything that is tried from one origin. */
  from(origin: Origin): Attack[] {
    const tricks = new Tricks(origin, this.#numbers);
    for (const family of [4, 6] as const) {
      if (origin.kind === 'program') this.#program(tricks, family);
      else if (origin.kind === 'uplink') this.#uplink(tricks, family);
      else {
        this.#containers(tricks, family);
        this.#loopback(tricks, family);
        this.#dns(tricks, family);
        this.#ownHost(tricks, family);
        this.#world(tricks, family);
        this.#published(tricks, family);
        this.#afterPublished(tricks, family);
        this.#answers(tricks, family);
      }
    }
    return tricks.attacks;
  }

  // --- A container's own address ----------------------------------------------------------------------------------

  #containers(tricks: Tricks, family: Family): void {
    for (const { name, address, network, mac } of this.#ground.victims) {
      const { origin } = tricks;
      if (name === origin.station) continue;
      const [from, to] = [origin.own[family], address[family]];
      const refused: Plan = { target: `container ${name}`, trick: 'plain', where: [name], expected: 'refused' };
      const arrives: Plan = { ...refused, expected: 'arrives' };
      if (origin.network === network) {
        tricks.single({ from, to }, VICTIMS_PORT, OPENERS, arrives, { to: mac });
        continue;
      }
      const open = mayReach(origin.network, network);
      tricks.single({ from, to }, VICTIMS_PORT, open ? OPENERS : ALL, open ? arrives : refused);
      for (const [who, source] of attackSources(this.#ground, origin, network, to, family)) {
        const expected = open && isOf(origin.network, source) ? 'either' : 'refused';
        const plan: Plan = { ...refused, trick: `as ${who}`, expected };
        tricks.single({ from: source, to }, VICTIMS_PORT, this.#thorough ? ALL : OPENERS, plan);
      }
      if (open) continue;
      tricks.ethernet({ from, to }, VICTIMS_PORT, OPENERS, refused, network.bridgeMac);
      tricks.fragments({ from, to }, VICTIMS_PORT, FRAGMENTED, refused);
      tricks.routed(family, to, VICTIMS_PORT, refused);
      this.#conversations(tricks, to, network, refused);
      if (family === 6) continue;
      for (const source of [from, network.gateway[4]]) {
        const plan = { ...refused, trick: `directed broadcast as ${source}` };
        tricks.single({ from: source, to: network.broadcast }, VICTIMS_PORT, ['udp', 'icmp request'], plan);
      }
    }
  }

  #conversations(tricks: Tricks, victim: string, network: Network, plan: Plan): void {
    const { origin } = tricks;
    const family = familyOf(victim);
    const own = ['itself', origin.own[family]] as const;
    const names = attackSources(this.#ground, origin, network, victim, family).filter(([, from]) => from !== victim);
    for (const accomplice of this.#ground.origins) {
      if (accomplice.kind !== 'outside' && accomplice.kind !== 'container') continue;
      const alone = accomplice === origin;
      for (const [who, me] of alone || this.#thorough ? [own, ...names] : [own]) {
        const trick = `first ${alone ? '' : `by ${accomplice.name} `}victim -> ${who}`;
        const brief = !this.#thorough && !(alone && me === own[1]);
        tricks.conversations(accomplice, victim, me, VICTIMS_PORT, { ...plan, trick }, brief);
      }
    }
  }

  // --- The host's loopback ----------------------------------------------------------------------------------------

  #loopback(tricks: Tricks, family: Family): void {
    const { origin } = tricks;
    const own = origin.own[family];
    const targets = family === 4 ? ['127.0.0.1', '127.1.2.3', '0.0.0.0'] : ['::1', '::ffff:127.0.0.1', '::'];
    const published = family === 4 ? PUBLISHED.loopback4 : PUBLISHED.loopback6;
    for (const to of targets) {
      const where = ['host', 'web'];
      const plan: Plan = { target: 'loopback of the host', trick: to, where, expected: 'refused' };
      for (const port of [null, published, PUBLISHED.everywhere]) {
        for (const from of new Set([own, targets[0] ?? '', origin.host[family], HOST[family]]))
          tricks.single({ from, to }, port, OPENERS, { ...plan, trick: `${to} as ${from}` });
      }
      tricks.ethernet({ from: own, to }, published, OPENERS, plan, null);
      tricks.fragments({ from: own, to }, published, FRAGMENTED, plan);
      tricks.conversations(origin, to, own, published, { ...plan, trick: `first ${to} -> itself` }, false);
    }
  }

  /** The host's own address is open to whatever its own firewall accepts, but not to a forged sender. */
  #ownHost(tricks: Tricks, family: Family): void {
    const { origin } = tricks;
    const to = origin.host[family];
    const plan: Plan = { target: 'a service of the host', trick: 'plain', where: ['host'], expected: 'arrives' };
    tricks.single({ from: origin.own[family], to }, null, OPENERS, plan);
    const lies = family === 4 ? ['127.0.0.1', '127.9.9.9'] : ['::1', '::ffff:127.0.0.1', `::ffff:${HOST[4]}`];
    for (const from of lies)
      tricks.single({ from, to }, null, OPENERS, { ...plan, trick: `as ${from}`, expected: 'refused' });
    for (const [who, from] of attackSources(this.#ground, origin, null, to, family)) {
      const containers = this.#ground.networks.some((network) => network !== origin.network && isIn(network, from));
      for (const kind of OPENERS) {
        // An address that the sender may have, and the unspecified one, from which IPv6 solicits neighbours.
        const solicits = from === '::' && kind === 'icmp request';
        const free = isOf(origin.network, from) || (origin.network === null && !containers) || solicits;
        const expected = free ? 'either' : 'refused';
        tricks.single({ from, to }, null, [kind], { ...plan, trick: `as ${who}`, expected });
      }
    }
  }

  // --- The DNS servers of the networks ----------------------------------------------------------------------------

  #dns(tricks: Tricks, family: Family): void {
    const { origin } = tricks;
    for (const network of this.#ground.networks) {
      const [from, to] = [origin.own[family], network.gateway[family]];
      const own = network === origin.network;
      const plan: Plan = { target: `DNS of ${network.name}`, trick: 'plain', where: ['host'], expected: 'refused' };
      tricks.single({ from, to }, ground.DNS_PORT, ['tcp SYN'], plan);
      tricks.single({ from, to }, ground.DNS_PORT, ['udp'], own ? { ...plan, expected: 'arrives' } : plan);
      for (const [who, source] of attackSources(this.#ground, origin, network, to, family)) {
        const expected = own && isOf(network, source) ? 'either' : 'refused';
        const forged = { ...plan, trick: `as ${who}` };
        tricks.single({ from: source, to }, ground.DNS_PORT, ['tcp SYN'], forged);
        tricks.single({ from: source, to }, ground.DNS_PORT, ['udp'], { ...forged, expected });
      }
      if (own) continue;
      tricks.fragments({ from, to }, ground.DNS_PORT, TCP_AND_UDP, plan);
      tricks.ethernet({ from, to }, ground.DNS_PORT, TCP_AND_UDP, plan, network.bridgeMac);
    }
  }

  // --- Through the host to somebody else --------------------------------------------------------------------------

  #world(tricks: Tricks, family: Family): void {
    const { origin } = tricks;
    const out = origin.network !== null && !origin.network.internal;
    for (const [target, station, address] of [
      ['LAN neighbour', 'lan', NEIGHBOUR],
      ['far, by the router', 'lan', FAR],
      ['second uplink', 'second', SECOND],
    ] as const) {
      // Hosts on the same link need no router to get there; the way back to the LAN's router is one.
      if (origin.station === station && !(origin.own === NEIGHBOUR && address === FAR)) continue;
      const to = address[family];
      const plan: Plan = { target, trick: 'plain', where: [station], expected: out ? 'arrives' : 'refused' };
      tricks.single({ from: origin.own[family], to }, null, OPENERS, plan);
      for (const [who, from] of attackSources(this.#ground, origin, null, to, family)) {
        const expected = out && isOf(origin.network, from) ? 'either' : 'refused';
        tricks.single({ from, to }, null, OPENERS, { ...plan, trick: `as ${who}`, expected });
      }
    }
  }

  // --- Published ports --------------------------------------------------------------------------------------------

  #published(tricks: Tricks, family: Family): void {
    const { origin } = tricks;
    const [from, to] = [origin.own[family], origin.host[family]];
    const may: Expected = origin.network?.internal === true ? 'refused' : 'arrives';
    const plan = (target: string, expected: Expected, trick = 'plain'): Plan => {
      return { target, trick, where: ['web'], expected };
    };
    const web = found(this.#ground.networks, 'web').gateway[family];
    for (const address of new Set([to, HOST[family], web]))
      tricks.single({ from, to: address }, PUBLISHED.everywhere, WITH_PORTS, plan('published everywhere', may));
    // Kinds that other targets refuse do arrive here.
    const odd = (trick: string): Plan => plan('published everywhere', may, trick);
    tricks.fragments({ from, to }, PUBLISHED.everywhere, TCP_AND_UDP, odd('plain'), ['whole']);
    tricks.single({ from, to }, PUBLISHED.everywhere, TCP_AND_UDP, odd('VLAN 0'), { tags: [[0x8100, 0]] });
    for (const lie of family === 4 ? ['127.0.0.1', '0.0.0.0'] : ['::1', '::ffff:127.0.0.1']) {
      const lying = plan('published everywhere', 'refused', `as ${lie}`);
      tricks.single({ from: lie, to }, PUBLISHED.everywhere, WITH_PORTS, lying);
    }
    const one = plan('published on one address', may);
    tricks.single({ from, to: HOST_ONE[family] }, PUBLISHED.oneAddress, WITH_PORTS, one);
    const another = plan('published on one address', 'refused', 'by another address');
    const loopback = plan('published on loopback', 'refused');
    const port = family === 4 ? PUBLISHED.loopback4 : PUBLISHED.loopback6;
    for (const address of new Set([to, HOST[family]])) {
      tricks.single({ from, to: address }, PUBLISHED.oneAddress, WITH_PORTS, another);
      tricks.single({ from, to: address }, port, WITH_PORTS, loopback);
    }
    tricks.single({ from, to: HOST_ONE[family] }, port, WITH_PORTS, loopback);
  }

  /** Connection tracking knows the clients of a published port: that opens nothing more to them. */
  #afterPublished(tricks: Tricks, family: Family): void {
    const { origin } = tricks;
    const web = found(this.#ground.victims, 'web');
    if (origin.network === web.network) return;
    const [me, to] = [origin.own[family], origin.host[family]];
    const plan: Plan = { target: 'container web', trick: '', where: ['web'], expected: 'refused' };
    for (const kinds of [
      ['udp', 'udp'],
      ['tcp SYN', 'tcp SYN'],
      ['udp', 'icmp unreachable'],
    ] as const) {
      const there = { from: me, to };
      const back = { from: me, to: web.address[family] };
      tricks.after(kinds, there, PUBLISHED.everywhere, back, 80, { ...plan, trick: 'after a published port' });
    }
  }

  // --- Answers to what a container has asked ----------------------------------------------------------------------

  /**
   * A container sends a request to the LAN neighbour; the neighbour's answer must arrive, and nobody else's in its
   * name.
   */
  #answers(tricks: Tricks, family: Family): void {
    const { origin } = tricks;
    const web = found(this.#ground.victims, 'web');
    if (origin.network === web.network) return;
    const asking = found(this.#ground.origins, 'container on web');
    const victim: Origin = { ...asking, station: 'web', own: web.address, mac: web.mac };
    const honest = origin.own === NEIGHBOUR;
    // Nothing is promised about two uplinks, which may share a way, nor about a router, which may answer for the hosts
    // behind it.
    const expected = honest ? 'arrives' : origin.network === null ? 'either' : 'refused';
    const trick = honest ? 'plain' : 'in the name of the LAN neighbour';
    const plan: Plan = { target: 'an answer to web', trick, where: ['web'], expected };
    const there = { from: web.address[family], to: NEIGHBOUR[family] };
    const back = { from: NEIGHBOUR[family], to: HOST[family] };
    for (const kinds of [
      ['udp', 'udp'],
      ['tcp SYN', 'tcp SYN-ACK'],
      ['udp', 'icmp unreachable'],
      ['udp', 'icmp tooBig'],
    ] as const)
      tricks.exchange(kinds, victim, there, back, null, plan);
  }

  // --- Programs ---------------------------------------------------------------------------------------------------

  /** All of it is allowed: these ways are open here and closed to others. */
  #program(tricks: Tricks, family: Family): void {
    const plan = (target: string, where: string): Plan => {
      return { target, trick: 'plain', where: [where], expected: 'arrives' };
    };
    for (const { name, address, network } of this.#ground.victims) {
      const ends = { from: network.gateway[family], to: address[family] };
      tricks.single(ends, VICTIMS_PORT, OPENERS, plan(`container ${name}`, name));
    }
    for (const { name, gateway } of this.#ground.networks) {
      const ends = { from: gateway[family], to: gateway[family] };
      tricks.single(ends, ground.DNS_PORT, ['udp'], plan(`DNS of ${name}`, 'host'));
      const overTcp: Plan = { ...plan(`DNS of ${name}`, 'host'), expected: 'refused' };
      tricks.single(ends, ground.DNS_PORT, ['tcp SYN'], overTcp);
    }
    const [loopback, port] =
      family === 4 ? (['127.0.0.1', PUBLISHED.loopback4] as const) : (['::1', PUBLISHED.loopback6] as const);
    const itself = { from: loopback, to: loopback };
    tricks.single(itself, null, OPENERS, plan('loopback of the host', 'host'));
    tricks.single(itself, port, WITH_PORTS, plan('published on loopback', 'web'));
    tricks.single(itself, PUBLISHED.everywhere, WITH_PORTS, plan('published everywhere', 'web'));
    const one = { from: HOST_ONE[family], to: HOST_ONE[family] };
    tricks.single(one, PUBLISHED.oneAddress, WITH_PORTS, plan('published on one address', 'web'));
    tricks.single({ from: HOST[family], to: NEIGHBOUR[family] }, null, OPENERS, plan('LAN neighbour', 'lan'));
  }

  /** A program carries a container's packets as the host's own: everything that belongs to the host alone is tried. */
  #uplink(tricks: Tricks, family: Family): void {
    const { origin } = tricks;
    const own = origin.own[family];
    const next = (first: number): number => first + (this.#uplinkPort++ % UPLINK_PORTS.count);
    const single = (to: string, port: number, kinds: readonly Kind[], plan: Plan, from = own): void => {
      const before = tricks.attacks.length;
      tricks.single({ from, to }, port, kinds, plan);
      const address = port === ground.DNS_PORT ? to : null;
      for (const attack of tricks.attacks.slice(before))
        if (attack.protocol === 'tcp') attack.segment = { address, port };
    };
    const plan = (target: string, where: string[], expected: Expected, trick = 'plain'): Plan => {
      return { target, trick, where, expected };
    };

    const toLoopback = (to: string, from: string, expected: Expected): void => {
      const trick = `${to} as ${from}`;
      const itself = plan('loopback of the host', ['host', 'web'], expected, trick);
      single(to, next(UPLINK_PORTS.own), TCP_AND_UDP, itself, from);
      // Both programs answer pings to the address that means the host themselves.
      const ping = expected === 'arrives' ? 'either' : expected;
      single(to, next(UPLINK_PORTS.own), ['icmp request'], { ...itself, expected: ping }, from);
      const published = plan('published on loopback', ['web'], expected, trick);
      single(to, next(UPLINK_PORTS.published), TCP_AND_UDP, published, from);
    };
    const targets =
      family === 4 ? ['127.0.0.1', '127.1.2.3', '0.0.0.0'] : ['::1', '::ffff:127.0.0.1', '::', '::127.0.0.1'];
    for (const to of targets)
      for (const from of new Set([own, targets[0] ?? own, to]))
        toLoopback(to, from, origin.loopback ? 'either' : 'refused');
    toLoopback(origin.host[family], own, origin.loopback ? 'arrives' : 'refused');

    for (const { name, address } of this.#ground.victims) {
      const kinds: readonly Kind[] = [...TCP_AND_UDP, 'icmp request'];
      single(address[family], next(UPLINK_PORTS.own), kinds, plan(`container ${name}`, [name], 'refused'));
    }
    for (const { name, gateway } of this.#ground.networks) {
      single(gateway[family], ground.DNS_PORT, TCP_AND_UDP, plan(`DNS of ${name}`, ['host'], 'refused'));
      const service = plan('a service on a gateway', ['host'], 'either');
      single(gateway[family], next(UPLINK_PORTS.own), TCP_AND_UDP, service);
    }
    single(HOST[family], next(UPLINK_PORTS.own), TCP_AND_UDP, plan('a service of the host', ['host'], 'either'));
    single(NEIGHBOUR[family], next(UPLINK_PORTS.own), TCP_AND_UDP, plan('LAN neighbour', ['lan'], 'arrives'));
    const everywhere = plan('published everywhere', ['web'], 'either');
    single(HOST[family], PUBLISHED.everywhere, ['udp'], everywhere);
  }
}

/** Packets to a container's own address, as `isolate` says. */
function mayReach(from: Network | null, to: Network): boolean {
  if (from === to) return true;
  if (from === null || from.internal || to.internal || to.isolate === 'strict') return false;
  return from.isolate === 'false' || (from.isolate === 'true' && to.isolate === 'false');
}

/**
 * True if an address may belong to the network: the sender cannot be verified there. IPv6 needs link-local ones too.
 */
function isOf(network: Network | null, address: string): boolean {
  return network !== null && (address.startsWith('fe80:') || isIn(network, address));
}

/** An address in its subnets, all of which end with one part of the address. */
function isIn(network: Network, address: string): boolean {
  return address.startsWith(network.gateway[familyOf(address)].slice(0, -1));
}

/**
 * The real kernel under one network's machine: what each of its effects and conversations does, what others take from it,
 * and what has to be there after each.
 *
 * Guarantees: what has to be there is a picture, by the kernel's own tools, of what a first raising of the same definition
 * makes: however it came to that, a bridge is as if it had never been another. When it is up, that is the definition
 * which the machine has, with the links of all who were told that they have a lease; when it is down, the kernel is as it
 * was found.
 * Limits: while something that others took is not put back yet, nothing is said. Containers are a link each.
 */
import { lowerNetwork, raiseNetwork, repairNetwork, reviseNetwork } from '../../effects/bridge.ts';
import { lowerFirewall, raiseFirewall, readSwitches } from '../../effects/firewall.ts';
import { refuse } from '../../effects/refusal.ts';
import type { Switches } from '../../machines/firewall.ts';
import type { RaiseInput, ReviseInput } from '../../machines/network.ts';
import { bridgeMac } from '../../machines/plan/neighbours.ts';
import { withMtu } from '../../machines/plan/way-out.ts';
import type { Outside, RtnlRequest } from '../../native/index.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { GROUP, testKernel } from './kernel.ts';
import { Pictures } from './kernel-facts.ts';
import { factsOf, NARROW, SIX, WEB } from './network-model.ts';
import type { AnySnapshot, Event } from './shared-driver.ts';
import { uplinkGuard } from '../../service/uplink-guard.ts';

const BRIDGE = WEB.network_interface;
const MACS: Record<string, string> = { a: '02:00:00:00:00:0a', b: '02:00:00:00:00:0b' };
/** Nobody is to be reached there. */
const linkOf = (owner: string) => ({
  hostLink: `cl-host-${owner}`,
  alias: `cleat:main:link:${owner}`,
  addresses: [],
  mac: MACS[owner] ?? '',
});

/**
 * Of switches that stay as an earlier definition had them: forwarding of IPv6, which the firewall puts back, and how a bridge
 * hears of addresses, where the present one has none.
 */
const LASTING = /^ipv6\/conf\/(\S+\/forwarding|cl-web\/accept_(ra|dad|redirects)):/;

/** What others do to a bridge: to be repaired. */
export const DAMAGES: RtnlRequest[] = [
  { op: 'link.del', name: BRIDGE },
  { op: 'address.del', link: BRIDGE, address: '10.89.0.1', prefix: 24 },
  { op: 'link.set', name: BRIDGE, up: false },
  { op: 'link.set', name: BRIDGE, mtu: 1300 },
  { op: 'link.set', name: linkOf('a').hostLink, master: null },
];

export class NetworkGround {
  readonly pictures = new Pictures();
  readonly #kernel = testKernel();
  readonly #native: Outside = this.#kernel.outside(null).kernel;

  #built: NetworkDefinition | null = null;
  #found: Switches | null = null;
  #members = new Set<string>();
  /** Others took something, and nobody has put it back. */
  #damaged = false;
  #damages = 0;

  /** Pictures of what has to be there. */
  async prepare(): Promise<void> {
    await this.pictures.take(this.#title());
    await this.#hold();
    await this.pictures.take(this.#title());
    for (const definition of [WEB, SIX, NARROW]) {
      for (const owners of [[], ['a'], ['b'], ['a', 'b']]) {
        await this.begin(definition, owners);
        await this.pictures.take(this.#title());
        await this.#leave(...owners);
        await lowerNetwork(this.#kernel)({ definition, mac: bridgeMac(definition.id), outside: null });
        await this.#release();
      }
    }
    this.#built = null;
  }

  /** What an earlier daemon has left. */
  async begin(built: NetworkDefinition | null, owners: readonly string[]): Promise<void> {
    this.#built = built;
    this.pictures.touched();
    if (built === null) return;
    await this.#hold();
    await raiseNetwork(this.#kernel)({ definition: built, mac: bridgeMac(built.id), outside: null });
    for (const owner of owners) await this.#attach(owner);
  }

  async happens(id: string, how: string, input: unknown): Promise<void> {
    if (how === 'failed') return;
    this.pictures.touched();
    const members = () => [...this.#members].map(linkOf);
    if (how === 'held') await this.#hold();
    if (how === 'released') await this.#release();
    if (id === 'raiseNetwork') {
      await raiseNetwork(this.#kernel)(input as RaiseInput);
      this.#built = (input as RaiseInput).definition;
    }
    if (id === 'reviseNetwork') {
      await reviseNetwork(this.#kernel, members)(input as ReviseInput);
      this.#built = (input as ReviseInput).to;
    }
    if (id === 'repairNetwork') {
      await repairNetwork(this.#kernel, members)(input as RaiseInput);
      this.#built = (input as RaiseInput).definition;
    }
    if (id === 'lowerNetwork') {
      await lowerNetwork(this.#kernel)(input as RaiseInput);
      this.#built = null;
    }
    if (/^(raise|revise|repair|lower)/.test(id)) this.#damaged = false;
  }

  /** What others do before they say so. */
  async before(event: Event, state: AnySnapshot): Promise<void> {
    if (event.type === 'leave') await this.#leave(String(event['owner']));
    if (event.type !== 'drifted' || !state.can(event)) return;
    const damage = DAMAGES[this.#damages++ % DAMAGES.length];
    if (damage === undefined) return;
    await this.#native.rtnl([damage]);
    this.#damaged = true;
    this.pictures.touched();
  }

  async look(state: AnySnapshot): Promise<string[]> {
    const { definition, wayOut, leases, waiting } = factsOf(state);
    const objections: string[] = [];
    const up = state.value === 'up';
    if (up && JSON.stringify(this.#built) !== JSON.stringify(withMtu(definition, wayOut)))
      objections.push('the bridge is not of the definition');
    if (state.value === 'down' && this.#built !== null) objections.push('there is a bridge');
    if (up || !this.#damaged) objections.push(...(await this.compare()));
    // Told of their lease, they make their link.
    const told = Object.keys(leases).filter((owner) => !waiting.some((one) => one.owner === owner));
    for (const owner of told) if (!this.#members.has(owner)) await this.#attach(owner);
    return objections;
  }

  compare(): Promise<string[]> {
    return this.pictures.compare(this.#title(), this.#found === null ? undefined : LASTING);
  }

  #title(): string {
    if (this.#built === null) return this.#found === null ? 'nothing' : 'the firewall alone';
    const name = this.#built === SIX ? 'six' : this.#built.options.mtu === undefined ? 'web' : 'narrow';
    return `${name} with ${[...this.#members].sort().join()}`;
  }

  async #hold(): Promise<void> {
    this.#found ??= await readSwitches(this.#kernel)({ outside: null });
    await raiseFirewall(this.#kernel, false, uplinkGuard)({ outside: null, found: this.#found });
  }

  async #release(): Promise<void> {
    await lowerFirewall(this.#kernel)({ outside: null, found: this.#found });
    this.#found = null;
  }

  async #attach(owner: string): Promise<void> {
    const { hostLink: name, alias } = linkOf(owner);
    const mac = MACS[owner] ?? '';
    await this.#done([
      { op: 'link.add', kind: 'ifb', name, mac, group: GROUP },
      { op: 'link.set', name, alias, noLinkLocal: true, master: BRIDGE, up: true, hairpin: true },
    ]);
    this.#members.add(owner);
    this.pictures.touched();
  }

  async #leave(...owners: string[]): Promise<void> {
    for (const owner of owners) {
      if (!this.#members.delete(owner)) continue;
      await this.#done([{ op: 'link.del', name: linkOf(owner).hostLink }]);
      this.pictures.touched();
    }
  }

  async #done(requests: RtnlRequest[]): Promise<void> {
    refuse(await this.#native.rtnl(requests), JSON.stringify(requests));
  }
}

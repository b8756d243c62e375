/**
 * The real kernel under one network's machine: its effects and requests, removals by others, and the expected state
 * after each.
 *
 * Guarantees: the expected state is a picture, by the kernel's own tools, of a first raising of the same definition:
 * whatever came before, a bridge is as if it had never been another. When it is up, that is the machine's definition,
 * with the links of all that got a lease; when it is down, the kernel is as it was found.
 * Limits: while a removal by others is not repaired yet, nothing is compared. Containers are a link each.
 */
import { lowerNetwork, programPeers, raiseNetwork, repairNetwork, reviseNetwork } from '../../effects/links/bridge.ts';
import { lowerFirewall, raiseFirewall, readSwitches } from '../../effects/firewall/firewall.ts';
import { refuse } from '../../effects/refusal.ts';
import type { Switches } from '../../machines/firewall.ts';
import type { RaiseInput, ReviseInput } from '../../machines/network.ts';
import { bridgeMac } from '../../plan/addresses/neighbours.ts';
import { withMtu } from '../../plan/networks/way-out.ts';
import type { Outside, RtnlRequest } from '../../native/index.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { GROUP, testKernel } from './kernel.ts';
import { Pictures } from './kernel-facts.ts';
import { factsOf, NARROW, SIX, WEB } from './network-model.ts';
import type { AnySnapshot, Event } from './shared-driver.ts';
import { uplinkGuard } from '../../service/outsides/uplink-guard.ts';

const BRIDGE = WEB.network_interface;
const MACS: Record<string, string> = { a: '02:00:00:00:00:0a', b: '02:00:00:00:00:0b' };
/** An address that nobody needs to reach. */
const linkOf = (owner: string) => ({
  hostLink: `cl-host-${owner}`,
  alias: `cleat:main:link:${owner}`,
  addresses: [],
  mac: MACS[owner] ?? '',
});

/**
 * Switches that stay as an earlier definition had them: forwarding of IPv6, which the firewall restores, and how a
 * bridge learns of addresses, where the present definition has none.
 */
const LASTING = /^ipv6\/conf\/(\S+\/forwarding|cl-web\/accept_(ra|dad|redirects)):/;

/** Changes of a bridge by others, which must be repaired. */
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
  readonly #members = new Set<string>();
  /** Others took something, and nobody has put it back. */
  #damaged = false;
  #damages = 0;

  /** Pictures of the expected states. */
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

  /** Makes what an earlier daemon has left. */
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
    if (id === 'holdFirewall' && how === 'done') await this.#hold();
    if (id === 'releaseFirewall') await this.#release();
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
    if (id === 'programPeers') await programPeers(this.#kernel)(input as RaiseInput);
    if (id === 'lowerNetwork') {
      await lowerNetwork(this.#kernel)(input as RaiseInput);
      this.#built = null;
    }
    if (/^(raise|revise|repair|lower)/.test(id)) this.#damaged = false;
  }

  /** Changes by others before their notification. */
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
    // Containers that got their lease make their link.
    const told = [...leases.keys()].filter((owner) => !waiting.some((one) => one.owner === owner));
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
    await raiseFirewall(this.#kernel, () => false, uplinkGuard)({ outside: null, found: this.#found });
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

/**
 * One look at the kernel of an outside: compares what a network or a container should have there with what exists.
 *
 * Guarantees: changes nothing. An object that cannot be read is an error, never a difference. Data that all parts of a look need
 * (the links of the outside) is dumped once, and only when it is needed. For a few containers the links are requested one by one.
 * Limits: a look is as old as its oldest dump. An effect that acts on it looks again.
 */
import { bridgeAlias, bridgeSwitches } from '../../effects/links/bridge.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { switchesOf } from '../../effects/vtep/link.ts';
import { showLink } from '../../effects/vtep/wireguard-tool.ts';
import { ofCleat } from '../../plan/external/external.ts';
import { compareOutside } from '../../plan/kernel/expected.ts';
import { compareBridge, type Member } from '../../plan/kernel/expected-bridge.ts';
import { compareSwitches } from '../../plan/kernel/switches.ts';
import {
  compareOverlay,
  isOverlay,
  tunnelAlias,
  tunnelName,
  type OverlayDump,
} from '../../plan/kernel/expected-overlay.ts';
import { isUnmanaged, type Seen } from '../../plan/networks/unmanaged.ts';
import type { Address, Link, Neighbour, Outside, Route } from '../../native/index.ts';
import type { ContainerContext, Difference } from '../../state/container.ts';
import { areaOf } from '../networks/host-routes.ts';
import { differencesInside, insideOf, lookInside } from '../watch/inside-look.ts';

/** Up to this number of containers, their links are requested by name. */
const FEW = 4;

export class OutsideLook {
  readonly #kernel: Kernel;
  readonly #native: Outside;
  readonly #outside: string | null;
  readonly #few: boolean;
  readonly #subnets: () => string[];
  #links: Promise<Link[]> | null = null;
  #rest: Promise<[Address[], Route[], Neighbour[]]> | null = null;

  /** `containers`: how many will be looked at. `subnets`: those of all possible networks; routes outside them are not read. */
  constructor(kernel: Kernel, outside: string | null, containers: number, subnets: () => string[]) {
    this.#kernel = kernel;
    this.#native = kernel.outside(outside).kernel;
    this.#outside = outside;
    this.#few = containers <= FEW;
    this.#subnets = subnets;
  }

  links(): Promise<Link[]> {
    return (this.#links ??= this.#native.links());
  }

  async network(definition: Seen, members: readonly Member[]): Promise<Difference[]> {
    this.#rest ??= Promise.all([
      this.#native.addresses(),
      // Each bridge that has IPv6 has a route for ::1 (effects/links/bridge.ts).
      this.#native.routes(undefined, [...this.#subnets(), '::1/128'].map(areaOf)),
      this.#native.neighbours(),
    ]);
    const [links, [addresses, routes, neighbours]] = await Promise.all([this.links(), this.#rest]);
    const alias = bridgeAlias(this.#kernel.instance.name, definition.name);
    const differences = compareBridge(definition, alias, members, { links, addresses, routes, neighbours });
    const dump = { links, addresses, routes, neighbours };
    return [...differences, ...(await this.#overlay(definition, dump)), ...(await this.#switches(definition))];
  }

  async #overlay(
    definition: Seen,
    dump: Omit<OverlayDump, 'fdb' | 'wireguard'> & { links: readonly Link[] },
  ): Promise<Difference[]> {
    if (!isOverlay(definition)) return [];
    const alias = tunnelAlias(this.#kernel.instance.name, definition.name);
    const link = dump.links.find(({ name }) => name === tunnelName(definition));
    const isWireguard = definition.overlay.backend === 'wireguard';
    const fdb = link === undefined || isWireguard ? [] : await this.#native.fdb(undefined, link.index);
    const netns = this.#kernel.entered(this.#outside);
    const wireguard = link === undefined || !isWireguard ? null : await showLink(netns, link.name);
    return compareOverlay(definition, alias, { ...dump, fdb, wireguard });
  }

  async #switches(definition: Seen): Promise<Difference[]> {
    if (isUnmanaged(definition)) return [];
    const { v4, v6 } = bridgeSwitches(definition);
    const vxlan = tunnelName(definition);
    const beside = isOverlay(definition) && vxlan !== null ? switchesOf(definition, vxlan) : { v4: {}, v6: {} };
    const wanted = { ...v4, ...v6, ...beside.v4, ...beside.v6 };
    return compareSwitches(wanted, await this.#native.linkSwitches(Object.keys(wanted)), definition.name);
  }

  async host({ attachments }: ContainerContext): Promise<Difference[]> {
    if (this.#links === null && this.#few) {
      const names = [...new Set(ofCleat(attachments).flatMap(({ hostLink, bridge }) => [hostLink, bridge]))];
      const links = await Promise.all(names.map((name) => this.#native.link(name)));
      return compareOutside(
        attachments,
        links.filter((link) => link !== null),
      );
    }
    return compareOutside(attachments, await this.links());
  }

  async inside(context: ContainerContext): Promise<Difference[]> {
    const { attachments } = context;
    const look = await lookInside(this.#kernel, context, insideOf(context));
    if (look === null) return [];
    if ('seen' in look) return differencesInside(attachments, look.seen);
    if (look.problem === 'unreadable') throw new Error(`cannot look into ${look.path}: ${look.why}`);
    // This difference is not repaired: the container's processes still have the old namespace, and a new one would be another.
    return [{ kind: 'link', object: look.path, network: null, problem: look.problem }];
  }
}

/** Returns true if a difference of a bridge is about this port of it. */
export function isAboutPort({ kind, object }: Difference, { hostLink, addresses }: Member): boolean {
  if (kind === 'neighbour') return addresses.some(({ address }) => object.startsWith(`${address} `));
  return object.endsWith(` on ${hostLink}`);
}

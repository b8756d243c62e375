/**
 * One look at the kernel of an outside: what a network or a container should have there, and what is different.
 *
 * Guarantees: changes nothing. What cannot be read is an error, never a difference. What all of a look need (the links of
 * the outside) is dumped once, and only when it is needed; for a few links they are asked for one by one.
 * Limits: a look is as old as its oldest dump: whoever acts on it has the effects look again.
 */
import { bridgeAlias, bridgeSwitches } from '../effects/bridge.ts';
import type { Kernel } from '../effects/kernel.ts';
import { compareOutside } from '../machines/plan/expected.ts';
import { compareBridge, type Member } from '../machines/plan/expected-bridge.ts';
import { compareSwitches } from '../machines/plan/switches.ts';
import { isUnmanaged } from '../machines/plan/unmanaged.ts';
import type { Address, Link, Neighbour, Outside, Route } from '../native/index.ts';
import type { ContainerContext, Difference } from '../state/container.ts';
import type { NetworkDefinition } from '../state/network.ts';
import { areaOf } from './host-routes.ts';
import { differencesInside, insideOf, lookInside } from './inside-look.ts';

/** Up to so many containers, their links are asked for by name. */
const FEW = 4;

export class OutsideLook {
  readonly #kernel: Kernel;
  readonly #native: Outside;
  readonly #few: boolean;
  readonly #subnets: () => string[];
  #links: Promise<Link[]> | null = null;
  #rest: Promise<[Address[], Route[], Neighbour[]]> | null = null;

  /** `containers`: how many of them will be looked at. `subnets`: of all networks that may be; other routes are not read. */
  constructor(kernel: Kernel, outside: string | null, containers: number, subnets: () => string[]) {
    this.#kernel = kernel;
    this.#native = kernel.outside(outside).kernel;
    this.#few = containers <= FEW;
    this.#subnets = subnets;
  }

  links(): Promise<Link[]> {
    return (this.#links ??= this.#native.links());
  }

  async network(definition: NetworkDefinition, members: readonly Member[]): Promise<Difference[]> {
    this.#rest ??= Promise.all([
      this.#native.addresses(),
      // ::1 is led to each bridge that has IPv6 (effects/bridge.ts).
      this.#native.routes(undefined, [...this.#subnets(), '::1/128'].map(areaOf)),
      this.#native.neighbours(),
    ]);
    const [links, [addresses, routes, neighbours]] = await Promise.all([this.links(), this.#rest]);
    const alias = bridgeAlias(this.#kernel.instance.name, definition.name);
    const differences = compareBridge(definition, alias, members, { links, addresses, routes, neighbours });
    return [...differences, ...(await this.#switches(definition))];
  }

  async #switches(definition: NetworkDefinition): Promise<Difference[]> {
    if (isUnmanaged(definition)) return [];
    const { v4, v6 } = bridgeSwitches(definition);
    const wanted = { ...v4, ...v6 };
    return compareSwitches(wanted, await this.#native.linkSwitches(Object.keys(wanted)), definition.name);
  }

  async host({ attachments }: ContainerContext): Promise<Difference[]> {
    if (this.#links === null && this.#few) {
      const names = [...new Set(attachments.flatMap(({ hostLink, bridge }) => [hostLink, bridge]))];
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
    // Not to be put back: whoever lives in it has it still, and a new one would be another.
    return [{ kind: 'link', object: look.path, network: null, problem: look.problem }];
  }
}

/** Whether a difference of a bridge is about this port of it. */
export function isAboutPort({ kind, object }: Difference, { hostLink, addresses }: Member): boolean {
  if (kind === 'neighbour') return addresses.some(({ address }) => object.startsWith(`${address} `));
  return object.endsWith(` on ${hostLink}`);
}

/**
 * One look at the kernel of an outside: what a network or a container should have there, and what is different.
 *
 * Guarantees: changes nothing. What cannot be read is an error, never a difference. What all of a look need (the links of
 * the outside) is dumped once, and only when it is needed; for a few links they are asked for one by one.
 * Limits: a look is as old as its oldest dump: whoever acts on it has the effects look again.
 */
import { bridgeAlias } from '../effects/bridge.ts';
import type { Kernel } from '../effects/kernel.ts';
import { compareInside, compareOutside } from '../machines/plan/expected.ts';
import { compareBridge, type Member } from '../machines/plan/expected-bridge.ts';
import type { Address, Link, Neighbour, Outside, Route } from '../native/index.ts';
import type { ContainerContext, Difference } from '../state/container.ts';
import type { NetworkDefinition } from '../state/network.ts';
import { dumpOf, lookInside } from './look.ts';

/** Up to so many containers, their links are asked for by name. */
const FEW = 4;

export class OutsideLook {
  readonly #kernel: Kernel;
  readonly #native: Outside;
  readonly #few: boolean;
  #links: Promise<Link[]> | null = null;
  #rest: Promise<[Address[], Route[], Neighbour[]]> | null = null;

  /** `containers`: how many of them will be looked at. */
  constructor(kernel: Kernel, outside: string | null, containers: number) {
    this.#kernel = kernel;
    this.#native = kernel.outside(outside).kernel;
    this.#few = containers <= FEW;
  }

  links(): Promise<Link[]> {
    return (this.#links ??= this.#native.links());
  }

  async network(definition: NetworkDefinition, members: readonly Member[]): Promise<Difference[]> {
    this.#rest ??= Promise.all([this.#native.addresses(), this.#native.routes(), this.#native.neighbours()]);
    const [links, [addresses, routes, neighbours]] = await Promise.all([this.links(), this.#rest]);
    const alias = bridgeAlias(this.#kernel.instance.name, definition.name);
    return compareBridge(definition, alias, members, { links, addresses, routes, neighbours });
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
    const look = await lookInside(this.#kernel, context, dumpOf);
    if (look === null) return [];
    if ('seen' in look) return compareInside(context.attachments, look.seen);
    if (look.problem === 'unreadable') throw new Error(`cannot look into ${look.path}: ${look.why}`);
    // Not to be put back: whoever lives in it has it still, and a new one would be another.
    return [{ kind: 'link', object: look.path, network: null, problem: look.problem }];
  }
}

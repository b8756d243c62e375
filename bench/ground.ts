/**
 * Namespaces for peers, a way out for programs that need one to start, and a neighbour for those whose traffic leaves a host.
 *
 * Guarantees: made by the addon alone; everything stands in the benchmark's own namespaces and goes with them.
 * Limits: IPv4; up to 250 namespaces with a veth, 10.81.N.2 each.
 */
import { mkdirSync } from 'node:fs';
import { openOutside, type RtnlReply, type RtnlRequest } from '../native/index.ts';
import { RUN } from './arena.ts';

const folder = `${RUN}/ground`;
/** Numbers are never used twice, because a veth goes some time after its namespace. */
let made = 0;
/** Several scenarios need the way out, and the first makes it. */
let leadsOut = false;

export interface Place {
  netns: string;
  /** The address of its eth0, reached over a veth from here. */
  address: string;
}

export class Ground {
  readonly #outside = openOutside();

  constructor() {
    mkdirSync(folder, { recursive: true });
  }

  async bare(name: string): Promise<string> {
    const netns = `${folder}/${name}`;
    await this.#outside.netnsCreate(netns, {});
    return netns;
  }

  async remove(netns: string): Promise<void> {
    await this.#outside.netnsRemove(netns);
  }

  /** Makes a namespace with a veth of its own, and no bridge. */
  async linked(name: string): Promise<Place> {
    const netns = await this.bare(name);
    const n = ++made;
    const address = `10.81.${n}.2`;
    const near = `ground${n}`;
    const peer = { name: 'eth0', up: true, netns };
    await this.#must([
      { op: 'link.add', kind: 'veth', name: near, up: true, peer },
      { op: 'address.add', link: near, address: `10.81.${n}.1`, prefix: 24 },
    ]);
    await this.#must([{ op: 'address.add', link: 'eth0', address, prefix: 24 }], netns);
    return { netns, address };
  }

  /**
   * Makes a neighbour of the host whose namespace is at `outside`, and returns it and the address at which it reaches that host.
   * It has no route to the host's containers.
   */
  async neighbour(name: string, outside: string): Promise<Place & { host: string }> {
    const netns = await this.bare(name);
    const n = ++made;
    const [address, host] = [`10.83.${n}.2`, `10.83.${n}.1`];
    const peer = { name: 'eth0', up: true, netns };
    await this.#must(
      [
        { op: 'link.add', kind: 'veth', name: 'neighbour0', up: true, peer },
        { op: 'address.add', link: 'neighbour0', address: host, prefix: 24 },
      ],
      outside,
    );
    await this.#must([{ op: 'address.add', link: 'eth0', address, prefix: 24 }], netns);
    return { netns, address, host };
  }

  /** Makes a link that leads out. pasta copies the addresses of that link (pasta(1)): without one it does not start. */
  async wayOut(): Promise<void> {
    if (leadsOut) return;
    leadsOut = true;
    await this.#must([
      { op: 'link.add', kind: 'bridge', name: 'world0', up: true },
      { op: 'address.add', link: 'world0', address: '10.82.0.2', prefix: 24 },
      { op: 'route.add', destination: '0.0.0.0', prefix: 0, link: 'world0', gateway: '10.82.0.1' },
    ]);
  }

  async #must(requests: RtnlRequest[], netns?: string): Promise<void> {
    const replies: RtnlReply[] = await this.#outside.rtnl(requests, netns);
    const wrong = replies.find(({ errno }) => errno !== 0);
    if (wrong !== undefined) throw new Error(`the ground of the benchmark: ${JSON.stringify(wrong)}`);
  }
}

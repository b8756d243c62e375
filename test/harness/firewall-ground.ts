/**
 * The real kernel under one firewall's machine: its effects, the rules and one port of each network that was told that it
 * holds the table, what others take from it, and what has to be there after each step.
 *
 * Guarantees: what has to be there is a picture, by the kernel's own tools, of what a first raising makes, with these
 * networks; when nobody holds it, the kernel is as it was found. One way out of the host hears of its router
 * (accept_ra), so that every kind of switch is changed and put back.
 * Limits: while something that others took is not put back yet, nothing is said.
 */
import * as assert from 'uvu/assert';
import { lowerFirewall, raiseFirewall, readSwitches } from '../../effects/firewall.ts';
import { repairRuleset } from '../../effects/firewall-repair.ts';
import { Kernel } from '../../effects/kernel.ts';
import { networkRules, portElements, removeNetworkRules, type PublishedPort } from '../../effects/ruleset.ts';
import type { Standing } from '../../effects/ruleset-compare.ts';
import type { Switches, VerifyInput } from '../../machines/firewall.ts';
import type { NftOperation, Outside } from '../../native/index.ts';
import { driftPolicies } from '../../state/drift.ts';
import { factsOf } from './firewall-model.ts';
import { Pictures } from './kernel-facts.ts';
import type { AnySnapshot, Event } from './shared-driver.ts';

const TABLE = 'cleat';
const UPLINK = 'uplink';
const OWNERS = ['a', 'b'];

const rulesOf = (owner: string) => ({
  bridge: `cl-${owner}`,
  subnets: [{ cidr: owner === 'a' ? '10.89.0.0/24' : 'fd00:89::/64' }],
  internal: false,
  isolate: owner === 'a' ? ('strict' as const) : ('open' as const),
  masquerade: true,
});
const portOf = (owner: string): PublishedPort => ({
  protocol: 'tcp',
  hostIp: owner === 'a' ? '127.0.0.1' : '',
  hostPort: 8080,
  address: owner === 'a' ? '10.89.0.2' : 'fd00:89::2',
  containerPort: 80,
  owner: `${owner}:1`,
});

/** What others do to the table: to be put back. */
const DAMAGES: NftOperation[][] = [
  [{ op: 'table.del', table: TABLE }],
  [{ op: 'chain.flush', table: TABLE, chain: 'forward' }],
  [{ op: 'chain.flush', table: TABLE, chain: 'to-cl-a' }],
  portElements(TABLE, [portOf('a')]).remove,
  [
    { op: 'chain.flush', table: TABLE, chain: 'prerouting' },
    { op: 'chain.del', table: TABLE, chain: 'prerouting' },
  ],
];

export class FirewallGround {
  readonly pictures = new Pictures();
  readonly #kernel = new Kernel({ name: 'main', table: TABLE, group: 0x4c1e_a700, doomedGroup: 0x4c1e_a701 });
  readonly #native: Outside = this.#kernel.outside(null).kernel;
  readonly #repair = repairRuleset(this.#kernel, () => this.#standing(), driftPolicies([]));

  #table = false;
  readonly #networks = new Set<string>();
  /** Others took something, and nobody has put it back. */
  #damaged = false;
  #damages = 0;

  async prepare(): Promise<void> {
    await this.#native.rtnl([{ op: 'link.add', kind: 'ifb', name: UPLINK }]);
    await this.#native.sysctlWrite({ 'net/ipv4/ip_forward': '0', [`net/ipv6/conf/${UPLINK}/accept_ra`]: '1' });
    this.pictures.take(this.#title());
    for (const owners of [[], ['a'], ['b'], ['a', 'b']]) {
      const found = await this.begin(owners, true);
      const title = this.#title();
      this.pictures.take(title);
      for (const on of ['ipv4/ip_forward:1', `ipv6/conf/${UPLINK}/accept_ra:2`])
        assert.ok(this.pictures.has(title, on), `not raised: ${on}`);
      for (const owner of owners) await this.#leave(owner);
      await this.happens('lowerFirewall', 'done', { outside: null, found });
    }
  }

  async end(): Promise<void> {
    await this.#native.rtnl([{ op: 'link.del', name: UPLINK }]);
  }

  /** What an earlier daemon has left; returns what it had found. */
  async begin(owners: readonly string[], table: boolean): Promise<Switches | null> {
    this.pictures.touched();
    if (!table) return null;
    const found = await readSwitches(this.#kernel)({ outside: null });
    await this.happens('raiseFirewall', 'done', { outside: null, found });
    for (const owner of owners) await this.#join(owner);
    return found;
  }

  async happens(id: string, how: string, input: unknown): Promise<unknown> {
    if (how === 'failed' || id === 'backOff') return undefined;
    this.pictures.touched();
    if (id === 'readSwitches') return readSwitches(this.#kernel)({ outside: null });
    const output = await this.#change(id, input);
    this.#damaged = false;
    return output;
  }

  async #change(id: string, input: unknown): Promise<unknown> {
    const of = input as { outside: null; found: Switches | null };
    if (id === 'repairRuleset') return this.#repair(input as VerifyInput);
    if (id === 'raiseFirewall') await raiseFirewall(this.#kernel)(of);
    if (id === 'lowerFirewall') await lowerFirewall(this.#kernel)(of);
    this.#table = id === 'raiseFirewall';
    return undefined;
  }

  /** What others do before they say so. */
  async before(event: Event, state: AnySnapshot): Promise<void> {
    if (event.type === 'release') await this.#leave(String(event['owner']));
    if (event.type !== 'verify' || (state.value !== 'up' && state.value !== 'verifyFailed')) return;
    const damage = DAMAGES[this.#damages++ % DAMAGES.length] ?? [];
    // Of what is not there nothing can be taken.
    await this.#native.nft(damage).catch(() => {});
    this.#damaged = true;
    this.pictures.touched();
  }

  async look(state: AnySnapshot): Promise<string[]> {
    const { holders, waiting } = factsOf(state);
    const objections: string[] = [];
    const up = state.value === 'up';
    if (up && !this.#table) objections.push('it is up, and there is no table');
    if (state.value === 'down' && this.#table) objections.push('it is down, and there is a table');
    if (up || !this.#damaged) objections.push(...(await this.pictures.compare(this.#title())));
    // Told that they hold it, they make their rules.
    const told = holders.filter((owner) => !waiting.some((one) => one.owner === owner));
    for (const owner of told) if (!this.#networks.has(owner)) await this.#join(owner);
    return objections;
  }

  #title(): string {
    return this.#table ? `the table with ${[...this.#networks].sort().join()}` : 'nothing';
  }

  #standing(): Standing {
    const networks = OWNERS.filter((owner) => this.#networks.has(owner));
    return {
      networks: networks.map((owner) => ({ network: owner, rules: rulesOf(owner) })),
      ports: networks.map(portOf),
    };
  }

  async #join(owner: string): Promise<void> {
    await this.#native.nft([...networkRules(TABLE, rulesOf(owner)), ...portElements(TABLE, [portOf(owner)]).add]);
    this.#networks.add(owner);
    this.pictures.touched();
  }

  async #leave(owner: string): Promise<void> {
    if (!this.#networks.delete(owner)) return;
    const rules = [...portElements(TABLE, [portOf(owner)]).remove, ...removeNetworkRules(TABLE, rulesOf(owner))];
    // As in lowerNetwork: the table may be gone, and these with it.
    await this.#native.nft(rules).catch((error: { code?: string }) => {
      if (error.code !== 'ENOENT') throw error;
    });
    this.pictures.touched();
  }
}

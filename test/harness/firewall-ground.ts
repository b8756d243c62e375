/**
 * The real kernel under one firewall's machine: its effects, the rules and one port of each network that holds the
 * table, removals by others, and the expected state after each step.
 *
 * Guarantees: the expected state is a picture, by the kernel's own tools, of a first raising with these networks; when
 * nobody holds the table, the kernel is as it was found. One uplink of the host accepts its router's advertisements
 * (accept_ra), so that every kind of switch is changed and restored.
 * Limits: while a removal by others is not repaired yet, nothing is compared.
 */
import * as assert from 'uvu/assert';
import { lowerFirewall, raiseFirewall, readSwitches, restoreSwitches } from '../../effects/firewall/firewall.ts';
import { repairRuleset } from '../../effects/firewall/firewall-repair.ts';
import { testKernel } from './kernel.ts';
import type { PublishedPort } from '../../effects/ruleset/ruleset-inputs.ts';
import { networkRules, portElements, removeNetworkRules } from '../../effects/ruleset/ruleset.ts';
import type { Standing } from '../../effects/ruleset/ruleset-compare.ts';
import { NO_REPLIES } from '../../effects/ruleset/ruleset-replies.ts';
import { uplinkGuard } from '../../service/outsides/uplink-guard.ts';
import { forwardIpv6 } from '../../effects/namespaces/forwarding.ts';
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
  subnets: [
    owner === 'a' ? { cidr: '10.89.0.0/24', gateway: '10.89.0.1' } : { cidr: 'fd00:89::/64', gateway: 'fd00:89::1' },
  ],
  dns: owner === 'a',
  internal: false,
  isolate: owner === 'a' ? ('strict' as const) : ('open' as const),
  masquerade: true,
  outbound: [],
});
const portOf = (owner: string): PublishedPort => ({
  protocol: 'tcp',
  hostIp: owner === 'a' ? '127.0.0.1' : '',
  hostPort: 8080,
  address: owner === 'a' ? '10.89.0.2' : 'fd00:89::2',
  containerPort: 80,
  owner: `${owner}:1`,
});

/** Changes of the table by others, which must be reverted. */
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
  readonly #kernel = testKernel(TABLE);
  readonly #native: Outside = this.#kernel.outside(null).kernel;
  readonly #repair = repairRuleset(
    this.#kernel,
    () => this.#standing(),
    driftPolicies([]),
    () => false,
  );

  #table = false;
  /** True for networks; uplinks hold the table without it. */
  #forwarding = false;
  readonly #networks = new Set<string>();
  /** True while a removal by others is not repaired. */
  #damaged = false;
  #damages = 0;

  async prepare(): Promise<void> {
    await this.#native.rtnl([{ op: 'link.add', kind: 'ifb', name: UPLINK }]);
    await this.#native.sysctlWrite({ 'net/ipv4/ip_forward': '0', [`net/ipv6/conf/${UPLINK}/accept_ra`]: '1' });
    await this.pictures.take(this.#title());
    await this.happens('raiseFirewall', 'done', { outside: null, found: null });
    await this.pictures.take(this.#title());
    await this.happens('lowerFirewall', 'done', { outside: null, found: null });
    for (const owners of [[], ['a'], ['b'], ['a', 'b']]) {
      const found = await this.begin(owners, true, true);
      const title = this.#title();
      await this.pictures.take(title);
      for (const on of ['ipv4/ip_forward:1', `ipv6/conf/${UPLINK}/accept_ra:2`])
        assert.ok(this.pictures.has(title, on), `not raised: ${on}`);
      for (const owner of owners) await this.#leave(owner);
      await this.happens('lowerFirewall', 'done', { outside: null, found });
    }
  }

  async end(): Promise<void> {
    await this.#native.rtnl([{ op: 'link.del', name: UPLINK }]);
  }

  /** Makes what an earlier daemon has left; returns what it had found. */
  async begin(owners: readonly string[], table: boolean, forwarding: boolean): Promise<Switches | null> {
    this.pictures.touched();
    if (!table) return null;
    const found = forwarding ? await readSwitches(this.#kernel)({ outside: null }) : null;
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
    if (id === 'raiseFirewall') {
      await raiseFirewall(this.#kernel, () => false, uplinkGuard)(of);
      // As the first network with IPv6 does.
      if (of.found !== null) await forwardIpv6(this.#native);
    }
    if (id === 'restoreSwitches') await restoreSwitches(this.#kernel, uplinkGuard)(of);
    if (id === 'lowerFirewall') await lowerFirewall(this.#kernel)(of);
    this.#table = id !== 'lowerFirewall';
    this.#forwarding = id === 'raiseFirewall' && of.found !== null;
    return undefined;
  }

  /** Changes by others before their notification. */
  async before(event: Event, state: AnySnapshot): Promise<void> {
    if (event.type === 'release') await this.#leave(String(event['owner']));
    if (event.type !== 'verify' || (state.value !== 'up' && state.value !== 'verifyFailed')) return;
    const damage = DAMAGES[this.#damages++ % DAMAGES.length] ?? [];
    // A missing object cannot be removed.
    await this.#native.nft(damage).catch(() => {});
    if (this.#forwarding && this.#damages % 2 === 0) {
      await this.#native.sysctlWrite({ 'net/ipv4/ip_forward': '0', 'net/ipv6/conf/all/forwarding': '0' });
    }
    this.#damaged = true;
    this.pictures.touched();
  }

  async look(state: AnySnapshot): Promise<string[]> {
    const { holders, waiting } = factsOf(state);
    const objections: string[] = [];
    const up = state.value === 'up';
    if (up && !this.#table) objections.push('it is up, and there is no table');
    if (state.value === 'down' && this.#table) objections.push('it is down, and there is a table');
    // A refused network holds the table no longer, and its machine removes the present rules (network.ts).
    for (const owner of this.#networks) if (!holders.includes(owner)) await this.#leave(owner);
    if (up || !this.#damaged) objections.push(...(await this.pictures.compare(this.#title())));
    // Networks that got `held` make their rules.
    const told = holders.filter((owner) => !waiting.some((one) => one.owner === owner));
    for (const owner of told) if (!this.#networks.has(owner)) await this.#join(owner);
    return objections;
  }

  #title(): string {
    const networks = this.#forwarding ? `with ${[...this.#networks].sort().join()}` : 'alone';
    return this.#table ? `the table ${networks}` : 'nothing';
  }

  #standing(): Omit<Standing, 'closed'> {
    const networks = OWNERS.filter((owner) => this.#networks.has(owner));
    return {
      networks: networks.map((owner) => ({ network: owner, rules: rulesOf(owner) })),
      ports: networks.map(portOf),
      guard: uplinkGuard(),
      replies: NO_REPLIES,
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

/**
 * The world of strings with the real kernel beside it: each effect is the real one, and the strings follow it.
 *
 * Guarantees: everything that containers need (firewall table, bridges, joined namespaces) really exists, and a
 * neighbour with its record, whose ports are taken over and whose namespace is shared. After every step the auditor of
 * the daemon (service/audit/audit.ts) reads kernel, mounts and the container's present record: nothing exists that no record
 * names, and at rest nothing is missing, addresses and routes inside included.
 * Limits: the outer publisher and the resolver stay strings. One ground at a time in a network and mount namespace.
 */
import { NO_SCOPES } from './effects.ts';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createActor } from 'xstate';
import { ensureAddresses } from '../../effects/links/address.ts';
import { lowerNetwork, raiseNetwork } from '../../effects/links/bridge.ts';
import { etcEffects } from '../../effects/names/etc.ts';
import { lowerFirewall, raiseFirewall, readSwitches } from '../../effects/firewall/firewall.ts';
import { awaitLinksGone, ensureLink, removeLink } from '../../effects/links/link.ts';
import { ensureNamespace, removeNamespace, type Taking } from '../../effects/namespaces/netns.ts';
import { publish, unpublish } from '../../effects/ports/port-handlers.ts';
import { replaceLink, reviseLink } from '../../effects/links/relink.ts';
import { uplinkEffects } from '../../effects/uplinks/uplink.ts';
import { findUplink } from '../../effects/uplinks/uplink-keeper.ts';
import { containerMachine } from '../../machines/container/container.ts';
import type { Switches } from '../../machines/firewall.ts';
import { planAttachments } from '../../plan/containers/attachment.ts';
import type { OwnedTarget } from '../../plan/containers/change.ts';
import { compareOutside } from '../../plan/kernel/expected.ts';
import { hostsFile } from '../../plan/containers/hosts.ts';
import { bridgeMac, knownInside } from '../../plan/addresses/neighbours.ts';
import { resolvConf } from '../../plan/containers/resolv-conf.ts';
import { audit } from '../../service/audit/audit.ts';
import { differencesInside, insideOf, lookInside } from '../../service/watch/inside-look.ts';
import type { RtnlRequest } from '../../native/index.ts';
import type { ContainerContext } from '../../state/container.ts';
import { nameOf, type Snapshot } from './container-model.ts';
import { GIVER, GIVER_ADDRESS, NEIGHBOUR_PATH, OUTSIDER_PATH, P1, P2 } from './container-variants.ts';
import { containerInput, definition, leaseOf, resolve } from './fixtures.ts';
import { ended } from './inside.ts';
import { testKernel } from './kernel.ts';
import { built } from './native.ts';
import { World } from './world.ts';
import { uplinkGuard } from '../../service/outsides/uplink-guard.ts';

const NETWORKS = ['web', 'back', 'inner'].map((name, n) =>
  definition(name, `10.89.${n}.0/24`, `10.89.${n}.1`, { internal: name === 'inner' }),
);
const NETNS_DIR = dirname(NEIGHBOUR_PATH);
const JOINED = [NEIGHBOUR_PATH, OUTSIDER_PATH];

/** The host's route and name server, for user-mode programs. */
const WAY_OUT: RtnlRequest[] = [
  { op: 'link.add', kind: 'ifb', name: 'wayout', up: true },
  { op: 'address.add', link: 'wayout', address: '192.0.2.1', prefix: 24 },
  { op: 'route.add', destination: '0.0.0.0', prefix: 0, gateway: '192.0.2.254', link: 'wayout' },
];

type Effect = (input: never) => Promise<unknown>;

const unprepared: Taking = (use) => use(null);

/** The objects that a container needs: raised once, for several worlds in turn. */
export class Ground {
  readonly kernel = testKernel();
  readonly hands: Record<string, Effect>;
  readonly #home = mkdtempSync('/run/ground-');
  readonly #places = { runDir: `${this.#home}/run`, stateDir: `${this.#home}/state`, netnsDir: NETNS_DIR };
  #found: Switches = {};
  /** The parent of the uplinks' directories. */
  get uplinks(): string {
    return `${this.#places.runDir}/uplinks`;
  }

  /** The number of audits. */
  looks = 0;

  constructor() {
    const { kernel } = this;
    const places = {
      uplinks: this.uplinks,
      forwarder: {
        directory: `${this.#places.runDir}/forwarder`,
        executable: built('cleat-forwarder'),
        scopes: NO_SCOPES,
      },
    };
    const { ensureFiles, removeFiles } = etcEffects({ runDir: this.#places.runDir, resolvConf, hostsFile });
    this.hands = {
      ensureNamespace: ensureNamespace(kernel, unprepared),
      removeNamespace: removeNamespace(kernel),
      ensureLink: ensureLink(kernel),
      ensureAddresses: ensureAddresses(kernel, knownInside),
      replaceLink: replaceLink(kernel, knownInside),
      reviseLink: reviseLink(kernel, knownInside),
      removeLink: removeLink(kernel),
      ...uplinkEffects(kernel, this.uplinks, () => Promise.resolve(), NO_SCOPES),
      publish: publish(kernel, places, () => []),
      unpublish: unpublish(kernel, places),
      awaitLinksGone: awaitLinksGone(kernel),
      ensureFiles,
      removeFiles,
    };
  }

  async raise(): Promise<void> {
    const { kernel } = this;
    for (const path of [...JOINED.map(dirname), `${this.#places.runDir}/containers`])
      mkdirSync(path, { recursive: true });
    mkdirSync(`${this.#places.stateDir}/networks`, { recursive: true });
    this.#found = await readSwitches(kernel)({ outside: null });
    await raiseFirewall(kernel, () => false, uplinkGuard)({ outside: null, found: this.#found });
    for (const network of NETWORKS) {
      await raiseNetwork(kernel)({ definition: network, mac: bridgeMac(network.id), outside: null });
      writeFileSync(`${this.#places.stateDir}/networks/${network.name}.json`, JSON.stringify(network));
    }
    for (const path of JOINED)
      await ensureNamespace(kernel, unprepared)({ owner: GIVER, outside: null, path, source: { mode: 'new' } });
    await kernel.outside(null).kernel.rtnl(WAY_OUT);
    // Not at rest: its objects may exist or not.
    this.record({ value: 'publishing', context: neighbour() });
  }

  async lower(): Promise<void> {
    const { kernel } = this;
    for (const path of JOINED)
      await removeNamespace(kernel)({ owner: GIVER, outside: null, path, source: { mode: 'new' } });
    for (const network of NETWORKS) {
      await lowerNetwork(kernel)({ definition: network, mac: bridgeMac(network.id), outside: null });
    }
    await kernel.outside(null).kernel.rtnl([{ op: 'link.del', name: 'wayout' }]);
    await lowerFirewall(kernel)({ outside: null, found: this.#found });
    rmSync(this.#home, { recursive: true });
  }

  record({ value, context }: { value: unknown; context: ContainerContext }): void {
    writeFileSync(this.#recordOf(context), JSON.stringify({ snapshot: { value, context } }));
  }

  forget(context: ContainerContext): void {
    rmSync(this.#recordOf(context), { force: true });
  }

  #recordOf({ id }: ContainerContext): string {
    return join(this.#places.runDir, 'containers', `${id}.json`);
  }

  /** Each finding of the auditor as a line. */
  async findings(): Promise<string[]> {
    this.looks++;
    const { findings } = await audit(this.kernel, this.#places);
    // Names are answered by the world of strings: there is no server.
    const ours = findings.filter(({ kind }) => kind !== 'dns');
    return ours.map(({ kind, object, problem, owner = '' }) => `${problem}: ${kind} ${object} ${owner}`);
  }

  /** The differences of a container's attachments. */
  async differences(context: ContainerContext): Promise<string[]> {
    const look = await lookInside(this.kernel, context, insideOf(context));
    if (look === null) return [];
    if (!('seen' in look)) return [`${look.path}: ${look.why}`];
    const outside = compareOutside(context.attachments, await this.kernel.outside(null).kernel.links());
    return [...differencesInside(context.attachments, look.seen), ...outside].map((one) => JSON.stringify(one));
  }
}

/** It is on every network, so that none is without a user, and has every port that is ever taken over. */
function neighbour(): ContainerContext {
  const [id = '', generation = ''] = GIVER.split(':');
  const input = containerInput({
    id,
    owner: GIVER,
    generation: Number(generation),
    token: 'f'.repeat(32),
    netns: { path: NEIGHBOUR_PATH, owned: true, from: null, of: null },
  });
  const { context } = createActor(containerMachine, { input }).getSnapshot();
  const leases = NETWORKS.map(({ name }) => {
    const [of] = leaseOf(name).addresses;
    const address = name === 'web' ? GIVER_ADDRESS : `${of?.address}00`;
    return { ...leaseOf(name), addresses: [{ prefix: 24, gateway: null, ...of, address }] };
  });
  const planned = planAttachments(context, leases, {}, []);
  if ('fault' in planned) throw new Error(planned.fault.message);
  return { ...context, ...planned, ports: [resolve(P1), resolve(P2)] };
}

/** One container's kernel, from before its first effect until after its last. */
export class KernelWorld extends World {
  readonly #ground: Ground;
  /** The kernel at the last audit; null once an effect has begun. */
  #seen: Snapshot | null = null;

  constructor(ground: Ground) {
    super(false);
    this.#ground = ground;
    for (const [name, real] of Object.entries(ground.hands)) {
      const strings = this.effects[name];
      this.effects[name] = async (input: never) => {
        this.#seen = null;
        const output = await real(input);
        strings?.(input);
        return output;
      };
    }
  }

  override async lose(names: readonly string[]): Promise<void> {
    await super.lose(names);
    const { kernel } = this.#ground.kernel.outside(null);
    if (names.length > 0) await kernel.rtnl(names.map((name) => ({ op: 'link.del', name })));
  }

  override async end(key: string): Promise<void> {
    await super.end(key);
    const { state, child = null } = findUplink(`${this.#ground.uplinks}/${key}`) ?? {};
    if (state !== 'ready' || child === null) return;
    process.kill(child.pid, 'SIGKILL');
    await ended(child.pid);
  }

  override async lend(targets: readonly OwnedTarget[]): Promise<void> {
    await super.lend(targets);
    await this.#ground.hands['publish']?.({ outside: null, targets, replacing: [] } as never);
  }

  override async reclaim(targets: readonly OwnedTarget[]): Promise<void> {
    await super.reclaim(targets);
    await this.#ground.hands['unpublish']?.({ outside: null, targets: [], replacing: targets } as never);
  }

  override async audit(state: Snapshot): Promise<string[]> {
    if (state === this.#seen) return [];
    this.#seen = state;
    const { context } = state;
    if (state.status === 'active') this.#ground.record(state);
    else this.#ground.forget(context);
    const found = await this.#ground.findings();
    // A degraded container knows that something is missing.
    const wrong = state.value === 'degraded' ? found.filter((line) => !line.startsWith('missing: ')) : found;
    const different = state.value === 'up' ? await this.#ground.differences(context) : [];
    return [...wrong, ...different].map((what) => `${nameOf(state)}: in the kernel ${what}`);
  }
}

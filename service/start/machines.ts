/**
 * The second step of a start: builds everything that will run, each part from the parts before it.
 *
 * Guarantees: nothing runs yet, and nothing is read from the kernel: no machine is started, and no watch listens.
 * Limits: the shared machines get the directory in which they are found while it is being built (`Shared`).
 */
import { join } from 'node:path';
import type { AnyActorRef } from 'xstate';
import type { EffectRunner, Moment, Verb } from '../../effects/effect.ts';
import { Gateway } from '../../effects/etcd/gateway.ts';
import { Store } from '../../effects/etcd/store.ts';
import { ExternalPrograms } from '../../effects/external/external.ts';
import { PluginSandbox } from '../../effects/external/sandbox.ts';
import { termsOf } from '../../effects/external/terms.ts';
import { managerSocket, Scopes } from '../../effects/processes/scopes.ts';
import { etcEffects, rootlessResolvConf, rootlessServers } from '../../effects/names/etc.ts';
import { wayOutHome } from '../../effects/uplinks/uplink-keeper.ts';
import { built } from '../../native/index.ts';
import type { NetnsIdentity } from '../../native/index.ts';
import type { Fault } from '../../state/faults.ts';
import { conflist } from '../../state/external.ts';
import { hostsFile } from '../../plan/containers/hosts.ts';
import { resolvConf } from '../../plan/containers/resolv-conf.ts';
import { provideContainer, providePrepared, provideShared } from '../actors.ts';
import { Containers } from '../containers/containers.ts';
import { Roster } from '../containers/roster.ts';
import { MachineStates } from '../notifications/machine-states.ts';
import { Recent } from '../notifications/recent.ts';
import { Attachments } from '../fronts/attachments.ts';
import { HostLinks } from '../fronts/host-links.ts';
import { EngineNetworks } from '../fronts/engine-networks.ts';
import { Metrics } from '../metrics/metrics.ts';
import { Networks } from '../networks/networks.ts';
import { Overlays } from '../overlay/overlays.ts';
import { PreparedNamespaces } from '../outsides/prepared-namespaces.ts';
import { Shared } from '../outsides/shared.ts';
import { Plans } from '../plans/plans.ts';
import { failpoint } from '../records/failpoint.ts';
import { OutsideRelease } from '../watch/outside-release.ts';
import type { Traces } from '../traces/traces.ts';
import type { OpenState } from './open-state.ts';

export type Machines = ReturnType<typeof buildMachines>;

/** Where this daemon runs: nobody else has all of it at once, and a daemon that is started again has the same. */
const placeOf = (bootId: string, { dev, ino }: NetnsIdentity, instance: string): string =>
  `${bootId} ${dev}:${ino} ${instance}`;

export function buildMachines(state: OpenState, traces: Traces | null) {
  const { options, kernel, definitions, instance, bootId, exposed, failed } = state;
  const { runDir } = options;
  const scopes = new Scopes(managerSocket(), failed);
  kernel.scopes = scopes;
  const roster = new Roster();
  const metrics = new Metrics(roster);
  const recent = new Recent(state.run, roster.bus);
  const machineStates = new MachineStates(roster.bus);
  const reached = traces?.reached.bind(traces);
  const observed = traces?.actors.bind(traces);
  const outsideRunner: EffectRunner = {
    failpoint,
    commit: (root: AnyActorRef) => state.outsideStore.commit(root.id),
    reached,
  };
  const { rootless } = options;
  const rootlessHome = wayOutHome(runDir);
  const way =
    rootless === null
      ? null
      : { settings: rootless.uplink, netns: rootless.outside, directory: join(rootlessHome, 'uplink') };
  const shared = new Shared({
    machines: (directory) =>
      provideShared(
        outsideRunner,
        kernel,
        directory,
        {
          runDir,
          containers: roster,
          record: (definition) => definitions.record(definition),
          policies: options.drift,
          forwardOthers: options.forwardOthers,
          rootlessHome,
          scopes,
          servers: (outside) => (outside === null && way !== null ? rootlessServers(way.settings) : null),
        },
        observed,
      ),
    definitions: definitions.byName,
    previous: new Map(state.previous.map((definition) => [definition.name, definition])),
    containers: () => roster.all().map(({ context }) => context),
    store: state.outsideStore,
    peers: state.peers,
    bootId,
    failed,
    identityOf: (outside) => (kernel.isOpen(outside) ? kernel.outside(outside).kernel.identity() : undefined),
    watch: (machine) => {
      metrics.watch(machine);
      machineStates.watch(machine);
      traces?.watch(machine);
      if (isResolver(machine)) onNames(machine, () => overlays.renamed());
    },
    rootless: way,
  });
  const terms = termsOf({ ...options.externals, config: join(runDir, 'netavark') }, conflist);
  const sandbox =
    rootless === null
      ? null
      : new PluginSandbox({
          directory: rootless.sandbox,
          launcher: built('cleat-sandbox'),
          resolvConf: () => rootlessResolvConf(rootless.uplink),
        });
  const { patienceMs } = options.externals;
  const externals = new ExternalPrograms(kernel, patienceMs, join(runDir, 'spares'), join(runDir, 'given'), sandbox);
  const overlays = new Overlays({
    etcd: options.etcd === null ? null : { ...options.etcd, store: new Store(new Gateway(options.etcd)) },
    identity: state.identity,
    keys: state.keys,
    place: placeOf(bootId, kernel.outside(null).kernel.identity(), instance.name),
    definitions,
    renumber: (name, shares, overlay) => networks.renumber(name, shares, overlay),
    setPeers: (name, peers) => shared.setPeers(name, peers),
    names: () => shared.names(null),
    setNames: (name, entries) => shared.setRemoteNames(name, entries),
    watch: (machine) => machineStates.watch(machine),
    failed,
    told: (what, text) => options.log.info({ what }, `${what}: ${text}`),
  });
  shared.refusedBy((name) => overlays.refusal(name));
  const networks: Networks = new Networks({
    overlays,
    termsOf: terms,
    definitions,
    shared,
    kernel,
    announce: (notification) => void roster.bus.emit('notification', notification),
    pools: options.subnetPools,
    departures: (owners) => roster.neighbours.departures(({ owner }) => owners.includes(owner)),
    bridgePrefix: instance.name === 'main' ? 'cleat' : `cleat${instance.name.slice(0, 4)}-`,
  });
  const outsides = new OutsideRelease({ kernel, containers: roster, shared, failed });

  const containerRunner: EffectRunner = {
    failpoint,
    commit: (root: AnyActorRef, verb: Verb) =>
      verb === 'add' && roster.namesAreDurable(root) ? Promise.resolve() : state.containerStore.commit(root.id),
    reached: (effect: AnyActorRef, moment: Moment) => {
      if (moment === 'disk') roster.bodies.set(effect, performance.now());
      reached?.(effect, moment);
    },
  };
  const etc = etcEffects({ runDir, resolvConf, hostsFile, wayOut: way?.settings ?? null });
  const places = {
    uplinks: join(runDir, 'uplinks'),
    rootless: join(rootlessHome, 'uplink'),
    forwarder: {
      directory: join(runDir, 'forwarder'),
      executable: built('cleat-forwarder'),
      limits: options.forwarderLimits,
      scopes,
    },
  };
  const ended = (effect: string, ms: number, fault: Fault | null) => void roster.bus.emit('effect', effect, ms, fault);
  const prepared = new PreparedNamespaces(providePrepared(kernel, ended), options.preparedNamespaces, failed);
  const taking = prepared.taking.bind(prepared);
  const own = { ...etc, exposed, places, neighbours: roster.neighbours, externals, termsOf: terms, scopes, taking };
  const machine = provideContainer(containerRunner, kernel, shared, own, observed);
  const containers = new Containers({
    roster,
    machine,
    store: state.containerStore,
    journal: state.journal,
    bootId,
    instance: instance.name,
    netnsDir: options.netnsDir,
    networkName: (text) => networks.get(text).name,
    outsideName: (path) => kernel.nameOf(path),
    outsideReady: (path) => outsides.ready(path),
    publisher: state.publisher,
    uplinks: options.uplinks,
    rootless: rootless !== null,
    limits: options.limits,
    reclaim: (context) => shared.reclaim(context),
    failed,
  });
  const { neighbours } = roster;
  const plans = new Plans({ machine, shared, neighbours, kernel, containers, networks, termsOf: terms });
  const engineNetworks = new EngineNetworks({ networks, containers, failed });
  const hostLinks = new HostLinks({
    containers,
    exists: async (name) => (await kernel.outside(null).kernel.link(name)) !== null,
  });
  const attachments = new Attachments({ containers, networks: engineNetworks, hostLinks });
  const fronts = { engineNetworks, attachments };
  return {
    roster,
    metrics,
    recent,
    shared,
    networks,
    overlays,
    ...fronts,
    outsides,
    prepared,
    machine,
    containers,
    plans,
    etc,
    sandbox,
    places,
    scopes,
  };
}

const isResolver = (machine: AnyActorRef): boolean =>
  (machine as AnyActorRef & { logic: { id?: string } }).logic.id === 'resolver';

/** Calls back when the names of a resolver are others. Who replaces it after a defect hears of that by itself. */
function onNames(resolver: AnyActorRef, changed: () => void): void {
  let known: unknown = null;
  const look = ({ context: { names } }: { context: { names: unknown } }) => {
    if (names === known) return;
    known = names;
    changed();
  };
  resolver.subscribe({ next: look as (snapshot: unknown) => void, error: () => {} });
}

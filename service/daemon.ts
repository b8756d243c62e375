/**
 * The daemon put together: machines to effects, effects to the kernel, state to disk, all of it to the socket.
 *
 * Guarantees: one daemon per pair of directories (locks), and nobody else writes to them; everything that a snapshot speaks of is running again before
 * the socket answers; a stop leaves every container as it is.
 * Limits: a failure before the socket answers ends the start with a fault.
 *
 *   <run-dir>    0751  cleat.sock (0660), lock, containers/, outsides/, journal/, dns/, etc/
 *   <state-dir>  0700  lock, networks/, exposed.json
 */
import { chmodSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { AnyActorRef } from 'xstate';
import type { EffectRunner, Verb } from '../effects/effect.ts';
import { ESSENTIAL, lacking, listed } from '../effects/capabilities.ts';
import { Kernel } from '../effects/kernel.ts';
import { etcEffects, RESOLV_CONF } from '../effects/etc.ts';
import { uplinkUsers } from '../effects/uplink-users.ts';
import { hostsFile } from '../machines/plan/hosts.ts';
import { resolvConf } from '../machines/plan/resolv-conf.ts';
import { isKernelError, lockFile } from '../native/index.ts';
import { DefinitionStore } from '../state/definitions.ts';
import type { DriftPolicies } from '../state/drift.ts';
import type { ContainerContext } from '../state/container.ts';
import { ExposedStore } from '../state/exposed.ts';
import { FaultError } from '../state/faults.ts';
import type { ForwarderLimits } from '../state/forwarder.ts';
import { Journal } from '../state/journal.ts';
import type { Limits } from '../state/limits.ts';
import { PublisherUrl } from '../state/names.ts';
import type { NetworkDefinition, SubnetPool } from '../state/network.ts';
import { SnapshotStore } from '../state/store.ts';
import { createApi } from './api.ts';
import { ConntrackWatch } from './conntrack-watch.ts';
import { ContainerFiles } from './container-files.ts';
import { Containers } from './containers.ts';
import { doctor } from './doctor.ts';
import { driftChecks } from './drift-checks.ts';
import type { DriftNotification, LimitedNotification, RepairedNotification } from '../state/notification.ts';
import { DriftWatch } from './drift.ts';
import { failpoint } from './failpoint.ts';
import { FirewalldWatch } from './firewalld-watch.ts';
import { ForwarderWatch } from './forwarder-watch.ts';
import { HelperWatch } from './helper-watch.ts';
import { inspect, inspectSnapshot } from './inspect.ts';
import { instanceOf } from './instance.ts';
import type { Log } from './log.ts';
import { logChecks, logNotifications } from './log-notifications.ts';
import { NeighbourWatch } from './neighbour-watch.ts';
import { Networks } from './networks.ts';
import { OutsideRelease, recognise } from './outside-release.ts';
import { Publishing } from './publisher.ts';
import { recover } from './recovery.ts';
import { auditing } from './repair.ts';
import { ReplyWatch } from './reply-watch.ts';
import { FileWatch } from './resolv-watch.ts';
import { provideContainer, provideShared } from './actors.ts';
import type { UplinkPrograms } from './uplink-request.ts';
import { UplinkWatch } from './uplink-watch.ts';
import { Shared, type SharedMachines } from './shared.ts';
import { stateName, type ContainerSnapshot } from './snapshot.ts';
import { statsOf, statsOfAll } from './stats.ts';
import { containerView } from './view.ts';
import { WayOutWatch } from './way-out-watch.ts';

export interface DaemonOptions {
  runDir: string;
  stateDir: string;
  netnsDir: string;
  socket: string;
  /** The API of whoever publishes ports one machine further out (gvproxy), null for nobody. */
  publisher: string | null;
  /** What is done about each kind of drift. */
  drift: DriftPolicies;
  /** Forward between other interfaces too where the host did not before its first network. */
  forwardOthers: boolean;
  /** Of each program for user-mode networking: where it is, and options that come before a container's own. */
  uplinks: UplinkPrograms;
  limits: Limits;
  /** Limits of each container's use of the forwarder. */
  forwarderLimits: Partial<ForwarderLimits>;
  /** Where subnets come from that nobody chose; none: the usual ones. */
  subnetPools: readonly SubnetPool[];
  log: Log;
}

const FORWARDER_PROGRAM = join(import.meta.dirname, '../../build/Release/cleat-forwarder');

/** How long a stop lets what is under way come to its end. */
const STOP_MS = 5000;

export interface Daemon {
  api: FastifyInstance;
  close(): Promise<void>;
}

export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { runDir, stateDir, netnsDir, socket, log } = options;
  const publisher = publisherOf(options.publisher);
  refuseSocketPath(socket);
  // The DNS servers run as another user and pass through this directory; everything in it that is not theirs is closed.
  ownDirectory(runDir, 0o751);
  if ((statSync(runDir).mode & 0o001) === 0) chmodSync(runDir, (statSync(runDir).mode & 0o7777) | 0o001);
  ownDirectory(stateDir, 0o700);
  // 0711: entered by name by those who know one (B17).
  ownDirectory(netnsDir, 0o711);
  for (const directory of [runDir, stateDir]) {
    if (!lockFile(join(directory, 'lock'))) {
      throw new FaultError('STATE_IN_USE', `another cleat daemon uses ${directory}`, { object: directory });
    }
  }

  refuseWithoutRights();
  uplinkUsers(); // throws when the users of slirp4netns and pasta are somebody else's
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const instance = instanceOf(stateDir);
  const failed = (what: string, error: unknown) =>
    log.error({ what, error }, `${what}: ${error instanceof Error ? error.message : String(error)}`);
  const kernel = new Kernel(instance, failed);
  enterOwnNamespace(kernel);
  const journal = new Journal(join(runDir, 'journal'), failpoint);
  const containerStore = new SnapshotStore(join(runDir, 'containers'), failpoint);
  const outsideStore = new SnapshotStore(join(runDir, 'outsides'), failpoint);
  const definitionStore = new DefinitionStore(join(stateDir, 'networks'), failpoint);
  const { definitions: known, previous, unreadable } = definitionStore.load();
  const exposed = new ExposedStore(stateDir, failpoint);
  unreadable.push(...exposed.load().unreadable);
  const definitions = new Map<string, NetworkDefinition>(known.map((definition) => [definition.name, definition]));

  const machines: { shared: SharedMachines | null } = { shared: null };
  const shared = new Shared({
    machines: () => {
      if (machines.shared === null) throw new Error('asked for a machine before there are any');
      return machines.shared;
    },
    watcher: () => watch,
    definitions,
    previous: new Map(previous.map((definition) => [definition.name, definition])),
    containers: () => containers.all().map(({ context }) => context),
    store: outsideStore,
    bootId,
    failed,
    identityOf: (outside) => (kernel.isOpen(outside) ? kernel.outside(outside).kernel.identity() : undefined),
  });
  const containerRunner: EffectRunner = {
    failpoint,
    commit: (root: AnyActorRef, verb: Verb) =>
      verb === 'add' && containers.namesAreDurable(root) ? Promise.resolve() : containerStore.commit(root.id),
  };
  const outsideRunner: EffectRunner = { failpoint, commit: (root: AnyActorRef) => outsideStore.commit(root.id) };
  const etc = etcEffects({ runDir, resolvConf, hostsFile });
  const places = {
    uplinks: join(runDir, 'uplinks'),
    forwarder: {
      directory: join(runDir, 'forwarder'),
      executable: FORWARDER_PROGRAM,
      limits: options.forwarderLimits,
    },
  };
  const containerMachineProvided = provideContainer(containerRunner, kernel, shared, {
    ...etc,
    exposed,
    places,
    neighbours: () => containers.neighbours,
  });
  machines.shared = provideShared(outsideRunner, kernel, shared, {
    runDir,
    containers: () => containers,
    record: (definition) => networks.record(definition),
    policies: options.drift,
    forwardOthers: options.forwardOthers,
  });

  const containers: Containers = new Containers({
    machine: containerMachineProvided,
    store: containerStore,
    journal,
    bootId,
    instance: instance.name,
    netnsDir,
    networkName: (text) => networks.get(text).name,
    outsideName: (path) => kernel.nameOf(path),
    outsideReady: (path) => outsides.ready(path),
    publisher,
    uplinks: options.uplinks,
    limits: options.limits,
    reclaim: (context) => shared.reclaim(context),
    failed,
  });
  const networks = new Networks({
    definitions,
    store: definitionStore,
    shared,
    kernel,
    log,
    pools: options.subnetPools,
    departures: (owners) => containers.neighbours.departures(({ owner }) => owners.includes(owner)),
    bridgePrefix: instance.name === 'main' ? 'cleat' : `cleat${instance.name.slice(0, 4)}-`,
  });

  const announce = (notification: DriftNotification | RepairedNotification | LimitedNotification) => {
    const { t, type: event, id } = notification;
    const snapshot = id === null ? undefined : containers.get(id);
    if (id !== null && snapshot !== undefined) {
      const state = stateName(snapshot);
      journal.append(id, { t, machine: 'container', event, from: state, to: state, ms: 0 });
    }
    containers.bus.emit('notification', notification);
  };
  const watch: DriftWatch = new DriftWatch({ kernel, containers, shared, policies: options.drift, announce, failed });

  const watchParts = { containers, policies: options.drift, announce, failed };
  const uplinks = new UplinkWatch({ ...watchParts, home: places.uplinks, kernel });
  const forwarders = new ForwarderWatch({ ...watchParts, places: places.forwarder });

  const outsides = new OutsideRelease({ kernel, containers, shared, failed });
  const helpers = new HelperWatch({ runDir, kernel, shared, forwarders, uplinks, failed });
  const firewalld = new FirewalldWatch({ kernel, shared, failed });
  const waysOut: WayOutWatch = new WayOutWatch({ kernel, shared, failed });
  const replies = new ReplyWatch({ kernel, shared, failed });
  const owners = { kernel, containers, shared, announce, failed };
  const connections = new ConntrackWatch({ ...owners, limit: options.limits['tracked-per-container'] });
  const neighbours = new NeighbourWatch({ ...owners, limit: options.limits['neighbours-per-container'] });

  logNotifications(containers, log);
  const publishing = new Publishing({ publisher, ledger: exposed, log });
  const recovered = recover({ store: containerStore, journal, machine: containerMachineProvided, bootId });
  const contexts = recovered.containers.map(({ context }) => context);
  await recognise(kernel, shared.records(), recovered.containers, failed);
  // Before the machines start: what they would think of as changed otherwise is not.
  await waysOut.look(new Set([null, ...contexts.map(({ outside }) => outside)]));
  recovered.unreadable.push(...shared.recover(contexts));
  publishing.start(recovered.containers, recovered.stale).catch((error: unknown) => failed('outer publisher', error));
  for (const { id, snapshot } of recovered.containers) containers.restore(id, snapshot);
  containers.restored();
  await networks.ensureDefault();
  void networks.finish(previous.map(({ name }) => name)).catch((error: unknown) => failed('update of networks', error));
  const files = new ContainerFiles(containers, etc.refreshFiles);
  const hostFile = new FileWatch(
    RESOLV_CONF,
    () => {
      shared.refreshResolvers();
      shared.verifyFirewalls();
      files.refresh();
    },
    (error) => failed(`watch on ${RESOLV_CONF}`, error),
  );
  files.refresh(); // it may have changed while nobody watched

  const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };
  const directories = { runDir, stateDir, netnsDir };
  const view = (snapshot: ContainerSnapshot) => containerView(snapshot, join(runDir, 'etc'));
  const inspectParts = {
    containers,
    networks,
    kernel,
    view,
    uplink: (context: ContainerContext) => uplinks.process(context),
  };
  const surroundings = () =>
    doctor(kernel, {
      ...directories,
      unreadable: [...unreadable, ...recovered.unreadable],
      uplinks: options.uplinks,
      limits: options.limits,
      publisher: () => publishing.checks(),
      networks,
      wayOut: shared.wayOut(null),
      containers,
    });
  const api = createApi({
    limits: options.limits,
    containers,
    networks,
    view,
    firewalld: (outside) => shared.firewalld(outside).getSnapshot().context.fault,
    history: (id) => journal.read(id),
    inspect: (id) => inspect(inspectParts, id),
    inspectSnapshot: (snapshot) => inspectSnapshot(inspectParts, snapshot),
    stats: (id) => statsOf({ containers, kernel, forwarder: places.forwarder }, id),
    statsOfAll: () => statsOfAll({ containers, kernel, forwarder: places.forwarder }),
    ...auditing({ kernel, directories, shared, containers, networks }),
    doctor: async () => {
      const { checks } = await surroundings();
      const troubles = [...shared.troubles(), ...networks.troubles(), ...files.troubles(), ...watch.troubles()];
      return { checks: [...checks, ...driftChecks(watch.present(), troubles)] };
    },
    version: () => ({ version, api: 'v1', instance: instance.name, pid: process.pid, boot_id: bootId }),
  });
  rmSync(socket, { force: true }); // of a daemon that is no more: we hold its lock
  const mask = process.umask(0o117);
  try {
    await api.listen({ path: socket });
  } finally {
    process.umask(mask);
  }
  chmodSync(socket, 0o660);
  log.info({ socket, containers: recovered.containers.length, instance: instance.name }, 'ready');
  surroundings().then(
    ({ checks }) => logChecks(checks, log),
    (error: unknown) => failed('checks of the surroundings', error),
  );
  // Before the watch on drift: what it would think of as changed otherwise is not.
  await replies.look();
  watch.start().catch((error: unknown) => failed('watch on drift', error));
  uplinks.start();
  forwarders.start();
  helpers.start();
  outsides.start();
  connections.start();
  neighbours.start();
  waysOut.start();
  replies.start();
  firewalld.start();
  return {
    api,
    close: async () => {
      hostFile.close();
      files.close();
      watch.close();
      helpers.close();
      outsides.close();
      uplinks.close();
      forwarders.close();
      connections.close();
      waysOut.close();
      replies.close();
      firewalld.close();
      await api.close();
      await neighbours.close();
      await containers.close(STOP_MS);
      await shared.settled(STOP_MS);
      rmSync(socket, { force: true });
    },
  };
}

/**
 * Made with this mode, or found: then nobody else may write to it, who could plant there what the daemon follows or
 * believes (links, snapshots). The directories that it lies in are the administrator's to judge.
 */
function ownDirectory(path: string, mode: number): void {
  mkdirSync(path, { recursive: true, mode });
  const found = statSync(path);
  const stranger = [lstatSync(path), found].find(({ uid }) => uid !== process.getuid?.()); // a link has an owner too
  if (stranger === undefined && (found.mode & 0o022) === 0) return;
  const why = stranger === undefined ? 'others may write to it' : `it belongs to uid ${stranger.uid}`;
  throw new FaultError('STATE_UNSAFE', `${path} is no place for the daemon: ${why}`, { object: path });
}

function refuseWithoutRights(): void {
  const missing = ESSENTIAL.filter((name) => lacking().includes(name));
  if (missing.length === 0) return;
  throw new FaultError('CAPABILITY_MISSING', `the daemon cannot work without ${listed(missing)}`);
}

/** Root of a user namespace may have every capability, and none over the network namespace that it was left in. */
function enterOwnNamespace(kernel: Kernel): void {
  try {
    kernel.outside(null);
  } catch (error) {
    if (!isKernelError(error) || error.code !== 'EPERM') throw error;
    const message = `the daemon may not change the network namespace that it is in (${error.message})`;
    throw new FaultError('CAPABILITY_MISSING', message, { errno: error.code, syscall: error.syscall });
  }
}

/** sun_path (unix(7)). Node gives the kernel the beginning of a longer path, where nobody looks for the daemon. */
const MAX_SOCKET_PATH = 107;

function refuseSocketPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > 0 && bytes <= MAX_SOCKET_PATH) return;
  const message = `the path of a socket has 1 to ${MAX_SOCKET_PATH} bytes, not ${bytes}: ${path}`;
  throw new FaultError('BAD_REQUEST', message, { object: path });
}

function publisherOf(text: string | null): string | null {
  if (text === null) return null;
  const { data, error } = PublisherUrl.safeParse(text);
  if (data === undefined) throw new FaultError('BAD_REQUEST', `publisher ${text}: ${error?.issues[0]?.message ?? ''}`);
  return data;
}

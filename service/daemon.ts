/**
 * The daemon put together: machines to effects, effects to the kernel, state to disk, all of it to the socket.
 *
 * Guarantees: one daemon per pair of directories (locks), and nobody else writes to them; everything that a snapshot speaks of is running again before
 * the socket answers; a stop leaves every container as it is.
 * Limits: a failure before the socket answers ends the start with a fault.
 *
 *   <run-dir>    0750  cleat.sock (0660), lock, containers/, outsides/, journal/, dns/, etc/
 *   <state-dir>  0700  lock, networks/, exposed.json
 */
import { createHash } from 'node:crypto';
import { chmodSync, lstatSync, mkdirSync, readFileSync, realpathSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { AnyActorRef } from 'xstate';
import type { EffectRunner, Verb } from '../effects/effect.ts';
import { Kernel, type Instance } from '../effects/kernel.ts';
import { etcEffects, RESOLV_CONF } from '../effects/etc.ts';
import { hostsFile } from '../machines/plan/hosts.ts';
import { resolvConf } from '../machines/plan/resolv-conf.ts';
import { lockFile } from '../native/index.ts';
import { DefinitionStore } from '../state/definitions.ts';
import type { DriftPolicies } from '../state/drift.ts';
import type { ContainerContext } from '../state/container.ts';
import { ExposedStore } from '../state/exposed.ts';
import { FaultError } from '../state/faults.ts';
import { Journal } from '../state/journal.ts';
import { PublisherUrl } from '../state/names.ts';
import type { NetworkDefinition } from '../state/network.ts';
import { SnapshotStore } from '../state/store.ts';
import { createApi } from './api.ts';
import { audit } from './audit.ts';
import { ContainerFiles } from './container-files.ts';
import { Containers } from './containers.ts';
import { doctor } from './doctor.ts';
import { driftChecks } from './drift-checks.ts';
import type { DriftHappening, RepairedHappening } from '../state/happening.ts';
import { DriftWatch } from './drift.ts';
import { failpoint } from './failpoint.ts';
import { ForwarderWatch } from './forwarder-watch.ts';
import { inspect, inspectSnapshot } from './inspect.ts';
import { Networks } from './networks.ts';
import { Publishing } from './publisher.ts';
import { recover } from './recovery.ts';
import { FileWatch } from './resolv-watch.ts';
import { provideContainer, provideShared } from './provide.ts';
import type { UplinkPrograms } from './uplink-request.ts';
import { UplinkWatch } from './uplink-watch.ts';
import { Shared, type SharedMachines } from './shared.ts';
import { stateName, type ContainerSnapshot } from './snapshot.ts';
import { statsOf, statsOfAll } from './stats.ts';
import { containerView } from './view.ts';

export interface DaemonOptions {
  runDir: string;
  stateDir: string;
  netnsDir: string;
  socket: string;
  /** The API of whoever publishes ports one machine further out (gvproxy), null for nobody. */
  publisher: string | null;
  /** What is done about each kind of drift. */
  drift: DriftPolicies;
  /** Of each program for user-mode networking: where it is, and options that come before a container's own. */
  uplinks: UplinkPrograms;
  log: { info(fields: object, text: string): void; error(fields: object, text: string): void };
}

/** The state directory of the daemon that a machine has when nobody says otherwise. */
export const DEFAULT_STATE_DIR = '/var/lib/cleat';

const FORWARDER_PROGRAM = join(import.meta.dirname, '../../build/Release/cleat-forwarder');

/** How long a stop lets what is under way come to its end. */
const STOP_MS = 5000;
/** How long an audit waits for what is being raised or lowered: a bridge on its way out is not left behind. */
const AUDIT_MS = 5000;

export interface Daemon {
  api: FastifyInstance;
  close(): Promise<void>;
}

export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { runDir, stateDir, netnsDir, socket, log } = options;
  const publisher = publisherOf(options.publisher);
  ownDirectory(runDir, 0o750);
  ownDirectory(stateDir, 0o700);
  // 0711: entered by name by those who know one (B17).
  ownDirectory(netnsDir, 0o711);
  for (const directory of [runDir, stateDir]) {
    if (!lockFile(join(directory, 'lock'))) {
      throw new FaultError('STATE_IN_USE', `another cleat daemon uses ${directory}`, { object: directory });
    }
  }

  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const instance = instanceOf(stateDir);
  const kernel = new Kernel(instance);
  const journal = new Journal(join(runDir, 'journal'), failpoint);
  const containerStore = new SnapshotStore(join(runDir, 'containers'), failpoint);
  const outsideStore = new SnapshotStore(join(runDir, 'outsides'), failpoint);
  const definitionStore = new DefinitionStore(join(stateDir, 'networks'), failpoint);
  const { definitions: known, previous, unreadable } = definitionStore.load();
  for (const file of unreadable) log.error({ file }, 'network definition set aside: not readable');
  const exposed = new ExposedStore(stateDir, failpoint);
  unreadable.push(...exposed.load().unreadable);
  const definitions = new Map<string, NetworkDefinition>(known.map((definition) => [definition.name, definition]));
  const failed = (what: string, error: unknown) => log.error({ what, error }, 'a machine failed');

  const machines: { shared: SharedMachines | null } = { shared: null };
  const shared = new Shared({
    machines: () => {
      if (machines.shared === null) throw new Error('asked for a machine before there are any');
      return machines.shared;
    },
    watcher: () => watch,
    definitions,
    previous: new Map(previous.map((definition) => [definition.name, definition])),
    store: outsideStore,
    bootId,
    failed,
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
    forwarder: { directory: join(runDir, 'forwarder'), executable: FORWARDER_PROGRAM },
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
  });

  const containers = new Containers({
    machine: containerMachineProvided,
    store: containerStore,
    journal,
    bootId,
    instance: instance.name,
    netnsDir,
    networkName: (text) => networks.get(text).name,
    outsideName: (path) => kernel.nameOf(path),
    publisher,
    uplinks: options.uplinks,
    failed,
  });
  const networks = new Networks({
    definitions,
    store: definitionStore,
    shared,
    kernel,
    bridgePrefix: instance.name === 'main' ? 'cleat' : `cleat${instance.name.slice(0, 4)}-`,
  });

  const announce = (happening: DriftHappening | RepairedHappening) => {
    const { t, type: event, id } = happening;
    const snapshot = id === null ? undefined : containers.get(id);
    if (id !== null && snapshot !== undefined) {
      const state = stateName(snapshot);
      journal.append(id, { t, machine: 'container', event, from: state, to: state, ms: 0 });
    }
    containers.bus.emit('happening', happening);
  };
  const watch: DriftWatch = new DriftWatch({ kernel, containers, shared, policies: options.drift, announce, failed });

  const watchParts = { containers, policies: options.drift, announce, failed };
  const uplinks = new UplinkWatch({ ...watchParts, home: places.uplinks, kernel });
  const forwarders = new ForwarderWatch({ ...watchParts, places: places.forwarder });

  const publishing = new Publishing({ publisher, ledger: exposed, log });
  const recovered = recover({ store: containerStore, journal, machine: containerMachineProvided, bootId });
  const contexts = recovered.containers.map(({ context }) => context);
  recovered.unreadable.push(...shared.recover(contexts));
  for (const file of recovered.unreadable) log.error({ file }, 'snapshot set aside: not readable');
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
  const api = createApi({
    containers,
    networks,
    view,
    history: (id) => journal.read(id),
    inspect: (id) => inspect(inspectParts, id),
    inspectSnapshot: (snapshot) => inspectSnapshot(inspectParts, snapshot),
    stats: (id) => statsOf({ containers, kernel }, id),
    statsOfAll: () => statsOfAll({ containers, kernel }),
    audit: async () => {
      await shared.settled(AUDIT_MS);
      return audit(kernel, directories);
    },
    doctor: async () => {
      const { checks } = await doctor(kernel, {
        ...directories,
        unreadable: [...unreadable, ...recovered.unreadable],
        uplinks: options.uplinks,
        publisher: () => publishing.checks(),
      });
      const troubles = [...shared.troubles(), ...networks.troubles(), ...files.troubles()];
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
  watch.start().catch((error: unknown) => failed('watch on drift', error));
  uplinks.start();
  forwarders.start();
  return {
    api,
    close: async () => {
      hostFile.close();
      files.close();
      watch.close();
      uplinks.close();
      forwarders.close();
      await api.close();
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

function publisherOf(text: string | null): string | null {
  if (text === null) return null;
  const { data, error } = PublisherUrl.safeParse(text);
  if (data === undefined) throw new FaultError('BAD_REQUEST', `publisher ${text}: ${error?.issues[0]?.message ?? ''}`);
  return data;
}

/** Who this daemon is in the kernel. The default one has plain names; any other is told apart by its state directory. */
function instanceOf(stateDir: string): Instance {
  const path = realpathSync(stateDir);
  const hash = createHash('sha256').update(path).digest('hex').slice(0, 8);
  const main = path === DEFAULT_STATE_DIR;
  // Group numbers: any 32 bits that nobody else uses; the lowest bit marks links on their way out.
  const group = 0x4000_0000 | (Number.parseInt(main ? '0c1ea700' : hash, 16) & 0x3fff_fffe);
  return { name: main ? 'main' : hash, table: main ? 'cleat' : `cleat-${hash}`, group, doomedGroup: group | 1 };
}

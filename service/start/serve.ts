/**
 * The last step of a start: the socket answers, and the watches begin.
 *
 * Guarantees: the socket appears, for its group alone, when everything before it is done. The watches begin after that. A
 * stop closes in the reverse order and leaves every container as it is.
 * Limits: a stop waits STOP_MS for operations under way, which continue at the next start, and FLUSH_MS for their traces.
 */
import { join } from 'node:path';
import type { DaemonNotification } from '../../state/answers/notification.ts';
import type { ContainerContext } from '../../state/container.ts';
import { listForwards } from '../../effects/forwarder/forwarder.ts';
import { askPublisher } from '../../effects/ports/publisher.ts';
import { historyOf } from '../../plan/journal/history.ts';
import { auditing } from '../audit/repair.ts';
import { doctor } from '../doctor/doctor.ts';
import { driftChecks } from '../drift/drift-checks.ts';
import { noSuchContainer } from '../events/events.ts';
import { DEFAULT_NETWORK } from '../../state/network.ts';
import { createApi } from '../http/api.ts';
import { createDockerApi } from '../http/docker/docker-api.ts';
import { Connections } from '../requests/connections.ts';
import { Requests } from '../requests/requests.ts';
import { Inspector } from '../viewers/inspector.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import { inspect, inspectSnapshot, outline } from '../views/inspect.ts';
import { machineSnapshot } from '../views/machine.ts';
import { logChecks } from '../views/log-notifications.ts';
import { statsOf, statsOfAll } from '../views/stats.ts';
import type { Traces } from '../traces/traces.ts';
import { containerView } from '../views/view.ts';
import { why } from '../views/why.ts';
import { Idle, type Leaving } from './idle.ts';
import { listenBeside, listenOn, type Listener } from '../sockets/listen.ts';
import { endHolder } from './rootless.ts';
import type { Machines } from './machines.ts';
import type { OpenState } from './open-state.ts';
import type { DaemonOptions } from './options.ts';
import type { Recovery } from './recover.ts';
import type { Watches } from './watches.ts';

/** The time that a stop waits for operations under way. */
const STOP_MS = 5000;
/** The time that a stop waits for an endpoint to take the last spans. */
const FLUSH_MS = 2000;

export interface Daemon {
  /** Resolves when the daemon ends by itself, and is to be closed; null if it never does. */
  leaving: Promise<Leaving> | null;
  /** `why`: a signal, or why it leaves by itself. */
  close(why: string): Promise<void>;
}

export async function serve(
  state: OpenState,
  machines: Machines,
  watches: Watches,
  recovery: Recovery,
  traces: Traces | null,
  version: string,
): Promise<Daemon> {
  const { options, kernel, journal, instance, bootId, failed } = state;
  const { runDir, stateDir, netnsDir, socket, socketFd, dockerSocket, exitWhenIdle, log } = options;
  const {
    roster,
    metrics,
    recent,
    shared,
    prepared,
    containers,
    networks,
    overlays,
    attachments,
    plans,
    places,
    scopes,
  } = machines;
  const { watch, uplinks, neighbours } = watches;
  const { publishing, files, hostFile } = recovery;

  const directories = { runDir, stateDir, netnsDir };
  const etc = join(runDir, 'etc');
  const view = (snapshot: ContainerSnapshot) => containerView(snapshot, etc);
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
      unreadable: [...state.unreadable, ...recovery.unreadable],
      uplinks: options.uplinks,
      limits: options.limits,
      publisher: () => publishing.checks(),
      networks,
      wayOut: shared.wayOut(null),
      scopes,
      containers,
    });
  const whyParts = {
    containers,
    inspectSnapshot: (snapshot: ContainerSnapshot) => inspectSnapshot(inspectParts, snapshot),
    history: (id: string) => historyOf(journal.read(id)),
    policies: options.drift,
    machinesIn: (outside: string | null) => shared.machinesIn(outside),
    definitions: () => networks.all(),
    overlaysOf: (all: readonly string[]) => overlays.facts(all),
    leftIn: (outside: string | null) => watch.leftIn(outside),
    forwards: listForwards(places.forwarder),
    askPublisher,
  };
  const inspector = new Inspector({
    roster,
    shared: { bus: shared.bus, all: () => [...shared.all(), ...prepared.machines()] },
    definitions: state.definitions,
    networks: () => networks.all(),
    view,
    daemon: { version, instance: instance.name, pid: process.pid, run: state.run },
  });
  const connections = new Connections(options.limits);
  const requests = new Requests({ containers, networks, traces });
  const inspectOne = (id: string) => inspect(inspectParts, id);
  const api = createApi({
    connections,
    requests,
    traces,
    containers,
    recent,
    networks,
    overlays,
    shared,
    kernel,
    attachments,
    plans,
    view,
    firewalld: (outside) => shared.firewalld(outside).getSnapshot().context.fault,
    journal: (id) => journal.read(id),
    inspect: inspectOne,
    inspectSnapshot: (snapshot) => inspectSnapshot(inspectParts, snapshot),
    why: (id) => why(whyParts, id),
    inspector,
    machine: (text) => {
      const id = containers.idOf(text);
      const entry = roster.entries.get(id);
      if (entry === undefined) throw noSuchContainer(id);
      return machineSnapshot(entry.actor);
    },
    stats: (id) => statsOf({ containers, kernel, forwarder: places.forwarder }, id),
    statsOfAll: () => statsOfAll({ containers, kernel, forwarder: places.forwarder }),
    ...auditing({ kernel, directories, shared, containers, networks, prepared }),
    doctor: async () => {
      const { checks } = await surroundings();
      const troubles = [
        ...shared.troubles(),
        ...networks.troubles(),
        ...overlays.troubles(),
        ...files.troubles(),
        ...watch.troubles(),
      ];
      return { checks: [...checks, ...driftChecks(watch.present(), troubles), ...(traces?.checks() ?? [])] };
    },
    metrics: () =>
      metrics.text({ version, instance: instance.name, networks: networks.all(), containers: containers.all() }),
    version: () => ({
      version,
      api: 'v1',
      instance: instance.name,
      pid: process.pid,
      boot_id: bootId,
      netns: kernel.outside(null).kernel.identity(),
    }),
  });

  const docker =
    dockerSocket === null
      ? null
      : createDockerApi({
          connections,
          requests,
          containers,
          networks,
          definitions: state.definitions,
          inspect: inspectOne,
          outline: (snapshot) => outline(inspectParts, snapshot),
          about: { version, instance: instance.name },
        });
  // Who finds the one socket finds the other one, too.
  const listeners: Listener[] = [
    ...(docker === null || dockerSocket === null ? [] : [await listenBeside(docker, dockerSocket)]),
    await listenOn(api, socket, socketFd),
  ];
  const idle =
    exitWhenIdle === null
      ? null
      : new Idle({
          options,
          seconds: exitWhenIdle,
          servers: listeners.map(({ server }) => server),
          holds: () => roster.entries.size > 0,
          keeps: () => networks.all().some(({ name }) => name !== DEFAULT_NETWORK),
        });
  log.info({ socket, dockerSocket, containers: recovery.count, instance: instance.name }, 'ready');
  const tell = (what: DistributiveOmit<DaemonNotification, 'type' | 't' | 'id' | 'pid' | 'version'>) =>
    roster.bus.emit('notification', { type: 'daemon', t: Date.now(), id: null, pid: process.pid, version, ...what });
  tell({ action: 'started', containers: recovery.count, configuration: configurationOf(options) });
  surroundings().then(
    ({ checks }) => logChecks(checks, log),
    (error: unknown) => failed('checks of the surroundings', error),
  );
  prepared.start();
  await watches.start();
  return {
    leaving: idle?.leaving ?? null,
    close: async (why) => {
      tell({ action: 'stopping', why });
      idle?.close();
      hostFile.close();
      files.close();
      watches.close();
      scopes.close();
      const isReplaced = listeners.at(-1)?.isReplaced() === true;
      await Promise.all(listeners.map((listener) => listener.close()));
      await neighbours.close();
      await overlays.close(STOP_MS);
      await containers.close(STOP_MS);
      await shared.settled(STOP_MS);
      idle?.clear();
      await traces?.close(FLUSH_MS);
      if (options.rootless !== null && !isReplaced && containers.all().length === 0) endHolder(runDir);
    },
  };
}

type DistributiveOmit<Union, Key extends string> = Union extends unknown ? Omit<Union, Key> : never;

const configurationOf = (options: DaemonOptions) => ({
  run_dir: options.runDir,
  state_dir: options.stateDir,
  netns_dir: options.netnsDir,
  socket: options.socket,
  docker_socket: options.dockerSocket,
  drift: options.drift,
  limits: options.limits,
  forward_others: options.forwardOthers,
  prepared_namespaces: options.preparedNamespaces,
  exit_when_idle: options.exitWhenIdle,
});

/**
 * The last step of a start: the socket answers, and the watches begin.
 *
 * Guarantees: the socket appears, for its group alone, when everything before it is done. The watches begin after that. A
 * stop closes in the reverse order and leaves every container as it is.
 * Limits: a stop waits STOP_MS for operations under way, which continue at the next start, and FLUSH_MS for their traces.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
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
import { endEndless } from '../requests/connections.ts';
import { Inspector } from '../viewers/inspector.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import { inspect, inspectSnapshot } from '../views/inspect.ts';
import { machineSnapshot } from '../views/machine.ts';
import { logChecks } from '../views/log-notifications.ts';
import { statsOf, statsOfAll } from '../views/stats.ts';
import type { Traces } from '../traces/traces.ts';
import { containerView } from '../views/view.ts';
import { why } from '../views/why.ts';
import { Idle, inodeOf, type Leaving } from './idle.ts';
import { endHolder } from './rootless.ts';
import type { Machines } from './machines.ts';
import type { OpenState } from './open-state.ts';
import type { Recovery } from './recover.ts';
import type { Watches } from './watches.ts';

/** The time that a stop waits for operations under way. */
const STOP_MS = 5000;
/** The time that a stop waits for an endpoint to take the last spans. */
const FLUSH_MS = 2000;

export interface Daemon {
  api: FastifyInstance;
  /** Resolves when the daemon ends by itself, and is to be closed; null if it never does. */
  leaving: Promise<Leaving> | null;
  close(): Promise<void>;
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
  const { runDir, stateDir, netnsDir, socket, socketFd, exitWhenIdle, log } = options;
  const { roster, metrics, shared, prepared, containers, networks, attachments, plans, places, scopes } = machines;
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
    daemon: { version, instance: instance.name, pid: process.pid, run: randomBytes(8).toString('hex') },
  });
  const api = createApi({
    limits: options.limits,
    traces,
    containers,
    networks,
    shared,
    kernel,
    attachments,
    plans,
    view,
    firewalld: (outside) => shared.firewalld(outside).getSnapshot().context.fault,
    journal: (id) => journal.read(id),
    inspect: (id) => inspect(inspectParts, id),
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
      const troubles = [...shared.troubles(), ...networks.troubles(), ...files.troubles(), ...watch.troubles()];
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

  await listen(api, socket, socketFd);
  const inode = inodeOf(socket);
  const idle =
    exitWhenIdle === null
      ? null
      : new Idle({
          options,
          seconds: exitWhenIdle,
          server: api.server,
          holds: () => roster.entries.size > 0,
          keeps: () => networks.all().some(({ name }) => name !== DEFAULT_NETWORK),
        });
  log.info({ socket, containers: recovery.count, instance: instance.name }, 'ready');
  surroundings().then(
    ({ checks }) => logChecks(checks, log),
    (error: unknown) => failed('checks of the surroundings', error),
  );
  prepared.start();
  await watches.start();
  return {
    api,
    leaving: idle?.leaving ?? null,
    close: async () => {
      idle?.close();
      hostFile.close();
      files.close();
      watches.close();
      scopes.close();
      endEndless(api.server);
      // Fastify knows nothing of a socket that was passed.
      if (socketFd !== null) api.server.close().closeAllConnections();
      // The end of a listening socket removes what is at its path (libuv), even if that is another daemon's by now.
      const found = inodeOf(socket);
      const isReplaced = found !== null && found !== inode;
      if (isReplaced) api.server.closeAllConnections();
      else await api.close();
      await neighbours.close();
      await containers.close(STOP_MS);
      await shared.settled(STOP_MS);
      idle?.clear();
      await traces?.close(FLUSH_MS);
      if (options.rootless !== null && !isReplaced && containers.all().length === 0) endHolder(runDir);
    },
  };
}

async function listen(api: FastifyInstance, socket: string, fd: number | null): Promise<void> {
  if (fd !== null) {
    await api.ready();
    await new Promise<void>((resolve, reject) => api.server.once('error', reject).listen({ fd }, resolve));
    return;
  }
  rmSync(socket, { force: true }); // of a daemon that is no more: we hold its lock
  const mask = process.umask(0o117);
  try {
    await api.listen({ path: socket });
  } finally {
    process.umask(mask);
  }
  chmodSync(socket, 0o660);
}

/**
 * The daemon put together: machines to effects, effects to the kernel, state to disk, all of it to the socket.
 *
 * Guarantees: one daemon per pair of directories (locks); everything that a snapshot speaks of is running again before
 * the socket answers; a stop leaves every container as it is.
 * Limits: a failure before the socket answers ends the start with a fault.
 *
 *   <run-dir>    0750  cleat.sock (0660), lock, containers/, outsides/, journal/
 *   <state-dir>  0700  lock, networks/
 */
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { AnyActorRef } from 'xstate';
import * as ask from '../effects/ask.ts';
import { ensureAddresses } from '../effects/address.ts';
import { lowerNetwork, raiseNetwork } from '../effects/bridge.ts';
import { defineEffect, type EffectRunner, type Verb } from '../effects/effect.ts';
import { lowerFirewall, raiseFirewall, readSwitches } from '../effects/firewall.ts';
import { Kernel, type Instance } from '../effects/kernel.ts';
import { awaitLinksGone, ensureLink, removeLink } from '../effects/link.ts';
import { ensureNamespace, removeNamespace } from '../effects/netns.ts';
import { publish, unpublish } from '../effects/ports.ts';
import { attachmentMachine } from '../machines/attachment.ts';
import { containerMachine } from '../machines/container.ts';
import { firewallMachine } from '../machines/firewall.ts';
import { networkMachine } from '../machines/network.ts';
import { lockFile } from '../native/index.ts';
import { DefinitionStore } from '../state/definitions.ts';
import { FaultError } from '../state/faults.ts';
import { Journal } from '../state/journal.ts';
import type { NetworkDefinition } from '../state/network.ts';
import { SnapshotStore } from '../state/store.ts';
import { createApi } from './api.ts';
import { audit } from './audit.ts';
import { Containers } from './containers.ts';
import { doctor } from './doctor.ts';
import { failpoint } from './failpoint.ts';
import { Networks } from './networks.ts';
import { recover } from './recovery.ts';
import { Shared, type SharedMachines } from './shared.ts';

export interface DaemonOptions {
  runDir: string;
  stateDir: string;
  netnsDir: string;
  socket: string;
  log: { info(fields: object, text: string): void; error(fields: object, text: string): void };
}

/** The state directory of the daemon that a machine has when nobody says otherwise. */
export const DEFAULT_STATE_DIR = '/var/lib/cleat';

/** How long a stop lets what is under way come to its end. */
const STOP_MS = 5000;

export interface Daemon {
  api: FastifyInstance;
  close(): Promise<void>;
}

export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { runDir, stateDir, netnsDir, socket, log } = options;
  mkdirSync(runDir, { recursive: true, mode: 0o750 });
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  // 0711: entered by name by those who know one (B17).
  mkdirSync(netnsDir, { recursive: true, mode: 0o711 });
  for (const directory of [runDir, stateDir]) {
    if (!lockFile(join(directory, 'lock'))) {
      throw new FaultError('STATE_IN_USE', `another cleat daemon uses ${directory}`, { object: directory });
    }
  }

  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const instance = instanceOf(stateDir);
  const kernel = new Kernel(instance);
  const journal = new Journal(join(runDir, 'journal'));
  const containerStore = new SnapshotStore(join(runDir, 'containers'), failpoint);
  const outsideStore = new SnapshotStore(join(runDir, 'outsides'), failpoint);
  const definitionStore = new DefinitionStore(join(stateDir, 'networks'));
  const { definitions: known, unreadable } = definitionStore.load();
  for (const file of unreadable) log.error({ file }, 'network definition set aside: not readable');
  const definitions = new Map<string, NetworkDefinition>(known.map((definition) => [definition.name, definition]));
  const failed = (what: string, error: unknown) => log.error({ what, error }, 'a machine failed');

  const machines: { shared: SharedMachines | null } = { shared: null };
  const shared = new Shared({
    machines: () => {
      if (machines.shared === null) throw new Error('asked for a machine before there are any');
      return machines.shared;
    },
    definitions,
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
  const containerMachineProvided = provideContainer(containerRunner, kernel, shared);
  machines.shared = provideShared(outsideRunner, kernel, shared);

  const containers = new Containers({
    machine: containerMachineProvided,
    store: containerStore,
    journal,
    bootId,
    instance: instance.name,
    netnsDir,
    failed,
  });
  const networks = new Networks({
    definitions,
    store: definitionStore,
    shared,
    kernel,
    bridgePrefix: instance.name === 'main' ? 'cleat' : `cleat${instance.name.slice(0, 4)}-`,
  });

  const recovered = recover({ store: containerStore, journal, machine: containerMachineProvided, bootId });
  for (const file of recovered.unreadable) log.error({ file }, 'snapshot set aside: not readable');
  shared.recover(recovered.containers.map(({ context }) => context));
  for (const { id, snapshot } of recovered.containers) containers.restore(id, snapshot);
  await networks.ensureDefault();

  const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };
  const directories = { runDir, stateDir, netnsDir };
  const api = createApi({
    containers,
    networks,
    history: (id) => journal.read(id),
    audit: () => audit(kernel, directories),
    doctor: () => doctor(kernel, { ...directories, unreadable: [...unreadable, ...recovered.unreadable] }),
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
  return {
    api,
    close: async () => {
      await api.close();
      await containers.close(STOP_MS);
      await shared.settled(STOP_MS);
      rmSync(socket, { force: true });
    },
  };
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

function provideContainer(runner: EffectRunner, kernel: Kernel, shared: Shared) {
  const attachment = attachmentMachine.provide({
    actors: {
      ensureLink: defineEffect(runner, 'add', 'ensureLink', ensureLink(kernel)),
      ensureAddresses: defineEffect(runner, 'add', 'ensureAddresses', ensureAddresses(kernel)),
      removeLink: defineEffect(runner, 'remove', 'removeLink', removeLink(kernel)),
    },
  });
  return containerMachine.provide({
    actors: {
      attachment,
      ensureNamespace: defineEffect(runner, 'add', 'ensureNamespace', ensureNamespace(kernel)),
      removeNamespace: defineEffect(runner, 'remove', 'removeNamespace', removeNamespace(kernel)),
      publish: defineEffect(runner, 'add', 'publish', publish(kernel)),
      unpublish: defineEffect(runner, 'remove', 'unpublish', unpublish(kernel)),
      awaitLinksGone: defineEffect(runner, 'remove', 'awaitLinksGone', awaitLinksGone(kernel)),
      lease: ask.lease(shared, kernel),
      release: ask.release(shared),
      backOff: ask.backOff(),
    },
  });
}

function provideShared(runner: EffectRunner, kernel: Kernel, shared: Shared): SharedMachines {
  return {
    firewall: firewallMachine.provide({
      actors: {
        readSwitches: defineEffect(runner, 'add', 'readSwitches', readSwitches(kernel)),
        raiseFirewall: defineEffect(runner, 'add', 'raiseFirewall', raiseFirewall(kernel)),
        lowerFirewall: defineEffect(runner, 'remove', 'lowerFirewall', lowerFirewall(kernel)),
        backOff: ask.backOff(),
      },
    }),
    network: networkMachine.provide({
      actors: {
        raiseNetwork: defineEffect(runner, 'add', 'raiseNetwork', raiseNetwork(kernel)),
        lowerNetwork: defineEffect(runner, 'remove', 'lowerNetwork', lowerNetwork(kernel)),
        holdFirewall: ask.holdFirewall(shared),
        releaseFirewall: ask.releaseFirewall(shared),
        backOff: ask.backOff(),
      },
    }),
  };
}

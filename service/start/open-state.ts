/**
 * The first step of a start: locks and reads the directories, and opens the kernel.
 *
 * Guarantees: one daemon per pair of directories (locks), and no other process writes to them. Nothing outside of them is
 * changed yet. A setting that cannot work later is refused here, with a fault that says what to do.
 * Limits: the locks end with the process.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, lstatSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ESSENTIAL, lacking, listed } from '../../effects/capabilities.ts';
import { Kernel } from '../../effects/kernel.ts';
import { uplinkUsers } from '../../effects/uplinks/uplink-users.ts';
import { isKernelError, lockFile } from '../../native/index.ts';
import { FaultError, unwritable } from '../../state/faults.ts';
import { DefinitionStore } from '../../state/files/definitions.ts';
import { ExposedStore } from '../../state/files/exposed.ts';
import { PeerStore } from '../../state/files/peers.ts';
import { Journal } from '../../state/files/journal.ts';
import { SnapshotStore } from '../../state/files/store.ts';
import { Definitions } from '../networks/definitions.ts';
import { HostIdentity } from '../overlay/host-identity.ts';
import { HostKeys } from '../overlay/host-keys.ts';
import { OverlayPeers } from '../outsides/peers.ts';
import { failpoint } from '../records/failpoint.ts';
import { instanceOf } from '../records/instance.ts';
import { refuseSocketPath } from '../sockets/listen.ts';
import type { DaemonOptions } from './options.ts';

export type OpenState = ReturnType<typeof openState>;

export function openState(options: DaemonOptions) {
  const { runDir, stateDir, netnsDir, socket, log } = options;
  refuseSocketPath(socket);
  // The DNS servers run as another user and pass through this directory. Everything else in it is closed to them.
  ownDirectory(runDir, 0o751);
  if ((statSync(runDir).mode & 0o001) === 0) chmodSync(runDir, (statSync(runDir).mode & 0o7777) | 0o001);
  ownDirectory(stateDir, 0o700);
  // 0711: other users can open a file in it if they know its name (B17).
  ownDirectory(netnsDir, 0o711);
  for (const directory of [runDir, stateDir]) {
    if (!lockIn(directory)) {
      throw new FaultError('STATE_IN_USE', `another cleat daemon uses ${directory}`, { object: directory });
    }
  }

  refuseWithoutRights();
  uplinkUsers(); // throws when the users of slirp4netns and pasta are somebody else's
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const instance = instanceOf(stateDir);
  const failed = (what: string, error: unknown) =>
    log.error({ what, error }, `${what}: ${error instanceof Error ? error.message : String(error)}`);
  const kernel = new Kernel(instance, failed, options.rootless?.outside ?? null, (id) => keys.privateKey(id));
  enterOwnNamespace(kernel);
  const journal = new Journal(join(runDir, 'journal'), failpoint, failed);
  const containerStore = new SnapshotStore(join(runDir, 'containers'), failpoint);
  const outsideStore = new SnapshotStore(join(runDir, 'outsides'), failpoint);
  const definitionStore = new DefinitionStore(join(stateDir, 'networks'), failpoint);
  const { definitions: known, previous, unreadable } = definitionStore.load();
  const exposed = new ExposedStore(stateDir, failpoint);
  unreadable.push(...exposed.load().unreadable);
  const networks = new Set(known.flatMap(({ overlay }) => overlay?.id ?? []));
  const keys = new HostKeys(join(stateDir, 'wireguard'), failpoint, networks);
  unreadable.push(...keys.unreadable);
  const identity = new HostIdentity(stateDir, failpoint);
  unreadable.push(...identity.unreadable);
  const peerStore = new PeerStore(join(stateDir, 'peers'), failpoint);
  const { peers, unreadable: noPeers } = peerStore.load();
  unreadable.push(...noPeers);
  return {
    options,
    publisher: options.publisher,
    bootId,
    instance,
    /** Names this run of the daemon in the ids of what it tells. */
    run: randomBytes(8).toString('hex'),
    failed,
    kernel,
    journal,
    containerStore,
    outsideStore,
    definitions: new Definitions(definitionStore, known),
    /** The definitions from before an update that a crash interrupted. */
    previous,
    exposed,
    identity,
    keys,
    peers: new OverlayPeers(peerStore, peers),
    /** The files that were set aside. */
    unreadable,
  };
}

/**
 * Makes the directory with this mode, or checks that nobody else may write to it: others could plant links or snapshots
 * there, which the daemon would follow or believe. The directories above it are the administrator's responsibility.
 */
function ownDirectory(path: string, mode: number): void {
  try {
    makeDirectory(path, mode);
  } catch (error) {
    throw unwritable(error, path);
  }
  const found = statSync(path);
  const stranger = [lstatSync(path), found].find(({ uid }) => uid !== process.getuid?.()); // a link has an owner too
  if (stranger === undefined && (found.mode & 0o022) === 0) return;
  const why = stranger === undefined ? 'others may write to it' : `it belongs to uid ${stranger.uid}`;
  throw new FaultError('STATE_UNSAFE', `${path} is no place for the daemon: ${why}`, { object: path });
}

/** Makes those above it, too. Node's own way reports that they are missing when they cannot be made. */
function makeDirectory(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT' || dirname(path) === path) throw error;
    makeDirectory(dirname(path), mode);
    mkdirSync(path, { mode });
  }
}

function lockIn(directory: string): boolean {
  try {
    return lockFile(join(directory, 'lock'));
  } catch (error) {
    if (!isKernelError(error)) throw error;
    const { code: errno, syscall, object } = error;
    const why = syscall === 'flock' ? 'its file system has no locks: use one of this machine' : error.message;
    throw new FaultError('STATE_UNWRITABLE', `${directory} cannot be locked (${errno}): ${why}`, {
      errno,
      syscall,
      object,
    });
  }
}

function refuseWithoutRights(): void {
  const missing = ESSENTIAL.filter((name) => lacking().includes(name));
  if (missing.length === 0) return;
  throw new FaultError('CAPABILITY_MISSING', `the daemon cannot work without ${listed(missing)}`);
}

/** Root of a user namespace may have every capability, and none over the network namespace in which it runs. */
function enterOwnNamespace(kernel: Kernel): void {
  try {
    kernel.outside(null);
  } catch (error) {
    if (!isKernelError(error) || error.code !== 'EPERM') throw error;
    const message = `the daemon may not change the network namespace that it is in (${error.message})`;
    throw new FaultError('CAPABILITY_MISSING', message, { errno: error.code, syscall: error.syscall });
  }
}

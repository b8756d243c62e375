/**
 * The resolver of an outside: its files and its two processes (aardvark.ts says why there are two).
 *
 *   <run-dir>/dns/<outside>/open/, closed/   the directories that the servers read: NETWORK.zone, aardvark.pid
 *
 * Guarantees: each effect may run again from any point. A file is replaced whole, and only if it differs. A process is ours if
 * its command line names our directory, it lives in the outside's namespace and it runs as the resolver's user. It is known by
 * pid and start time, starts in a session of its own with an empty environment, and outlives the daemon. A healthy process is
 * never restarted. After the stop there is neither process nor file.
 * Limits: where there is no systemd that gives them scopes, the processes are in the daemon's cgroup, so a service manager must be
 * configured to stop the daemon alone.
 */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { AskInput, AskOutput, WriteInput } from '../../machines/resolver.ts';
import { isKernelError, type Outside } from '../../native/index.ts';
import { findAardvark, PARTS, zoneFiles, type Part } from './aardvark.ts';
import type { Zone } from '../../plan/names/names.ts';
import { familyOf } from '../../plan/addresses/address.ts';
import { ask, type Question } from './dns-query.ts';
import { FaultError, unwritable } from '../../state/faults.ts';
import { removeIfEmpty } from '../shared-directory.ts';
import { outsideKey, type Kernel } from '../kernel.ts';
import { inPool } from '../pool.ts';
import { isStopped, watch } from '../processes/process.ts';
import { requireFor } from '../refusal.ts';
import { writePart, zonesIn } from './resolver-files.ts';
import { find, reload, runsAs, start, stop } from './resolver-process.ts';
import type { Scopes } from '../processes/scopes.ts';
import { findUser, type User } from '../processes/users.ts';

export interface ResolverParts {
  kernel: Kernel;
  runDir: string;
  /** Called when a running server has ended by itself. */
  exited: (outside: string | null) => void;
  /** Returns the servers of networks that name none; null for those of the host's resolv.conf, which the program reads itself. */
  servers?: ((outside: string | null) => string[] | null) | undefined;
  scopes: Pick<Scopes, 'own'>;
  /** The places of the program; for tests. */
  places?: readonly string[];
}

/** The time that the server has to answer for a new name. */
const ANSWER_MS = 3000;
/** If the server has not answered after this time, it gets one more reload. */
const NUDGE_MS = 500;
/** The number of containers that are queried at the same time. */
const AT_ONCE = 128;

/** The directory of all resolvers, and the directory of one outside's resolver. */
export const resolversHome = (runDir: string): string => join(runDir, 'dns');
export const resolverHome = (runDir: string, outside: string | null): string =>
  join(resolversHome(runDir), outsideKey(outside));

/** Returns the effects of the resolver machine. There is one set per daemon, because they share the state of the processes. */
export function resolverEffects({ kernel, runDir, exited, servers, scopes, places }: ResolverParts) {
  /** By directory: the watched process, the function that ends the watch, and whether the process has ended. */
  const watched = new Map<string, { pid: number; unwatch: () => void; ended: boolean }>();
  let found: User | null = null;
  /** Looked up once: this user can read the zone files, so it must not change while the daemon runs. */
  const user = (): User => (found ??= findUser('cleat-dns'));
  const home = (outside: string | null) => resolverHome(runDir, outside);
  const directoryOf = (outside: string | null, part: Part) => join(home(outside), part);

  const unwatch = (directory: string) => {
    watched.get(directory)?.unwatch();
    watched.delete(directory);
  };

  const ensurePart = async (native: Outside, outside: string | null, part: Part, again: boolean): Promise<void> => {
    const directory = directoryOf(outside, part);
    if (!existsSync(directory)) return;
    if (zonesIn(directory).length === 0) {
      unwatch(directory);
      await stop(directory);
      return rmSync(directory, { recursive: true, force: true });
    }
    const { ino, dev } = native.identity();
    let server = find(directory, { ino, dev });
    if (server === null || !runsAs(server, user()) || isStopped(server)) {
      unwatch(directory);
      await stop(directory); // e.g. a server of an earlier namespace at this outside's path
      const file = await findAardvark(places);
      if (file === null) throw missing();
      server = await start({ file, directory, part, netns: kernel.entered(outside), user: user() });
    } else if (again) {
      reload(server);
    }
    if (watched.get(directory)?.pid === server.pid) return;
    scopes.own('dns', server);
    unwatch(directory);
    const entry = { pid: server.pid, unwatch: () => {}, ended: false };
    entry.unwatch = watch(server, () => {
      entry.ended = true;
      exited(outside);
    });
    watched.set(directory, entry);
  };

  const writeZones = ({ outside, zones }: WriteInput): Promise<{ changed: boolean }> => {
    const usual = servers?.(outside) ?? null;
    const files = zoneFiles(usual === null ? zones : zones.map((zone) => withServers(zone, usual)));
    const reader = user();
    try {
      const changes = PARTS.map((part) => writePart(directoryOf(outside, part), files[part], reader));
      return Promise.resolve({ changed: changes.includes(true) });
    } catch (error) {
      // Changing the owner of the server's files needs a capability.
      if ((error as NodeJS.ErrnoException).code === 'EPERM') requireFor('aardvark-dns');
      throw unwritable(error);
    }
  };

  const ensureResolver = async (input: { outside: string | null; reload: boolean }): Promise<void> => {
    const { kernel: native } = kernel.outside(input.outside);
    for (const part of PARTS) await ensurePart(native, input.outside, part, input.reload);
  };

  const askNames = async ({ outside, entries }: AskInput): Promise<AskOutput> => {
    const { kernel: native } = kernel.outside(outside);
    const directories = PARTS.map((part) => directoryOf(outside, part));
    const hopeless = () => directories.some((directory) => watched.get(directory)?.ended === true);
    const until = performance.now() + ANSWER_MS;
    const nudge = setTimeout(() => directories.forEach(remind), NUDGE_MS);
    const silent = new Map<string, string>();
    const askFor = async (entry: AskInput['entries'][number]) => {
      try {
        for (const question of questionsOf(entry)) {
          const fd = await native.udpSocket(familyOf(question.server), entry.netns);
          const said = await ask(fd, question, until, hopeless);
          if (said !== null) silent.set(entry.owner, `${said}${await holderOf(native, question.server, directories)}`);
        }
      } catch (error) {
        silent.set(entry.owner, error instanceof Error ? error.message : String(error)); // e.g. its namespace is gone
      }
    };
    try {
      await inPool(AT_ONCE, entries, askFor);
    } finally {
      clearTimeout(nudge);
    }
    return { silent: [...silent].map(([owner, said]) => ({ owner, said })) };
  };

  const stopResolver = async ({ outside }: { outside: string | null }): Promise<void> => {
    for (const part of PARTS) {
      const directory = directoryOf(outside, part);
      unwatch(directory);
      await stop(directory);
    }
    rmSync(home(outside), { recursive: true, force: true });
    removeIfEmpty(resolversHome(runDir));
  };

  return { writeZones, ensureResolver, askNames, stopResolver };
}

/** Reloads the server, if possible. A failure is ignored, because the queries go on until the time is up in any case. */
function remind(directory: string): void {
  try {
    reload(find(directory, null));
  } catch (error) {
    if (!isKernelError(error)) throw error;
  }
}

const withServers = (zone: Zone, servers: readonly string[]): Zone =>
  zone.servers.length > 0 ? zone : { ...zone, servers };

function missing(): FaultError {
  return new FaultError(
    'DNS_UNAVAILABLE',
    'aardvark-dns not found: names of containers on networks with DNS cannot be answered',
    { object: 'aardvark-dns' },
  );
}

/** Returns a query to every gateway that the container can reach, for one of its addresses. */
function questionsOf({ listen, addresses, names }: AskInput['entries'][number]): Question[] {
  const [name] = names;
  const families = new Set(addresses.map(familyOf));
  return listen.flatMap((server) => {
    const address = addresses.find((each) => familyOf(each) === familyOf(server));
    return name === undefined || address === undefined || !families.has(familyOf(server))
      ? []
      : [{ server, name, address }];
  });
}

/**
 * Returns the process that has the server's port, or the error. aardvark does not report it; the kernel does. 1.14 needs TCP
 * port 53 too, or it serves neither protocol.
 */
async function holderOf(native: Outside, server: string, directories: readonly string[]): Promise<string> {
  for (const protocol of ['udp', 'tcp'] as const) {
    const [holder] = await native.portProbe([{ protocol, family: familyOf(server), address: server, port: 53 }]);
    if (holder === undefined) continue;
    if (holder.code !== 'EADDRINUSE') return ` (${holder.code})`;
    if (holder.pid === null || directories.some((directory) => find(directory, null)?.pid === holder.pid)) return '';
    return ` (${protocol} port 53 is in use by pid ${holder.pid}, ${holder.command ?? '?'})`;
  }
  return ` (nothing listens there)`;
}

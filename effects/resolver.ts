/**
 * The resolver of an outside: its files and its processes (aardvark.ts says why there are two).
 *
 *   <run-dir>/dns/<outside>/open/, closed/   the directories that the servers read: NETWORK.zone, aardvark.pid
 *
 * Guarantees: each effect may run again from any point. A file is replaced whole, and only if it differs. A process is
 * ours when its command line names our directory, it lives in the outside's namespace and runs as the user for it; it is
 * known by pid and start time, started in a session of its own with an empty environment, and outlives the daemon. One that is healthy is never
 * restarted. After the stop there is neither process nor file.
 * Limits: the processes are in the daemon's cgroup: a service manager that is to stop the daemon alone must be told so
 * (systemd: KillMode=process).
 */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { AskInput, AskOutput, WriteInput } from '../machines/resolver.ts';
import { isKernelError, type Outside } from '../native/index.ts';
import { findAardvark, PARTS, zoneFiles, type Part } from './aardvark.ts';
import { ask, familyOf, type Question } from './dns-query.ts';
import { EffectError, unwritable } from './effect.ts';
import { removeIfEmpty } from './shared-directory.ts';
import { outsideKey, type Kernel } from './kernel.ts';
import { isStopped, watch } from './process.ts';
import { requireFor } from './refusal.ts';
import { writePart, zonesIn } from './resolver-files.ts';
import { find, reload, runsAs, start, stop } from './resolver-process.ts';
import { findUser, type User } from './users.ts';

export interface ResolverParts {
  kernel: Kernel;
  runDir: string;
  /** A server that was running has ended by itself. */
  exited: (outside: string | null) => void;
  /** Where to look for the program; for tests. */
  places?: readonly string[];
}

/** How long the server may take to answer for a new name. */
const ANSWER_MS = 3000;
/** When it has not answered after this, it is told once more to read its files. */
const NUDGE_MS = 500;
/** Containers asked for at the same time. */
const AT_ONCE = 128;

/** The directory of all resolvers, and that of an outside's. */
export const resolversHome = (runDir: string): string => join(runDir, 'dns');
export const resolverHome = (runDir: string, outside: string | null): string =>
  join(resolversHome(runDir), outsideKey(outside));

/** The bodies of the resolver machine's effects. One set per daemon: they share what they know of the processes. */
export function resolverEffects({ kernel, runDir, exited, places }: ResolverParts) {
  /** By directory: stops the watch, and whether the process has ended. */
  const watched = new Map<string, { pid: number; unwatch: () => void; ended: boolean }>();
  let found: User | null = null;
  /** Looked up once: the zone files are readable for this user, so it must not change while the daemon runs. */
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
      await stop(directory); // e.g. one that a former life of this outside's path had
      const file = await findAardvark(places);
      if (file === null) throw missing();
      server = await start({ file, directory, part, netns: outside, user: user() });
    } else if (again) {
      reload(server);
    }
    if (watched.get(directory)?.pid === server.pid) return;
    unwatch(directory);
    const entry = { pid: server.pid, unwatch: () => {}, ended: false };
    entry.unwatch = watch(server, () => {
      entry.ended = true;
      exited(outside);
    });
    watched.set(directory, entry);
  };

  const writeZones = ({ outside, zones }: WriteInput): Promise<{ changed: boolean }> => {
    const files = zoneFiles(zones);
    const reader = user();
    try {
      const changes = PARTS.map((part) => writePart(directoryOf(outside, part), files[part], reader));
      return Promise.resolve({ changed: changes.includes(true) });
    } catch (error) {
      // The files belong to the server's user, and giving a file away takes a capability.
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
    const todo = [...entries];
    const work = async () => {
      for (let entry = todo.shift(); entry !== undefined; entry = todo.shift()) {
        try {
          for (const question of questionsOf(entry)) {
            const fd = await native.udpSocket(familyOf(question.server), entry.netns);
            const said = await ask(fd, question, until, hopeless);
            if (said !== null)
              silent.set(entry.owner, `${said}${await holderOf(native, question.server, directories)}`);
          }
        } catch (error) {
          silent.set(entry.owner, error instanceof Error ? error.message : String(error)); // e.g. its namespace is gone
        }
      }
    };
    try {
      await Promise.all(Array.from({ length: Math.min(AT_ONCE, todo.length) }, work));
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

/** Without it names are asked for until time is up: that it cannot be done is no reason for more. */
function remind(directory: string): void {
  try {
    reload(find(directory, null));
  } catch (error) {
    if (!isKernelError(error)) throw error;
  }
}

function missing(): EffectError {
  return new EffectError({
    code: 'DNS_UNAVAILABLE',
    message: 'aardvark-dns not found: names of containers on networks with DNS cannot be answered',
    object: 'aardvark-dns',
  });
}

/** At every gateway that the container can reach, for one of its addresses. */
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

/** aardvark does not say that somebody else has its port; the kernel does. 1.14 needs that of TCP too, or it has neither. */
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

/**
 * The auditor's look at files below the run directory: those of containers and DNS servers that nobody names.
 *
 * Guarantees: as of audit.ts. A snapshot that was set aside counts as nobody, but keeps the journal of its container.
 * Limits: directories of forwarders are removed by whoever watches these, a second after their last process; what else lies in
 * the run directory is not ours to judge.
 */
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { namesIn, removeIfEmpty } from '../effects/shared-directory.ts';
import { leaked, type Found, type InUse } from './audit-finding.ts';

/** `ids`: of the containers that there are snapshots of. */
export function auditFiles(runDir: string, ids: ReadonlySet<string>): Found[] {
  const filesOf = (name: string) => namesIn(join(runDir, name)).map((file) => ({ home: join(runDir, name), file }));
  const setAside = new Set(namesIn(join(runDir, 'containers')).map((file) => file.replace(/\.json\.unreadable$/, '')));
  const journals = filesOf('journal').map((one) => ({
    ...one,
    id: one.file.replace(/\.ndjson(\.1)?$/, ''),
    gone: remove, // the directory is the journal's own
  }));
  const etc = filesOf('etc').map((one) => ({ ...one, id: one.file, gone: removeFromHome }));
  return [...journals.filter(({ id }) => !setAside.has(id)), ...etc]
    .filter(({ id }) => !ids.has(id))
    .map(({ home, file, id, gone }) =>
      leaked(
        { kind: 'file', object: join(home, file), owner: id },
        ({ containers }) => containers.some((one) => one.id === id),
        () => gone(join(home, file)),
      ),
    );
}

/** Zone files of an outside that no server reads. `directories`: where there is a server, or should be one. */
export function auditZones(
  home: string,
  directories: readonly string[],
  named: (key: string, inUse: InUse) => boolean,
): Found[] {
  return namesIn(home)
    .filter((key) => !directories.some((directory) => directory.startsWith(`${join(home, key)}/`)))
    .map((key) =>
      leaked(
        { kind: 'file', object: join(home, key) },
        (inUse) => named(key, inUse),
        () => removeFromHome(join(home, key)),
      ),
    );
}

function remove(path: string): Promise<void> {
  rmSync(path, { recursive: true, force: true });
  return Promise.resolve();
}

/** The directory goes with the last that lies in it. */
async function removeFromHome(path: string): Promise<void> {
  await remove(path);
  removeIfEmpty(dirname(path));
}

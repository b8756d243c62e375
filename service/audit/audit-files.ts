/**
 * Audits the files below the run directory: those of containers and DNS servers that no snapshot names.
 *
 * Guarantees: those of audit.ts. A snapshot that was set aside names nothing, but keeps the journal of its container.
 * Limits: the watch on forwarders (forwarder-watch.ts) removes their directories, a second after their last process. Other files
 * in the run directory are not ours and are not judged.
 */
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { namesIn, removeIfEmpty } from '../../effects/shared-directory.ts';
import { leaked, type Found, type InUse } from './audit-finding.ts';

/** Returns the files of containers that have no snapshot. `ids`: the containers that have one. */
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

/** Returns the zone files of an outside that no server reads. `directories`: those that have a server, or should have one. */
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

/** Removes the file, and its directory if that is empty afterwards. */
async function removeFromHome(path: string): Promise<void> {
  await remove(path);
  removeIfEmpty(dirname(path));
}

/**
 * Migrates records of older versions to the present one.
 *
 * Guarantees: each step is a pure function over plain JSON from one version to the next; a record without a version, from the
 * future, or with a step missing is refused (null), never guessed at. The schemas check the result, and a machine tries it
 * afterwards, like any other record.
 * Limits: forwards only. A daemon that is older than its snapshots sets them aside and says so.
 */
import { fromVersion1 } from './version-1.ts';
import { fromVersion2 } from './version-2.ts';
import { fromVersion3 } from './version-3.ts';

export interface VersionedRecord {
  machine: string;
  version: string;
  snapshot: unknown;
}

/** Maps each version to the function that makes the next one. Versions are the numbers 1, 2, 3 as text. */
export type Migrations = Readonly<Record<string, (snapshot: unknown) => unknown>>;

/** The version of the container records that this daemon writes. */
export const CONTAINER_VERSION = '4';

export const CONTAINER_MIGRATIONS: Migrations = { '1': fromVersion1, '2': fromVersion2, '3': fromVersion3 };

export function migrate(record: unknown, migrations: Migrations, wanted: string): VersionedRecord | null {
  if (typeof record !== 'object' || record === null) return null;
  const { machine, version, snapshot } = record as Partial<VersionedRecord>;
  if (typeof machine !== 'string' || typeof version !== 'string' || !/^\d{1,6}$/.test(version)) return null;
  let present = Number(version);
  let state = snapshot;
  while (present < Number(wanted)) {
    const step = migrations[String(present)];
    if (step === undefined) return null;
    try {
      state = step(state);
    } catch {
      return null; // the record does not have the shape of its version
    }
    present++;
  }
  return present === Number(wanted) ? { machine, version: wanted, snapshot: state } : null;
}

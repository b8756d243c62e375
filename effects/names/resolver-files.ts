/**
 * The directory that one DNS server reads: its zones, its pid file, and their permissions.
 *
 *   <run-dir>  dns  dns/<outside>   others can enter them by name, but not list them (0711)
 *   .../open, .../closed            0750, read by the server's group
 *   NETWORK.zone                    0640, read by the server's group
 *   aardvark.pid                    made here, because the server cannot make a file; written by the server
 *
 * Guarantees: everything but the pid file belongs to the daemon's user, so the server can change neither zones nor other files
 * there. A file is replaced whole, and only if it differs.
 */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { PID_FILE } from './aardvark.ts';
import { unwritable } from '../../state/faults.ts';
import type { User } from '../processes/users.ts';

const DIRECTORY = 0o750;
const ZONE = 0o640;

export function zonesIn(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory).filter((file) => file !== PID_FILE);
}

/** Reads the files that writePart has written. */
export function readPart(directory: string): Map<string, string> {
  return new Map(zonesIn(directory).map((file) => [file, readFileSync(join(directory, file), 'utf8')]));
}

/** Returns true if something in the directory has changed. */
export function writePart(directory: string, files: ReadonlyMap<string, string>, reader: User): boolean {
  let changed = false;
  if (files.size > 0 && !existsSync(directory)) makeDirectory(directory, reader);
  // Beside the directory, because the server reads every file in it.
  const temporary = `${directory}.tmp`;
  for (const [file, text] of files) {
    const path = join(directory, file);
    if (existsSync(path) && readFileSync(path, 'utf8') === text) continue;
    writeFileSync(temporary, text, { mode: 0o600 });
    letRead(temporary, ZONE, reader);
    renameSync(temporary, path);
    changed = true;
  }
  for (const file of zonesIn(directory)) {
    if (files.has(file)) continue;
    unlinkSync(join(directory, file));
    changed = true;
  }
  return changed;
}

/** Returns the first directory of the path that the user may not enter; null if the user can reach this directory. */
export function closedOnTheWay(directory: string, { uid, gid }: User): string | null {
  const above = dirname(directory);
  const closed = above === directory ? null : closedOnTheWay(above, { uid, gid });
  if (closed !== null) return closed;
  const status = statSync(directory);
  const search = status.uid === uid ? 0o100 : status.gid === gid ? 0o010 : 0o001;
  return (status.mode & search) === 0 ? directory : null;
}

/** Sets owners and modes before a server starts, also of files that an earlier version of cleat wrote for root alone. */
export function handOver(directory: string, server: User): void {
  try {
    makeDirectory(directory, server);
    for (const file of zonesIn(directory)) letRead(join(directory, file), ZONE, server);
    const pidFile = join(directory, PID_FILE);
    rmSync(pidFile, { force: true });
    writeFileSync(pidFile, '', { mode: 0o600 });
    chownSync(pidFile, server.uid, server.gid);
  } catch (error) {
    throw unwritable(error);
  }
}

function makeDirectory(directory: string, reader: User): void {
  const outside = dirname(directory);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  for (const above of [dirname(outside), outside]) chmodSync(above, 0o711);
  letRead(directory, DIRECTORY, reader);
}

function letRead(path: string, mode: number, { gid }: User): void {
  chownSync(path, process.getuid?.() ?? 0, gid);
  chmodSync(path, mode);
}

/**
 * Says if a file can be run.
 *
 * Guarantees: a directory is none, although it may have the permission.
 * Limits: asks with the daemon's rights, at this moment.
 */
import { accessSync, constants, statSync } from 'node:fs';

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/**
 * A directory that holds the directories of many owners, and is removed with the last of them.
 *
 * Guarantees: a directory that others use, or that is missing, is left as it is. Any other failure to remove it is an error,
 * and the effect runs again.
 */
import { readdirSync, rmdirSync } from 'node:fs';
import { unwritable } from '../state/faults.ts';

export function removeIfEmpty(home: string): void {
  try {
    rmdirSync(home);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'ENOENT') throw unwritable(error);
  }
}

/** Returns the names of its entries; none if the directory is missing. */
export function namesIn(home: string): string[] {
  try {
    return readdirSync(home);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

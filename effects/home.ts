/**
 * The directory in which directories of many lie: gone with the last of them.
 *
 * Guarantees: one that others use, or that is not there, is left as it is; anything else that keeps it is an error, and the
 * effect is run again.
 */
import { readdirSync, rmdirSync } from 'node:fs';
import { unwritable } from './effect.ts';

export function removeIfEmpty(home: string): void {
  try {
    rmdirSync(home);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'ENOENT') throw unwritable(error);
  }
}

/** What lies in it: nothing, where it is not there. */
export function namesIn(home: string): string[] {
  try {
    return readdirSync(home);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

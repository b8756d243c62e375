/**
 * Reads what the audit compares from its sources: files of JSON, records of outsides, mount points.
 *
 * Guarantees: changes nothing. A file that cannot be parsed is null, or names nothing.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Returns the outsides that have a record. An unreadable record names none. */
export function recordedOutsides(directory: string): (string | null)[] {
  if (!existsSync(directory)) return [];
  return readJson(directory).flatMap(({ json }) => {
    const { outside } = (json ?? {}) as { outside?: unknown };
    return typeof outside === 'string' ? [outside] : [];
  });
}

export function readJson(directory: string): { file: string; json: unknown }[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.json'))
    .map((name) => {
      const file = join(directory, name);
      try {
        return { file, json: JSON.parse(readFileSync(file, 'utf8')) as unknown };
      } catch {
        return { file, json: null };
      }
    });
}

/** Returns field 5 of each line (proc_pid_mountinfo(5)). Names of pins need no unescaping. */
export function mountPoints(): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
}

/**
 * The exported journal that `cleat inspector FILE` shows.
 *
 * Guarantees: a file that is no exported journal is refused with the reason. A last line that was cut off is left out, and said.
 * Limits: looks at the form alone; the page reads what the lines say.
 */
import { readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { CleatError } from '../../client/error.ts';
import { Failure } from '../failure.ts';

/** Is far more than an export can have: a journal has at most two files of 256 KiB. */
const MAX_BYTES = 16 << 20;

export interface JournalFile {
  name: string;
  text: string;
  /** Is true if its last line was incomplete, and was left out. */
  cut: boolean;
}

export function readJournal(path: string): JournalFile {
  const name = basename(path);
  const lines = read(path).split('\n');
  const cut = lines.at(-1) !== '' && !isObject(lines.at(-1) ?? '');
  if (cut) lines.pop();
  const kept = lines.filter((line) => line.trim() !== '');
  const wrong = lines.findIndex((line) => line.trim() !== '' && !isObject(line));
  if (wrong !== -1) throw unreadable(`line ${wrong + 1} of ${path} is no JSON object`);
  if (kept.length === 0) throw unreadable(`${path} is empty`);
  return { name, text: kept.map((line) => `${line}\n`).join(''), cut };
}

function read(path: string): string {
  try {
    const found = statSync(path);
    if (!found.isFile()) throw unreadable(`${path} is no file`);
    if (found.size > MAX_BYTES) throw unreadable(`${path} has more than ${MAX_BYTES} bytes`);
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof CleatError) throw error;
    throw unreadable(`${path} cannot be read: ${(error as Error).message}`);
  }
}

function isObject(line: string): boolean {
  try {
    const json = JSON.parse(line) as unknown;
    return typeof json === 'object' && json !== null && !Array.isArray(json);
  } catch {
    return false;
  }
}

const unreadable = (message: string): Failure =>
  new Failure({
    code: 'NO_JOURNAL',
    message,
    hint: 'FILE is what `cleat export ID` has written: JSON objects, one per line.',
  });

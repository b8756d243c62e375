/**
 * Reads an exported journal that anybody may have written or changed.
 *
 * Guarantees: bounded: a line, the whole and the depth of its JSON are refused before they are parsed. Each line has the shape
 * that it says it has (state/answers/container/history.ts), and no member is called `__proto__`. A file that does not end with
 * its last line is reported as cut off, with everything that came before.
 * Limits: what an event or a snapshot holds is left to the machine that takes it (replay.ts).
 */
import { createReadStream } from 'node:fs';
import { ExportEnd, ExportHeader, JournalLine } from '../../state/answers/container/history.ts';
import { JOURNAL_VERSION } from '../../state/versions/journal.ts';
import { FaultError } from '../../state/faults.ts';
import { CONTAINER_VERSION } from '../../state/versions/migrations.ts';

/** A line has at most a snapshot, which 4096 ports make 2 MB large. */
const MAX_LINE = 16 * 1024 * 1024;
const MAX_FILE = 64 * 1024 * 1024;
/** Snapshots have 16 levels. */
const MAX_DEPTH = 64;

export interface ReadJournal {
  header: ExportHeader;
  /** Each has its number in the file. */
  lines: { line: JournalLine; n: number }[];
  cutOff: boolean;
}

const notOne = (n: number, why: string): FaultError =>
  new FaultError('NOT_A_JOURNAL', `line ${n} is not one of an exported journal: ${why}`);

/** Reads a file, or standard input for "-". Throws NOT_A_JOURNAL and JOURNAL_VERSION. */
export async function readJournal(path: string): Promise<ReadJournal> {
  const input = path === '-' ? process.stdin : createReadStream(path);
  try {
    return await parseJournal(input);
  } catch (error) {
    if (error instanceof FaultError) throw error;
    const { message, code } = error as NodeJS.ErrnoException;
    throw new FaultError('NOT_A_JOURNAL', `cannot read ${path}: ${message}`, code === undefined ? {} : { errno: code });
  } finally {
    input.destroy();
  }
}

export async function parseJournal(input: AsyncIterable<Buffer | string>): Promise<ReadJournal> {
  let header: ExportHeader | null = null;
  const lines: ReadJournal['lines'] = [];
  let end: ExportEnd | null = null;
  let n = 0;
  for await (const { text, whole } of linesOf(input)) {
    n++;
    if (end !== null) throw notOne(n, 'it comes after the last one');
    const json = parseLine(text, n, whole && header !== null);
    if (json === undefined) break; // cut off in the middle of a line
    if (header === null) {
      header = headerOf(json);
    } else if (ExportEnd.safeParse(json).success) {
      end = json as ExportEnd;
      if (end.lines !== lines.length) {
        throw notOne(n, `it says that ${end.lines} lines come before it, and ${lines.length} do`);
      }
    } else {
      lines.push({ line: lineOf(json, n), n });
    }
  }
  if (header === null) throw new FaultError('NOT_A_JOURNAL', 'the file is empty');
  return { header, lines, cutOff: end === null };
}

/** Yields the lines; the last one is not whole if no newline ends it. */
async function* linesOf(input: AsyncIterable<Buffer | string>): AsyncGenerator<{ text: string; whole: boolean }> {
  let rest: Buffer[] = [];
  let kept = 0;
  let total = 0;
  let n = 1;
  for await (const chunk of input) {
    let bytes = Buffer.from(chunk as Buffer);
    total += bytes.length;
    if (total > MAX_FILE) throw notOne(n, `the file is larger than ${MAX_FILE} bytes`);
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10)) {
      const text = Buffer.concat([...rest, bytes.subarray(0, end)]).toString('utf8');
      [rest, kept] = [[], 0];
      bytes = bytes.subarray(end + 1);
      yield { text, whole: true };
      n++;
    }
    kept += bytes.length;
    if (kept > MAX_LINE) throw notOne(n, `it is longer than ${MAX_LINE} bytes`);
    rest.push(bytes);
  }
  if (kept > 0) yield { text: Buffer.concat(rest).toString('utf8'), whole: false };
}

/** Returns the value; undefined for a last line of which the end is missing. */
function parseLine(text: string, n: number, whole: boolean): unknown {
  if (depthOf(text) > MAX_DEPTH) throw notOne(n, `it is nested more than ${MAX_DEPTH} levels deep`);
  try {
    return JSON.parse(text, (key, value: unknown) => {
      if (key === '__proto__') throw notOne(n, 'it has a member __proto__');
      return value;
    });
  } catch (error) {
    if (error instanceof FaultError) throw error;
    if (!whole && n > 1) return undefined;
    throw notOne(n, 'it is no JSON');
  }
}

/** Returns how deep brackets are nested, those in strings left out. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (quoted) {
      if (code === 92) i++;
      else if (code === 34) quoted = false;
    } else if (code === 34) quoted = true;
    else if (code === 123 || code === 91) deepest = Math.max(deepest, ++depth);
    else if (code === 125 || code === 93) depth--;
  }
  return deepest;
}

function headerOf(json: unknown): ExportHeader {
  const { journal, cleat } = (json ?? {}) as Partial<Record<string, unknown>>;
  if (Number.isInteger(journal) && journal !== JOURNAL_VERSION) {
    const by = typeof cleat === 'string' ? ` (cleat ${cleat})` : '';
    throw new FaultError(
      'JOURNAL_VERSION',
      `the journal has format ${String(journal)}${by}, and this cleat reads format ${JOURNAL_VERSION}`,
    );
  }
  const { data } = ExportHeader.safeParse(json);
  if (data === undefined) throw notOne(1, 'it does not say of which container and version it is');
  if (data.machine !== CONTAINER_VERSION) {
    throw new FaultError(
      'JOURNAL_VERSION',
      `the journal is of containers of version ${data.machine} (cleat ${data.cleat}), and this cleat has version ${CONTAINER_VERSION}`,
    );
  }
  return data;
}

function lineOf(json: unknown, n: number): JournalLine {
  const { data, error } = JournalLine.safeParse(json);
  if (data !== undefined) return data;
  const [issue] = error.issues;
  throw notOne(n, `${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim());
}

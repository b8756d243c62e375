/**
 * The daemon's log on stderr (pino): JSON lines, or lines for people if stderr is a terminal.
 *
 *   error  something failed: a requested operation, or work of the daemon's own
 *   warn   nobody requested it: drift, repairs, a container that is degraded, what this machine lacks
 *   info   a requested change
 *   debug  the rest
 *
 * Guarantees: a line is one line, and safe on a terminal. Names that others chose (of processes, interfaces and files) may
 * contain C1 controls, bidirectional or zero-width characters, which JSON allows. They are escaped here (\\u009b), as JSON
 * escapes C0 controls itself; the meaning of the line is the same. In lines for people `tell` escapes them.
 * Limits: writes are synchronous, so a reader of stderr that does not read blocks the daemon.
 */
import pino from 'pino';

export type Log = Pick<pino.Logger, 'debug' | 'info' | 'warn' | 'error'>;

export const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type Level = (typeof LEVELS)[number];

export const isLevel = (text: string): text is Level => (LEVELS as readonly string[]).includes(text);

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

const escaped = (text: string): string =>
  Array.from({ length: text.length }, (_, i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, '0')}`).join('');

/** Returns the line with invisible characters escaped. `line` ends with a newline, and has no other. */
export const printableJson = (line: string): string => `${line.slice(0, -1).replace(INVISIBLE, escaped)}\n`;

/** `tell` writes lines for a person; null if a program reads them. */
export function openLog(level: Level, tell: ((lines: string[]) => void) | null): pino.Logger {
  // By default pino serializes an error only in the field `err`. In any other field it would be {}.
  const serializers = { error: pino.stdSerializers.err };
  const stderr = pino.destination({ fd: 2, sync: true });
  const write = (line: string): void => {
    if (tell === null) stderr.write(printableJson(line));
    else tell(linesOf(JSON.parse(line) as Entry));
  };
  return pino({ name: 'cleat', level, serializers }, { write });
}

interface Entry {
  level: number;
  time: number;
  msg: string;
  error?: { stack?: string };
  [field: string]: unknown;
}

/** Fields that the message already contains, or that are the same in every line. */
const SAID = ['level', 'time', 'msg', 'name', 'pid', 'hostname', 'error', 'fault', 'drift'];

/** Returns "20:51:24.031 warn message field=value", followed by the stack of an error. */
export function linesOf(entry: Entry): string[] {
  const time = new Date(entry.time).toISOString().slice(11, 23);
  const level = (pino.levels.labels[entry.level] ?? String(entry.level)).padEnd(5);
  const fields = Object.entries(entry)
    .filter(([name, value]) => !SAID.includes(name) && value !== null)
    .map(([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return [`${time} ${level} ${entry.msg}${fields.join('')}`, ...(entry.error?.stack?.split('\n') ?? [])];
}

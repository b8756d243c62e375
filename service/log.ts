/**
 * The daemon's log on stderr (pino): JSON lines, or lines for people where stderr is a terminal.
 *
 *   error  something failed: an operation that was asked for, or work of the daemon's own
 *   warn   nobody asked for it: drift, repairs, a container that is degraded, what this machine lacks
 *   info   what changed because somebody asked
 *   debug  the rest
 *
 * Guarantees: a line is one line, and safe on a terminal: what others chose (names of processes, interfaces and files) may
 * hold C1 controls, bidirectional or zero-width characters, which JSON allows and which are escaped here (\\u009b), as JSON
 * does with C0 by itself; the meaning of the line is the same. Lines for people are written by `tell`, which does it there.
 * Limits: written at once, so a reader of stderr that does not read holds the daemon up.
 */
import pino from 'pino';

export type Log = Pick<pino.Logger, 'debug' | 'info' | 'warn' | 'error'>;

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

const escaped = (text: string): string =>
  Array.from({ length: text.length }, (_, i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, '0')}`).join('');

/** `line` ends with a newline, and has no other. */
export const printableJson = (line: string): string => `${line.slice(0, -1).replace(INVISIBLE, escaped)}\n`;

/** `tell`: how lines reach a person; null where a program reads them. */
export function openLog(level: string, tell: ((lines: string[]) => void) | null): pino.Logger {
  // By default pino knows errors as `err` alone; any other is {} in the log.
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

/** The message already says what these fields say, or they say the same in every line. */
const SAID = ['level', 'time', 'msg', 'name', 'pid', 'hostname', 'error', 'fault', 'drift'];

/** "20:51:24.031 warn  message field=value", and the stack of an error below it. */
export function linesOf(entry: Entry): string[] {
  const time = new Date(entry.time).toISOString().slice(11, 23);
  const level = (pino.levels.labels[entry.level] ?? String(entry.level)).padEnd(5);
  const fields = Object.entries(entry)
    .filter(([name, value]) => !SAID.includes(name) && value !== null)
    .map(([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return [`${time} ${level} ${entry.msg}${fields.join('')}`, ...(entry.error?.stack?.split('\n') ?? [])];
}

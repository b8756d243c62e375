/**
 * Writes all output of the command, and is the one place that makes text safe for a terminal.
 *
 * Guarantees: text for people that is meant to be one line stays one line, and hides nothing. Control characters (C0, C1), line
 * separators, and Unicode's format and default ignorable characters (bidirectional controls, zero width) are written as \u{9b},
 * because others choose the names of processes, interfaces and files. JSON is left as it is: it is for programs. Colours are for
 * terminals alone.
 * Limits: letters that look alike are left. The output of CMD of `cleat run` is not touched. native/printable.h does the same
 * for the native executables.
 */

/** Matches what most output is. A process that prints nothing else does not make the automaton of all of Unicode. */
const PLAIN = /^[ -~]*$/;

export const printable = (text: string): string => (PLAIN.test(text) ? text : withoutInvisible(text));

const withoutInvisible = (text: string): string =>
  text.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );

const toText = (lines: readonly string[]): string => lines.map((line) => `${printable(line)}\n`).join('');

/** SGR codes (ECMA-48, 8.3.117) of what is well, on its way, and wrong. */
const COLOURS = { good: 32, busy: 33, bad: 31 } as const;

/** True if colours are wanted there: a terminal that has them, without NO_COLOR (https://no-color.org). */
const hasColours = (stream: NodeJS.WriteStream): boolean =>
  stream.isTTY && (process.env.NO_COLOR ?? '') === '' && stream.hasColors();

const paintWith = (code: number, text: string): string => `\x1b[${code}m${text}\x1b[39m`;

const WORDS: Readonly<Record<keyof typeof COLOURS, readonly string[]>> = {
  bad: ['degraded', 'failed', 'error', 'teardownFailed', 'leaked', 'missing', 'changed', 'up (drift)'],
  good: ['up'],
  busy: ['created', 'creating', 'configuring', 'tearingDown', 'draining', 'releasing'],
};

/** Returns a cell of a table, coloured if its column says how well something is, and stdout has colours. */
export function painted(heading: string, cell: string): string {
  if (!['STATE', 'PROBLEM'].includes(heading) || !hasColours(process.stdout)) return cell;
  // In this order: `up (drift)` is no `up`.
  const kind = (['bad', 'good', 'busy'] as const).find((name) =>
    WORDS[name].some((word) => cell === word || cell.startsWith(`${word} (`)),
  );
  return kind === undefined ? cell : paintWith(COLOURS[kind], cell);
}

/** Returns a printable line with its first word coloured, if it is an error, a warning or a hint. */
function paintStart(line: string, stream: NodeJS.WriteStream): string {
  if (!hasColours(stream)) return line;
  return line
    .replace(/^Error:/, (word) => paintWith(COLOURS.bad, word))
    .replace(/^Warning:/, (word) => paintWith(COLOURS.busy, word))
    .replace(/^Hint:/, (word) => paintWith(COLOURS.good, word));
}

/** Writes the lines of a table, whose cells are printable already. */
export function sayCells(lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(''));
}

/** Writes lines to stdout. */
export function say(lines: readonly string[]): void {
  process.stdout.write(toText(lines));
}

/** Writes lines to stderr. */
export function complain(lines: readonly string[]): void {
  process.stderr.write(lines.map((line) => `${paintStart(printable(line), process.stderr)}\n`).join(''));
}

export function sayJson(json: string): void {
  process.stdout.write(`${json}\n`);
}

export function complainJson(json: string): void {
  process.stderr.write(`${json}\n`);
}

/** Writes a line without ending it; the returned function erases it. */
export function note(text: string): () => void {
  process.stderr.write(printable(text));
  return () => void process.stderr.write('\r\x1b[K');
}

/**
 * The screen of a live table: a second one, which leaves what the terminal showed before as it was (xterm's alternate screen,
 * which every terminal emulator has). Long lines are cut at its edge.
 */
export function enterScreen(): void {
  process.stdout.write('\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J');
}

export function leaveScreen(): void {
  process.stdout.write('\x1b[?7h\x1b[?25h\x1b[?1049l');
}

/**
 * Writes lines of the screen at their rows, counted from 0, in one call, so that nothing flickers. A line is as long as the screen is
 * wide, so that nothing of an earlier one is left.
 */
export function paint(lines: ReadonlyMap<number, string>): void {
  const text = [...lines].map(([row, line]) => `\x1b[${row + 1};1H${printable(line)}`).join('');
  if (text !== '') process.stdout.write(text);
}

/** Prints the warnings of an operation that was done but may not do what the user meant. */
export function warn({ warnings = [] }: { warnings?: string[] | undefined }): void {
  complain(warnings.map((text) => `Warning: ${text}`));
}

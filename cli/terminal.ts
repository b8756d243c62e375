/**
 * Writes all output of the command, and is the one place that makes text safe for a terminal.
 *
 * Guarantees: text for people that is meant to be one line stays one line, and hides nothing. Control characters (C0, C1), line
 * separators, and Unicode's format and default ignorable characters (bidirectional controls, zero width) are written as \u{9b},
 * because others choose the names of processes, interfaces and files. JSON is left as it is: it is for programs.
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

/** Writes lines to stdout. */
export function say(lines: readonly string[]): void {
  process.stdout.write(toText(lines));
}

/** Writes lines to stderr. */
export function complain(lines: readonly string[]): void {
  process.stderr.write(toText(lines));
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

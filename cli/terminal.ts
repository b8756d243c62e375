/**
 * Everything that this command writes, and the one place where it is made fit for a terminal.
 *
 * Guarantees: what a person reads is one line where one line is meant, and shows all that it is made of: control characters
 * (C0, C1), line separators, and what Unicode has as format characters or default ignorable (bidirectional controls, zero
 * width) are written as \u{9b}. Names of processes, interfaces and files are chosen by others. JSON is left as it is:
 * it is for programs.
 * Limits: letters that look alike are left. What CMD of `cleat run` writes is CMD's. native/printable.h does the same for the
 * native executables.
 */

const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

export const printable = (text: string): string =>
  text.replace(INVISIBLE, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);

const toText = (lines: readonly string[]): string => lines.map((line) => `${printable(line)}\n`).join('');

/** On stdout. */
export function say(lines: readonly string[]): void {
  process.stdout.write(toText(lines));
}

/** On stderr. */
export function complain(lines: readonly string[]): void {
  process.stderr.write(toText(lines));
}

export function sayJson(json: string): void {
  process.stdout.write(`${json}\n`);
}

export function complainJson(json: string): void {
  process.stderr.write(`${json}\n`);
}

/** A line that is not ended yet; what is returned wipes it out. */
export function note(text: string): () => void {
  process.stderr.write(printable(text));
  return () => void process.stderr.write('\r\x1b[K');
}

/** Tells the user of what was done all the same, and may not be what was meant. */
export function warn({ warnings = [] }: { warnings?: string[] }): void {
  complain(warnings.map((text) => `Warning: ${text}`));
}

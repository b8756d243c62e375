/**
 * Answers about several objects: successes on stdout, failures on stderr.
 *
 * Guarantees: one failure does not hide the other answers; the exit code is that of the first failure.
 */
import type { Command } from 'commander';
import { CleatError } from '../client/error.ts';
import type { Session } from './command.ts';
import { EXIT, exitCodeOf, explain, type Refusal } from './failure.ts';
import { complain, complainJson } from './terminal.ts';

export function reportAll<T extends object>(
  session: Session,
  results: (T | CleatError)[],
  words: (answer: T) => string | string[],
  json: (answer: T) => object = (answer) => answer,
): void {
  const answers = results.filter((result): result is T => !(result instanceof CleatError));
  session.say(answers.map(json), answers.flatMap(words));
  reportFailures(session, results);
}

/** `command`: the one that has failed; a hint that names a command for people gets its operands. */
export function report(error: Refusal, json: boolean, command: Command): void {
  if (json) complainJson(JSON.stringify({ error }));
  else complain(explain(error.hint === undefined ? error : { ...error, hint: filled(error.hint, command) }));
}

/** Puts the operands of the command in the place of ID, NAME and NETWORK in the commands that a hint names. */
function filled(hint: string, { registeredArguments, args }: Command): string {
  const values = new Map(
    registeredArguments.flatMap((argument, i) => {
      const [value, ...more] = argument.variadic ? args.slice(i) : args.slice(i, i + 1);
      return value === undefined || more.length > 0 ? [] : [[argument.name().toUpperCase(), value] as const];
    }),
  );
  return hint.replaceAll(/`cleat [^`]+`/g, (words) =>
    words.replaceAll(/\b[A-Z]+\b/g, (word) => values.get(word) ?? word),
  );
}

export function reportFailures(session: Session, results: unknown[]): void {
  const failures = results.filter((result) => result instanceof CleatError);
  for (const { error } of failures) report(error, session.json, session.command);
  const [first] = failures;
  if (first !== undefined) process.exitCode = exitCodeOf(first);
}

/** Calls `ask` for each name. Keeps a refusal beside the answers; any other error ends all. */
export async function each<T>(names: string[], ask: (name: string) => Promise<T>): Promise<(T | CleatError)[]> {
  return Promise.all(
    names.map(async (name) => {
      try {
        return await ask(name);
      } catch (error) {
        if (error instanceof CleatError && exitCodeOf(error) === EXIT.failed) return error;
        throw error;
      }
    }),
  );
}

/**
 * How the command fails: what is said, and the exit code it is said with.
 *
 * Guarantees: every failure that a user can cause is a Failure; anything else that is thrown is a defect and shows its
 * stack. The shape printed with --format json is the API's: {"error":{code, message, hint, ...}}.
 */
import type { ApiError } from './answers.ts';

/** Exit codes; docs/cli.md and --help list the same. */
export const EXIT = {
  ok: 0,
  /** The daemon refused or could not do it; audit and doctor: something was found. */
  failed: 1,
  usage: 2,
  unreachable: 3,
  /** `cleat run` only, as docker and podman have them. */
  runFailed: 125,
  notInvocable: 126,
  notFound: 127,
} as const;

export class Failure extends Error {
  readonly error: ApiError;
  readonly exitCode: number;

  constructor(error: ApiError, exitCode: number = EXIT.failed) {
    super(error.message);
    this.name = 'Failure';
    this.error = error;
    this.exitCode = exitCode;
  }
}

/** The command line is wrong: found without asking the daemon. */
export function usage(message: string, hint?: string): Failure {
  return new Failure({ code: 'USAGE', message, ...(hint === undefined ? {} : { hint }) }, EXIT.usage);
}

/** The lines that a person reads on stderr. */
export function explain({ message, hint, issues, legal, step, errno, syscall, object }: ApiError): string[] {
  const lines = [`Error: ${message}`];
  // The message names the first one already.
  for (const issue of (issues ?? []).slice(1))
    lines.push(`  ${issue.path === '' ? '' : `${issue.path}: `}${issue.message}`);
  const where = Object.entries({ step, errno, syscall, object }).filter(([, value]) => value !== undefined);
  if (errno !== undefined) lines.push(`  (${where.map(([key, value]) => `${key} ${value}`).join(', ')})`);
  if (legal !== undefined) lines.push(`  Possible now: ${legal.length === 0 ? 'nothing' : legal.join(', ')}`);
  if (hint !== undefined) lines.push(`Hint: ${hint}`);
  return lines;
}

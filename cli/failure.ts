/**
 * The failures of the command: their text and their exit codes.
 *
 * Guarantees: every failure that a user can cause is a CleatError; anything else that is thrown is a defect and shows its stack.
 * With --format json, a failure is printed in the API's shape: {"error":{code, message, hint, ...}}.
 */
import { CleatError, isUnanswered, type Refusal } from '../client/error.ts';

export type { Refusal };

/** Exit codes. docs/cli.md and --help list the same. */
export const EXIT = {
  ok: 0,
  /** The daemon refused or failed; for audit, doctor and why: they found something. */
  failed: 1,
  usage: 2,
  unreachable: 3,
  /** Only for `cleat run`; the same as docker's and podman's. */
  runFailed: 125,
  notInvocable: 126,
  notFound: 127,
} as const;

/**
 * A failure of this command's own: USAGE, UNWRITABLE and others; of the inspector also NOT_BUILT, NO_JOURNAL, CANNOT_LISTEN. What the
 * daemon refuses is a CleatError as the client throws it.
 */
export class Failure extends CleatError {
  readonly exitCode: number;

  constructor(error: Refusal, exitCode: number = EXIT.failed) {
    super(error);
    this.name = 'Failure';
    this.exitCode = exitCode;
  }
}

export function exitCodeOf(error: CleatError): number {
  if (error instanceof Failure) return error.exitCode;
  return isUnanswered(error) ? EXIT.unreachable : EXIT.failed;
}

/** Returns the failure of a wrong command line, which is found without a request to the daemon. */
export function usage(message: string, hint?: string): Failure {
  return new Failure({ code: 'USAGE', message, ...(hint === undefined ? {} : { hint }) }, EXIT.usage);
}

/** Returns the lines that a person reads on stderr. */
export function explain({ message, hint, issues, legal, step, errno, syscall, object }: Refusal): string[] {
  const lines = [`Error: ${message}`];
  // The message has the first issue already.
  for (const issue of (issues ?? []).slice(1))
    lines.push(`  ${issue.path === '' ? '' : `${issue.path}: `}${issue.message}`);
  const where = Object.entries({ step, errno, syscall, object }).filter(([, value]) => value !== undefined);
  if (errno !== undefined) lines.push(`  (${where.map(([key, value]) => `${key} ${value}`).join(', ')})`);
  if (legal !== undefined) lines.push(`  Possible now: ${legal.length === 0 ? 'nothing' : legal.join(', ')}`);
  if (hint !== undefined) lines.push(`Hint: ${hint}`);
  return lines;
}

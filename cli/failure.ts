/**
 * The failures of the command: their text and their exit codes.
 *
 * Guarantees: every failure that a user can cause is a Failure; anything else that is thrown is a defect and shows its stack.
 * With --format json, a failure is printed in the API's shape: {"error":{code, message, hint, ...}}.
 */
import type { ApiError } from '../state/answers/error.ts';

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
 * The API's, or with a code of this client's own: USAGE, UNREACHABLE, NO_ANSWER, UNWRITABLE, NOT_LOADED; of the inspector also NOT_BUILT,
 * NO_JOURNAL, CANNOT_LISTEN.
 */
export type Refusal = Omit<ApiError, 'code' | 'hint'> & { code: string; hint?: string };

export class Failure extends Error {
  readonly error: Refusal;
  readonly exitCode: number;

  constructor(error: Refusal, exitCode: number = EXIT.failed) {
    super(error.message);
    this.name = 'Failure';
    this.error = error;
    this.exitCode = exitCode;
  }
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

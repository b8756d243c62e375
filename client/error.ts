/**
 * The one error of the client: the daemon's refusal as it was sent, or why there is no answer.
 *
 * Guarantees: `code` is stable; `hint` says what to do; `owner`, `legal` and `issues` are there where the daemon names them
 * (docs/errors.md). Codes of the client's own: UNREACHABLE, NO_ANSWER (not one of this API), TIMEOUT.
 */
import type { ApiError } from '../state/answers/error.ts';

/** The API's, or with a code of the client's own. */
export type Refusal = Omit<ApiError, 'code' | 'hint'> & { code: string; hint?: string };

export class CleatError extends Error {
  /** As the daemon sent it. */
  readonly error: Refusal;

  constructor(error: Refusal, cause?: unknown) {
    super(error.message, cause === undefined ? {} : { cause });
    this.name = 'CleatError';
    this.error = error;
  }

  get code(): string {
    return this.error.code;
  }

  /** What the reader can do. */
  get hint(): string | undefined {
    return this.error.hint;
  }

  /** Who has what was asked for: a container, "network NAME", or "pid 42 (nginx)". */
  get owner(): string | undefined {
    return this.error.owner;
  }
}

/** Codes that say that nothing was answered, or nothing of ours. */
const UNANSWERED = new Set(['UNREACHABLE', 'NO_ANSWER', 'TIMEOUT']);

/** Returns true if the daemon has not answered. */
export const isUnanswered = ({ code }: CleatError): boolean => UNANSWERED.has(code);

/** Returns the error for an answer that is not the API's. */
export function noAnswer(what: string): CleatError {
  const hint = 'Is this socket another program’s, or the daemon of another version? `cleat version` tells.';
  return new CleatError({ code: 'NO_ANSWER', message: `the answer is not one of cleat's API: ${what}`, hint });
}

/** Returns the error for a missing or incomplete answer: no daemon, no permission, or a daemon that ended during the request. */
export function unanswered(socket: string, error: NodeJS.ErrnoException): CleatError {
  const at = `cleat does not answer at ${socket}`;
  const { code = '' } = error;
  const unreachable = (message: string, hint: string) =>
    new CleatError({ code: 'UNREACHABLE', message, hint, ...(code === '' ? {} : { object: code }) }, error);
  const start = 'Start it with `cleat daemon`, or say where it listens with --socket, CLEAT_SOCKET or CLEAT_RUN_DIR.';
  switch (code) {
    case 'ENOENT':
      return unreachable(`${at}: there is no such socket`, start);
    case 'ECONNREFUSED':
      return unreachable(`${at}: nobody listens there any more`, start);
    case 'ENOTSOCK':
      return unreachable(`${at}: this is no socket`, start);
    case 'EACCES':
    case 'EPERM':
      return unreachable(`${at}: you may not open it`, 'Run this as root, or as a member of the group of the socket.');
    case 'ECONNRESET':
    case 'EPIPE':
      return unreachable(
        `the daemon at ${socket} ended the connection`,
        'What it had accepted it finishes when it runs again: `cleat ps` tells how things are.',
      );
    default:
      return unreachable(`${at}: ${error.message}`, start);
  }
}

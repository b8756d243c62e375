/**
 * The user that this host is to etcd, where etcd has users and roles: a token for a name and a password.
 *
 * Guarantees: requests at the same time wait for one authentication. The password is read from its file each time, so that one that was
 * replaced is used without a restart, and it is in no message. Without authentication in etcd there is no token, and that is no error:
 * it may be enabled later.
 * Limits: etcd forgets a token after minutes, or when one of its members is started: `forget` it then. The common name of a certificate
 * is no user here, because etcd's gateway does not pass it on.
 */
import { readFileSync } from 'node:fs';
import { FaultError } from '../../state/faults.ts';
import { isRefusal, PRECONDITION, type Refusal } from './answers.ts';

export interface LoginFiles {
  user: string;
  passwordFile: string;
}

type Authenticate = (body: { name: string; password: string }) => Promise<{ token?: string } | { refusal: Refusal }>;

/** Recognises that etcd does not know our token any more, or has got none. The text decides, because the code is that of what is denied. */
const UNKNOWN = /invalid auth token|revision of auth store is old|user name is empty/;

export const isUnknown = ({ message }: Refusal): boolean => UNKNOWN.test(message);

export class Login {
  readonly #files: LoginFiles;
  #token: Promise<string> | null = null;
  /** The token that requests are sent with; empty without one. */
  current = '';

  constructor(files: LoginFiles) {
    this.#files = files;
  }

  /** Resolves with the token; empty if etcd has no users. */
  token(authenticate: Authenticate): Promise<string> {
    this.#token ??= this.#authenticate(authenticate).then(
      (token) => (this.current = token),
      (error: unknown) => {
        this.#token = null;
        throw error;
      },
    );
    return this.#token;
  }

  /** Has the next request get another token, unless there is another one already. */
  forget(token: string): void {
    if (this.current !== token) return;
    this.#token = null;
    this.current = '';
  }

  async #authenticate(authenticate: Authenticate): Promise<string> {
    const { user, passwordFile } = this.#files;
    const answer = await authenticate({ name: user, password: passwordIn(passwordFile) });
    if (!isRefusal(answer)) return answer.token ?? '';
    if (answer.refusal.code === PRECONDITION) return '';
    throw new FaultError('STORE_UNREACHABLE', `etcd refuses user ${user} (${passwordFile}): ${answer.refusal.message}`);
  }
}

function passwordIn(path: string): string {
  let password: string;
  try {
    password = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    throw new FaultError('STORE_UNREACHABLE', `the password for etcd cannot be read: ${(error as Error).message}`);
  }
  if (password === '') throw new FaultError('STORE_UNREACHABLE', `the password for etcd is empty: ${path}`);
  return password;
}

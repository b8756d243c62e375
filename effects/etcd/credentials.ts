/**
 * The certificates of connections to etcd, as they are on disk.
 *
 * Guarantees: files that were replaced are used from the next connection on, without a restart. While one of them is half
 * written, missing or unreadable, the last ones that could be read stay in use.
 * Limits: a pair of certificate and key that does not match shows when a connection is made.
 */
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { FaultError } from '../../state/faults.ts';

export interface CredentialFiles {
  /** The certificate of the authority that has signed those of etcd; null for the authorities of Node. */
  ca: string | null;
  /** The certificate that the daemon shows, and its key; null for none. */
  cert: string | null;
  key: string | null;
}

export interface Credentials {
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
}

export class CredentialReader {
  readonly #files: [keyof Credentials, string][];
  #seen = '';
  #last: Credentials | null = null;

  constructor({ ca, cert, key }: CredentialFiles) {
    const named = { ca, cert, key };
    this.#files = (['ca', 'cert', 'key'] as const).flatMap((name) => {
      const path = named[name];
      return path === null ? [] : [[name, path]];
    });
  }

  /** Throws STORE_UNREACHABLE if no version of the files could ever be read. */
  read(): Credentials {
    try {
      const now = this.#files.map(([, path]) => identityOf(path)).join(' ');
      if (this.#last !== null && now === this.#seen) return this.#last;
      const credentials: Credentials = Object.fromEntries(
        this.#files.map(([name, path]) => [name, readFileSync(path)]),
      );
      createSecureContext(credentials); // throws for what is no certificate, or for half of one
      this.#seen = now;
      this.#last = credentials;
    } catch (error) {
      if (this.#last === null) {
        const files = this.#files.map(([, path]) => path).join(', ');
        const { message } = error as Error;
        throw new FaultError('STORE_UNREACHABLE', `the certificates for etcd cannot be used (${files}): ${message}`);
      }
    }
    return this.#last;
  }
}

function identityOf(path: string): string {
  const { ino, size, mtimeMs } = statSync(path);
  return `${ino}:${size}:${mtimeMs}`;
}

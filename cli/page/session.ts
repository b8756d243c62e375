/**
 * The secret of one run of the page server: a token in the address that is printed, and the cookie that it is exchanged for.
 *
 * Guarantees: both are 256 random bits, and compared in a time that does not depend on them. The token works once: what is found
 * later in a history, a log or a process list opens nothing. The name of the cookie is random too, so that two servers on one
 * host name do not overwrite each other's.
 * Limits: browsers send cookies to every port of a host name (docs/decisions/0052).
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';

export class Session {
  readonly token = randomBytes(32).toString('base64url');
  readonly #cookie = `cleat-inspector-${randomBytes(4).toString('hex')}`;
  readonly #value = randomBytes(32).toString('base64url');
  #used = false;
  /** Called when the token has been exchanged. */
  exchanged: () => void = () => {};

  /** Returns true if this is the token, used or not. */
  isToken(text: string): boolean {
    return isSame(text, this.token);
  }

  /** Returns the header that sets the cookie, or null if the token is wrong or has been used. */
  exchange(token: string): string | null {
    if (this.#used || !this.isToken(token)) return null;
    this.#used = true;
    this.exchanged();
    return `${this.#cookie}=${this.#value}; Path=/; HttpOnly; SameSite=Strict`;
  }

  /** Returns true if this header of a request has the cookie. */
  isKnown(header: string | undefined): boolean {
    const pairs = (header ?? '').split(';').map((pair) => pair.trim());
    return pairs.some((pair) => isSame(pair, `${this.#cookie}=${this.#value}`));
  }
}

function isSame(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}

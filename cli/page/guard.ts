/**
 * Decides which requests the page server answers: those of its own page in a browser that has been given the token.
 *
 * Guarantees: pure. A page of another origin reaches nothing: a name that was made to lead here (DNS rebinding) is in Host, a
 * script's origin in Origin, a request that needs no script in Sec-Fetch-Site, and cookies of Strict are not sent. Whatever
 * changes something has to say that it is the page's own.
 * Limits: Host may be a loopback name with any port, because `ssh -L` brings its own. Processes on this machine can send any
 * header; they need the token or the cookie.
 */

/** Holds the headers of a request that matter here. */
export interface Headers {
  host?: string | undefined;
  origin?: string | undefined;
  'sec-fetch-site'?: string | undefined;
  'sec-fetch-mode'?: string | undefined;
  'content-type'?: string | undefined;
}

/** Says why a request is refused, with its HTTP status. */
export interface Objection {
  status: number;
  code: string;
  message: string;
}

const LOOPBACK = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;

/** Returns true for a loopback name, with any port or none. */
export const isLoopback = (host: string): boolean => LOOPBACK.test(host);

const objection = (status: number, code: string, message: string): Objection => ({ status, code, message });

/** Returns why a request comes from elsewhere; null if it may be the page's. */
export function foreign(headers: Headers, path: string): Objection | null {
  const { host = '', origin, 'sec-fetch-site': site } = headers;
  if (!isLoopback(host)) return objection(421, 'WRONG_HOST', 'this is no name of the inspector');
  if (origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`)
    return objection(403, 'WRONG_ORIGIN', 'the request comes from another page');
  if (site !== undefined && site !== 'same-origin' && site !== 'none' && !(path === '/' && isVisit(headers)))
    return objection(403, 'WRONG_ORIGIN', 'the request comes from another site');
  return null;
}

/** Returns why a request may not change anything; null if it may. */
export function unsafe({ origin, 'content-type': type = '' }: Headers): Objection | null {
  if (origin === undefined) return objection(403, 'WRONG_ORIGIN', 'the request does not say which page it comes from');
  if (!/^application\/json\s*(?:;|$)/i.test(type))
    return objection(415, 'WRONG_TYPE', 'an event is sent as application/json');
  return null;
}

/**
 * Returns true if a person follows a link or types the address: the answer is shown, and the page that has the link cannot read
 * it.
 */
const isVisit = ({ 'sec-fetch-mode': mode }: Headers): boolean => mode === 'navigate';

/**
 * Returns true for a visit that another site has led to. A browser withholds the cookie from it, and sends it when the page itself
 * goes to the same address.
 */
export const isLedHere = (headers: Headers): boolean =>
  isVisit(headers) && (headers['sec-fetch-site'] === 'cross-site' || headers['sec-fetch-site'] === 'same-site');

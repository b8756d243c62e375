/**
 * What the page may ask of the daemon, and which files it is made of. Nothing else passes.
 *
 * Guarantees: a path that is sent on is made from what was matched here, without the query of the request.
 * Limits: the daemon decides what its caller may do, by the uid of the page server.
 */

/** Matches one segment of a path, escaped or not; neither `/` nor `?` can be in it. */
const ID = '[\\w.%~-]{1,200}';

const READABLE = new RegExp(`^/v1/containers/${ID}/(?:machine|export)$`);

/** Returns true if the page may get this from the daemon. */
export const isReadable = (path: string): boolean => READABLE.test(path);

/** Leads to the stream of everything that happens. */
export const STREAM = '/v1/inspector';
/** Takes an event. */
export const EVENTS = '/v1/events';

/** Holds the files of the page by path, each with its type. */
export const FILES: ReadonlyMap<string, { file: string; type: string }> = new Map([
  ['/', { file: 'index.html', type: 'text/html; charset=utf-8' }],
  ['/main.js', { file: 'main.js', type: 'text/javascript; charset=utf-8' }],
  ['/main.css', { file: 'main.css', type: 'text/css; charset=utf-8' }],
  ['/machines.json', { file: 'machines.json', type: 'application/json' }],
]);

/**
 * What a program of others finds in place of the machine's own directories when an ordinary user's daemon runs it: the mounts of
 * its sandbox, in their order (docs/decisions/0062).
 *
 * Guarantees: pure, but for `look`, which says what is at a path. The program may write below /run and /var/lib/cni, and sees of
 * the host's /run only what it needs. Where resolv.conf leads to a file, or below what is covered, the program finds ours there;
 * a host without a resolv.conf has none in the sandbox either, which is no fault. What else the host has beside /var/lib/cni
 * stays where it is.
 * Limits: a resolv.conf that the host replaces is unmounted in sandboxes that run, unless it is below what is covered.
 */
/** What is at a path, without following a link that is there; null for nothing that can be reached. */
export type Found = 'file' | 'directory' | { link: string } | null;
export type Look = (path: string) => Found;

/** `from` null: an empty tmpfs. A mount point that is not there is made. */
export interface Mount {
  from: string | null;
  to: string;
}

export interface Sandbox {
  mounts: Mount[];
  /** The directory of the host that `at` is mounted over, with links in `at` to all of its entries but `own`. */
  beside: { directory: string; at: string; own: string } | null;
}

const RUN = '/run';
/** systemd-resolved removes and makes its files again, which unmounts what others have mounted there. */
const RESOLVED = '/run/systemd/resolve';
/** The directories of the host's /run that every program finds: the user's own, and those of systemd (/dev/log leads there). */
const SHOWN = ['/run/user', '/run/systemd'];
/** Where CNI plugins keep what they know. */
const STATE = '/var/lib/cni';
const RESOLV_CONF = '/etc/resolv.conf';
/** Below a directory that covers another one: what it covers. */
export const COVERED = '.host';
/** As many as the kernel follows (MAXSYMLINKS). */
const LINKS = 40;

const isBelow = (path: string, directory: string): boolean => path.startsWith(`${directory}/`);
const partsOf = (path: string): string[] => path.split('/').filter((part) => part !== '' && part !== '.');
const pathOf = (parts: readonly string[]): string => `/${parts.join('/')}`;

/** Takes `..` for the directory above by the text alone, as where nothing can be looked at. */
function normal(parts: readonly string[]): string[] {
  const kept: string[] = [];
  for (const part of parts) {
    if (part === '..') kept.pop();
    else kept.push(part);
  }
  return kept;
}

/** Returns what a path leads to, or the first path on the way for which `ends` is true; null if it leads to nothing. */
export function walk(
  path: string,
  look: Look,
  ends: (path: string) => boolean = () => false,
): { path: string; found: 'file' | 'directory' | 'ended' } | null {
  const left = partsOf(path);
  let at: string[] = [];
  let found: 'file' | 'directory' = 'directory';
  let links = 0;
  for (let name = left.shift(); name !== undefined; name = left.shift()) {
    if (found === 'file') return null;
    if (name === '..') {
      at.pop(); // no part of `at` is a link
      continue;
    }
    const next = [...at, name];
    const whole = pathOf(normal([...next, ...left]));
    if (ends(pathOf(next)) && ends(whole)) return { path: whole, found: 'ended' };
    const there = look(pathOf(next));
    if (there === null) return null;
    if (typeof there === 'object') {
      links++;
      if (links > LINKS) return null;
      if (there.link.startsWith('/')) at = [];
      left.unshift(...partsOf(there.link));
    } else {
      at = next;
      found = there;
    }
  }
  return { path: pathOf(at), found };
}

/**
 * Returns the mounts of a program's sandbox. `directory` holds the user's own parts of it: `run`, `var` and `resolv.conf`.
 * `needed`: paths that the program has to find.
 */
export function planSandbox(directory: string, needed: readonly string[], look: Look): Sandbox {
  const inside = (path: string): string => `${directory}${path}`;
  const names = needed.filter((path) => isBelow(path, RUN)).map((path) => `${RUN}/${path.split('/')[2] ?? ''}`);
  const shown = [...new Set([...SHOWN, ...names])].filter((path) => look(path) !== null);
  const resolved = shown.includes('/run/systemd') && look(RESOLVED) === 'directory' ? RESOLVED : null;

  const state = stateOf(look);
  const isOurs = (path: string): boolean =>
    (resolved !== null && isBelow(path, resolved)) ||
    (isBelow(path, RUN) && !shown.some((one) => path === one || isBelow(path, one))) ||
    (state?.covers === STATE && isBelow(path, STATE));
  const target = walk(RESOLV_CONF, look, isOurs);
  const isCovered = target?.found === 'ended' || isBelow(target?.path ?? '', RUN);

  const beside =
    state === null || state.own === null ? null : { directory: state.at, at: inside(state.covers), own: state.own };
  const mounts: Mount[] = [
    ...shown.map((path) => ({ from: path, to: inside(path) })),
    ...(resolved !== null && target !== null && isBelow(target.path, resolved)
      ? [{ from: null, to: inside(resolved) }]
      : []),
    ...(target === null || target.found === 'directory'
      ? []
      : [{ from: inside('/resolv.conf'), to: isCovered ? inside(target.path) : target.path }]),
    ...(beside === null ? [] : [{ from: beside.directory, to: `${beside.at}/${COVERED}` }]),
    ...(state === null ? [] : [{ from: inside(state.covers), to: state.at }]),
    { from: inside(RUN), to: RUN },
  ];
  return { mounts, beside };
}

/**
 * Returns what is mounted over so that the program has its state: the nearest directory on the way to it that is there, at the
 * path that it leads to. `own`: the entry in it that leads on to the state; null if it is the directory itself.
 */
function stateOf(look: Look): { covers: string; at: string; own: string | null } | null {
  const parts = partsOf(STATE);
  for (let left = parts.length; left > 0; left--) {
    const covers = pathOf(parts.slice(0, left));
    const there = walk(covers, look);
    if (there?.found === 'directory') return { covers, at: there.path, own: parts[left] ?? null };
  }
  return null;
}

/** Returns the beginning of a command whose program then runs in the sandbox (native/rootless/sandbox.cc). */
export const launching = (launcher: string, mounts: readonly Mount[]): string[] => [
  launcher,
  ...mounts.flatMap(({ from, to }) => (from === null ? ['--tmpfs', to] : ['--bind', from, to])),
  '--',
];

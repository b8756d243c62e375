/**
 * A picture of the real state, from the kernel's own tools and the file system, never from the daemon: to be compared
 * byte for byte before and after.
 *
 * Guarantees: links, addresses, routes, rules, permanent neighbours, nftables, mounts, the switches of net/ipv4 and
 * net/ipv6, and every file (with its content) of a daemon. Times that the kernel counts down by itself are left out.
 * Limits: connection tracking and learned neighbours are left out: they expire by themselves.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import * as assert from 'uvu/assert';
import type { TestDaemon } from './daemon.ts';
import { pauseAfter } from './native.ts';

/** Lines of each part: the report of the test shows a difference. */
export type Picture = Record<string, string[]>;

const QUESTIONS = {
  links: 'ip -j -p -d link',
  addresses: 'ip -j -p address',
  routes4: 'ip -j -p -4 route show table all',
  routes6: 'ip -j -p -6 route show table all',
  rules: 'ip -4 rule; ip -6 rule',
  neighbours: 'ip neighbour show nud permanent | sort',
  ruleset: 'nft -j list ruleset',
  // Not sysctl(8), which reads all switches. Some cannot be read (stable_secret).
  switches: '(cd /proc/sys/net; grep -r . ipv4/ip_forward ipv4/conf ipv6/conf 2>/dev/null) | sort',
};

/** The kernel as seen in a network namespace (our own unless a path is given). */
export function inspectKernel(netns?: string): Picture {
  const script = Object.entries(QUESTIONS)
    .map(([name, command]) => `echo "@@ ${name}"; ${command}`)
    .join('\n');
  const picture: Picture = {};
  let part: string[] = [];
  for (const line of run(['sh', '-c', script], netns).split('\n')) {
    const name = /^@@ (\w+)$/.exec(line)?.[1];
    if (name !== undefined) part = picture[name] = [];
    else if (line.startsWith('{"nftables"')) part.push(...ruleset(line));
    // A namespace of others keeps this switch: cleat leaves redirects refused there (effects/namespaces/netns.ts).
    else if (netns !== undefined && line.startsWith('ipv4/conf/all/accept_redirects:')) continue;
    else if (!/_timer"|"tentative"|^ *$/.test(line)) part.push(line);
  }
  return { ...picture, mounts: mounts() };
}

/** The whole ruleset of our own namespace, alone: the rest of a picture takes longer. */
export const inspectRuleset = (): string[] => {
  const lines = run(['sh', '-c', QUESTIONS.ruleset], undefined).split('\n');
  return lines.filter((line) => line !== '').flatMap(ruleset);
};

/** One line an object; the elements of sets and maps have no order of their own. */
function ruleset(json: string): string[] {
  const { nftables } = JSON.parse(json) as { nftables: Record<string, { elem?: unknown[] }>[] };
  return nftables.map((object) => {
    for (const part of Object.values(object))
      part.elem?.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
    return JSON.stringify(object);
  });
}

/** The kernel, and every file of the daemon except its log. */
export function inspect(daemon: TestDaemon, ...outsides: string[]): Picture {
  const elsewhere = outsides.map((path) => {
    const { mounts: _same, ...rest } = inspectKernel(path);
    return Object.entries(rest).map(([name, lines]) => [`${path} ${name}`, lines] as const);
  });
  return { ...inspectKernel(), ...Object.fromEntries(elsewhere.flat()), files: files(daemon.directory) };
}

/**
 * Waits until the picture is the same again, at once or within the time that the kernel and the daemon need to clean up
 * after an answer: a teardown is answered before the last link is reaped and the bridge has gone.
 */
export async function assertComesBackTo(before: Picture, look: () => Picture, patience = 15_000): Promise<void> {
  const deadline = performance.now() + patience;
  let began = performance.now();
  let now = look();
  while (!isDeepStrictEqual(now, before) && performance.now() < deadline) {
    await pauseAfter(began);
    began = performance.now();
    now = look();
  }
  assert.is(differences(before, now).join('\n'), '');
}

/**
 * Waits until the last object is there that IPv6 makes by itself on a link with a carrier (a multicast route, a
 * link-local address). They come when the kernel has the time (linkwatch, DAD), and a picture should include them.
 */
export async function calm(netns?: string): Promise<void> {
  for (let began = performance.now(); awaited(netns).length > 0; began = performance.now()) await pauseAfter(began);
}

/** Links for which an object is still to come. */
function awaited(netns: string | undefined): string[] {
  type Link = { ifname: string; flags: string[]; inet6_addr_gen_mode?: string };
  type Addressed = { ifname: string; addr_info?: { local?: string; tentative?: boolean }[] };
  const links = ipJson<Link[]>(netns, '-d', 'link');
  const addressed = ipJson<Addressed[]>(netns, '-6', 'address');
  const routed = ipJson<{ dev: string }[]>(netns, '-6', 'route', 'show', 'table', 'local', 'ff00::/8');
  // A link with an MTU too small for it has no such switch.
  const switches = run(['sh', '-c', 'cd /proc/sys/net/ipv6/conf && grep . */disable_ipv6'], netns).split('\n');
  const waits = ({ ifname, flags, inet6_addr_gen_mode: mode }: Link) => {
    const own = addressed.find((one) => one.ifname === ifname)?.addr_info ?? [];
    if (own.some(({ tentative }) => tentative === true)) return true;
    const ready = !flags.includes('LOOPBACK') && flags.includes('UP') && flags.includes('LOWER_UP');
    if (!ready || !switches.includes(`${ifname}/disable_ipv6:0`)) return false;
    const itself = mode === undefined || mode === 'none' || own.some(({ local = '' }) => local.startsWith('fe80:'));
    return !itself || !routed.some(({ dev }) => dev === ifname);
  };
  return links.filter(waits).map(({ ifname }) => ifname);
}

/** Only the lines that came (+) or went (-), part by part. */
function differences(before: Picture, now: Picture): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(now)])].flatMap((part) => {
    const [was = [], is = []] = [before[part], now[part]];
    const all = [
      ...less(was, is).map((line) => `- ${part}: ${line}`),
      ...less(is, was).map((line) => `+ ${part}: ${line}`),
    ];
    return all.length === 0 && !isDeepStrictEqual(was, is) ? [`${part}: another order`] : all;
  });
}

/** Lines of `a` that `b` does not have, each as often as it is too many. */
function less(a: readonly string[], b: readonly string[]): string[] {
  const left = [...b];
  return a.filter((line) => {
    const at = left.indexOf(line);
    if (at !== -1) left.splice(at, 1);
    return at === -1;
  });
}

/** Runs a command inside a network namespace; returns its output. */
export function inside(netns: string, ...argv: string[]): string {
  return run(argv, netns);
}

/** The parsed answer of `ip -j ...` in a namespace. */
export function ipJson<T>(netns: string | undefined, ...argv: string[]): T {
  return JSON.parse(run(['ip', '-j', ...argv], netns) || '[]') as T;
}

/**
 * True if a link is up and its peer is. Its operational state sometimes follows a second later (linkwatch in the
 * kernel).
 */
export const carries = (flags: readonly string[]): string =>
  flags.includes('UP') && flags.includes('LOWER_UP') ? 'UP' : 'DOWN';

function run(argv: readonly string[], netns: string | undefined): string {
  const all = netns === undefined ? argv : ['nsenter', `--net=${netns}`, '--', ...argv];
  const [program = '', ...rest] = all;
  // A ruleset with thousands of ports is more than the usual megabyte.
  return execFileSync(program, rest, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 64 << 20 });
}

/** Mount point, root and type of every mount (proc_pid_mountinfo(5)): ids are new with each mount. */
export function mounts(): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' ').slice(2).join(' '));
}

/**
 * Path, mode and content of every file below a directory, without the log and without files that are just being
 * removed.
 */
function files(directory: string, below = ''): string[] {
  return readdirSync(join(directory, below))
    .sort()
    .flatMap((name) => {
      const path = join(below, name);
      return unlessGone(() => {
        const { mode, size } = lstatSync(join(directory, path));
        const entry = `${path} ${mode.toString(8)}`;
        if (path === 'log') return [];
        if (mode >> 12 === 0o04) return [entry, ...files(directory, path)];
        // Regular files; pinned namespaces cannot be read.
        const content = mode >> 12 === 0o10 && size > 0 ? readFileSync(join(directory, path)) : '';
        return [`${entry} ${createHash('sha256').update(content).digest('hex').slice(0, 16)}`];
      });
    });
}

/** Reads a file that was listed a moment ago; nothing when it does not exist any more. */
export function unlessGone(look: () => string[]): string[] {
  try {
    return look();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

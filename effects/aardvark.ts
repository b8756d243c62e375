/**
 * aardvark-dns: where it is, and what its files say.
 *
 * Guarantees: pure but for the look for the program, at known places only, never in $PATH: of several the newest, by what
 * --version says. The same zones make the same files, byte for byte.
 *
 * Two servers, because 1.4 and 1.14 forward what they do not know for internal networks too (CVE-2024-29018; `%int` in a file
 * name means nothing to 1.4, and servers that lead nowhere let every question run into its timeout):
 *   open     networks that are not internal. Asks the network's servers, or those of the host's resolv.conf.
 *   closed   internal networks. Started with AARDVARK_NO_PROXY, it has nobody to ask: NXDOMAIN, whoever asks.
 * A container on networks of both kinds asks the open one alone (its resolv.conf says so), so the open one knows the
 * internal networks of such containers too, under a listening address on loopback that nobody is told of.
 *
 * Limits of 1.4, found by trying: UDP only. Answers live for 86400 s, and those to reverse lookups (PTR) are of an empty name
 * instead of the one that was asked for, so that glibc finds no name for an address. `*.dns.podman` is never forwarded if written in
 * lower case, nor is any name without a dot; `X.DNS.PODMAN`, `dns.podman` itself and all reverse lookups are (its own
 * answer comes first). A container without an entry is answered as its network is, so names of a network are known to
 * whoever reaches its gateway. Of the servers of several networks all are asked, in turn; each has 5 s. Servers given per
 * container are understood too, and not used. It reads every file of its directory, hidden ones too, and ends when one
 * is not to its liking: nothing else may lie there. An address that is taken or missing is left out without a word until
 * it is told to read again (SIGHUP), when it also reads resolv.conf; for about a millisecond nobody answers then, nor
 * after it has said that it is ready.
 *
 * Limits of 1.14, found by trying: a name without a dot that it does not know is forwarded, and so is a question for another
 * type than an address, of a name without a dot. It listens on TCP too; when it has no descriptor left for a connection it
 * answers at that address no more, over UDP neither, and reading its files again does not mend it. It does not start when one
 * address is taken or missing, nor without an /etc/resolv.conf that it can use, and says why on standard error; running, it leaves such an
 * address out without a word, as 1.4 does. Answers live for 0 s.
 */
import { existsSync } from 'node:fs';
import type { Zone } from '../machines/plan/names.ts';
import { identityOf, outputOf } from './program-output.ts';

const DIRECTORIES = ['libexec/podman', 'lib/podman', 'bin', 'sbin'];
const PLACES = ['/usr', '/usr/local'].flatMap((root) =>
  DIRECTORIES.map((directory) => `${root}/${directory}/aardvark-dns`),
);

/** The newest there is; of equals, and of those that do not say, the first. */
export async function findAardvark(places: readonly string[] = PLACES): Promise<string | null> {
  const [first = null, ...others] = places.filter((path) => existsSync(path));
  if (first === null || others.length === 0) return first;
  let newest = { path: first, version: await versionOf(first) };
  for (const path of others) {
    const version = await versionOf(path);
    if (isNewer(version, newest.version)) newest = { path, version };
  }
  return newest.path;
}

const known = new Map<string, { identity: string; version: number[] }>();

/** [1, 4, 0]; nothing when it does not say. Asked once per executable. */
async function versionOf(path: string): Promise<number[]> {
  try {
    const identity = identityOf(path);
    const before = known.get(path);
    if (before?.identity === identity) return before.version;
    const said = await outputOf(path, '--version');
    const version = (/^aardvark-dns (\d+(?:\.\d+)*)/m.exec(said)?.[1] ?? '').split('.').filter(Boolean).map(Number);
    known.set(path, { identity, version });
    return version;
  } catch {
    return []; // it cannot be run, or has gone: one that can be is to be had before it
  }
}

function isNewer(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((number, i) => number !== (b[i] ?? -1));
  return at >= 0 && (a[at] ?? -1) > (b[at] ?? -1);
}

export const PARTS = ['open', 'closed'] as const;
export type Part = (typeof PARTS)[number];

export const PID_FILE = 'aardvark.pid';

/** The environment of each, complete. */
export const ENVIRONMENT: Record<Part, Record<string, string>> = { open: {}, closed: { AARDVARK_NO_PROXY: '1' } };

export function argumentsOf(directory: string): string[] {
  return ['--config', directory, '-p', '53', 'run'];
}

/** File name to content, per server. The name of the file is the network's, as far as aardvark is concerned. */
export function zoneFiles(zones: readonly Zone[]): Record<Part, Map<string, string>> {
  const open = new Map<string, string>();
  const closed = new Map<string, string>();
  const outgoing = new Set(
    zones.flatMap(({ internal, entries }) => (internal ? [] : entries.map(({ owner }) => owner))),
  );
  for (const zone of zones) {
    if (zone.listen.length === 0) continue;
    const file = `${zone.network}.zone`; // a network may be called aardvark.pid
    if (!zone.internal) open.set(file, render(zone, zone.listen, zone.servers));
    else closed.set(file, render(zone, zone.listen, []));
    if (zone.internal && zone.entries.some(({ owner }) => outgoing.has(owner))) {
      open.set(file, render(zone, [unheardOf(zone.network)], []));
    }
  }
  return { open, closed };
}

/** Makes the zone of a server that is to listen where nobody asks: it needs an address to start. */
export function standIn(directory: string): Map<string, string> {
  return new Map([['nobody.zone', `${unheardOf(directory)}\n`]]);
}

/** `listen[,listen] [servers]`, then per container `id v4 v6 names`. */
function render({ entries }: Zone, listen: readonly string[], servers: readonly string[]): string {
  const head = [listen.join(','), ...(servers.length > 0 ? [servers.join(',')] : [])].join(' ');
  const lines = entries.map(({ owner, addresses, names }) => {
    const v4 = addresses.filter((address) => !address.includes(':'));
    const v6 = addresses.filter((address) => address.includes(':'));
    return [idOf(owner), v4.join(','), v6.join(','), names.join(',')].join(' ');
  });
  return [head, ...lines, ''].join('\n');
}

/** aardvark lowers the case of ids; two owners that differ in nothing else are not one: `Web:1` becomes `_web:1`. */
function idOf(owner: string): string {
  return owner.replace(/[A-Z_]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Somewhere in 127/8. Two may share one: then one of them is not listened for, which is no loss. */
function unheardOf(name: string): string {
  let hash = 0;
  for (const byte of Buffer.from(name)) hash = (hash * 31 + byte) % (254 * 256 * 254);
  return `127.${1 + (hash % 254)}.${Math.floor(hash / 254) % 256}.${1 + Math.floor(hash / 254 / 256)}`;
}

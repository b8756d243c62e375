/**
 * aardvark-dns: finds the program and renders its files.
 *
 * Guarantees: pure, except for the search for the program. The search looks at known places only, never in $PATH, and takes the
 * newest by --version. The same zones make the same files, byte for byte.
 *
 * There are two servers, because 1.4 and 1.14 forward unknown names for internal networks too (CVE-2024-29018). 1.4 ignores
 * `%int` in a file name, and with unreachable upstream servers every query runs into its timeout.
 *   open     networks that are not internal. Forwards to the network's servers, or to those of the host's resolv.conf.
 *   closed   internal networks. Started with AARDVARK_NO_PROXY, so it forwards nothing and answers NXDOMAIN to every client.
 * A container on networks of both kinds queries only the open server (its resolv.conf says so). So the open server knows the
 * internal networks of such containers too, under a listening address on loopback that no client uses.
 *
 * Limits of 1.4, found by trying: UDP only. Answers live for 86400 s, and answers to reverse lookups (PTR) have an empty name
 * instead of the queried one, so that glibc finds no name for an address. `*.dns.podman` is never forwarded if written in lower
 * case, nor is any name without a dot; `X.DNS.PODMAN`, `dns.podman` itself and all reverse lookups are forwarded (after a
 * lookup in its own entries). A client without an entry gets the answers of its network, so every host that reaches a network's
 * gateway can resolve the network's names. It queries the servers of several networks in turn, 5 s each. It reads every file of
 * its directory, hidden files too, and exits if one does not parse, so the directory must hold no other files. It silently skips
 * an address that is taken or missing until it reloads (SIGHUP); a reload also reads resolv.conf. For about a millisecond after a
 * reload, and after it has reported that it is ready, it does not answer.
 *
 * Limits of 1.14, found by trying: it forwards an unknown name without a dot, and a query of another type than an address for
 * any name without a dot. It listens on TCP too. If it has no descriptor left for a connection, it stops answering at that
 * address, over UDP as well, and a reload does not help. It does not start if an address is taken or missing, nor without a
 * usable /etc/resolv.conf, and reports the reason on standard error; once it runs, it silently skips such an address, as 1.4
 * does. Answers live for 0 s.
 */
import { existsSync } from 'node:fs';
import type { Zone } from '../../plan/names/names.ts';
import { identityOf, outputOf } from '../processes/program-output.ts';

const DIRECTORIES = ['libexec/podman', 'lib/podman', 'bin', 'sbin'];
const PLACES = ['/usr', '/usr/local'].flatMap((root) =>
  DIRECTORIES.map((directory) => `${root}/${directory}/aardvark-dns`),
);

/** Returns the newest program. Among equal versions, and among those without a version, returns the first. */
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

/** Returns the version, such as [1, 4, 0]; empty if the program does not report one. Runs each executable once. */
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
    return []; // it cannot be run, or is gone: any program that runs is newer
  }
}

function isNewer(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((number, i) => number !== (b[i] ?? -1));
  return at >= 0 && (a[at] ?? -1) > (b[at] ?? -1);
}

export const PARTS = ['open', 'closed'] as const;
export type Part = (typeof PARTS)[number];

export const PID_FILE = 'aardvark.pid';

/** The complete environment of each server. */
export const ENVIRONMENT: Record<Part, Record<string, string>> = { open: {}, closed: { AARDVARK_NO_PROXY: '1' } };

export function argumentsOf(directory: string): string[] {
  return ['--config', directory, '-p', '53', 'run'];
}

/** Returns the files (name to content) of each server. aardvark takes the name of a file as the name of the network. */
export function zoneFiles(zones: readonly Zone[]): Record<Part, Map<string, string>> {
  const open = new Map<string, string>();
  const closed = new Map<string, string>();
  const outgoing = new Set(
    zones.flatMap(({ internal, entries }) => (internal ? [] : entries.map(({ owner }) => owner))),
  );
  for (const zone of zones) {
    if (zone.listen.length === 0) continue;
    const file = `${zone.network}.zone`; // the suffix is needed because a network may be called aardvark.pid
    if (!zone.internal) open.set(file, render(zone, zone.listen, zone.servers));
    else closed.set(file, render(zone, zone.listen, []));
    if (zone.internal && zone.entries.some(({ owner }) => outgoing.has(owner))) {
      open.set(file, render(zone, [unheardOf(zone.network)], []));
    }
  }
  return { open, closed };
}

/** Returns a zone without entries for a server that has no zones: aardvark needs an address to start. */
export function standIn(directory: string): Map<string, string> {
  return new Map([['nobody.zone', `${unheardOf(directory)}\n`]]);
}

/** Renders `listen[,listen] [servers]`, then per container `id v4 v6 names [servers]`. */
function render({ entries }: Zone, listen: readonly string[], servers: readonly string[]): string {
  const head = [listen.join(','), ...(servers.length > 0 ? [servers.join(',')] : [])].join(' ');
  const lines = entries.map(({ owner, addresses, names, own = [] }) => {
    const v4 = addresses.filter((address) => !address.includes(':'));
    const v6 = addresses.filter((address) => address.includes(':'));
    const line = [idOf(owner), v4.join(','), v6.join(','), names.join(',')];
    return [...line, ...(own.length > 0 ? [own.join(',')] : [])].join(' ');
  });
  return [head, ...lines, ''].join('\n');
}

/** Encodes capitals, because aardvark lowers the case of ids and owners may differ in case alone: `Web:1` becomes `_web:1`. */
function idOf(owner: string): string {
  return owner.replace(/[A-Z_]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Returns an address in 127/8. If two zones share one, aardvark skips one of the listeners, which does no harm. */
function unheardOf(name: string): string {
  let hash = 0;
  for (const byte of Buffer.from(name)) hash = (hash * 31 + byte) % (254 * 256 * 254);
  return `127.${1 + (hash % 254)}.${Math.floor(hash / 254) % 256}.${1 + Math.floor(hash / 254 / 256)}`;
}

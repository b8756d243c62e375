/**
 * The users that our programs run as: one name for each job, and its uid and gid on this machine.
 *
 * A system user of that name in /etc/passwd is used (a package makes it, sysusers.d(5)); without one, a fixed uid and gid that
 * need no entry. The fixed ones lie between 65520 and 65533: systemd leaves these unused (UIDS-GIDS, systemd.io/UIDS-GIDS),
 * Debian reserves them (policy 9.2.2: 65000 to 65533), useradd(8) ends at 60000, and a user namespace of 65536 ids, as
 * containers have, maps them.
 *
 * Guarantees: never root, never a uid or gid that /etc/passwd or /etc/group gives to another name, never one that two of
 * these jobs share: USER_TAKEN says which it is. /etc is read at each call.
 * Limits: users that only a name service knows (LDAP, SSSD) are not seen.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FaultError } from '../../state/faults.ts';

/** Each has a uid and a gid of its own, both this number. Do not change a number: running programs and their files have it. */
const FIXED = {
  /** wireguard-go: the tunnels of overlays, where the kernel has no WireGuard. */
  'cleat-wireguard': 65_520,
  /** aardvark-dns: the DNS servers of networks. */
  'cleat-dns': 65_521,
  /** The forwarder of published ports. */
  'cleat-forwarder': 65_522,
  /** slirp4netns and pasta of containers that may not reach the host's loopback. */
  'cleat-uplink': 65_523,
  /** slirp4netns and pasta of containers that may (`allow_host_loopback` and similar). */
  'cleat-uplink-loopback': 65_524,
} as const;

export type UserName = keyof typeof FIXED;
export const USER_NAMES = Object.keys(FIXED) as UserName[];

export interface User {
  uid: number;
  gid: number;
}

/** passwd(5), group(5): as far as they matter here. */
interface Entry {
  name: string;
  id: number;
  /** The primary group of a user. */
  gid: number;
}

/** The user of a job. `etc` is for tests. */
export function findUser(name: UserName, etc = '/etc'): User {
  const users = entriesOf(join(etc, 'passwd'));
  const found = userOf(name, users);
  const refuse = (what: string): never => {
    throw new FaultError('USER_TAKEN', `${name} cannot run as ${what}`, { object: name });
  };
  if (found.uid === 0 || found.gid === 0) refuse('root');
  const holder = users.find(({ name: other, id }) => other !== name && id === found.uid);
  if (holder !== undefined) refuse(`uid ${found.uid}: that is ${holder.name}`);
  const group = entriesOf(join(etc, 'group')).find(({ name: other, id }) => other !== name && id === found.gid);
  if (group !== undefined) refuse(`gid ${found.gid}: that is the group ${group.name}`);
  const twin = USER_NAMES.find((other) => other !== name && userOf(other, users).uid === found.uid);
  if (twin !== undefined) refuse(`uid ${found.uid}: that is what ${twin} would have`);
  return found;
}

function userOf(name: UserName, users: readonly Entry[]): User {
  const entry = users.find((user) => user.name === name);
  return entry === undefined ? { uid: FIXED[name], gid: FIXED[name] } : { uid: entry.id, gid: entry.gid };
}

/** A machine without the file has no such names. */
function entriesOf(path: string): Entry[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return text.split('\n').flatMap((line) => {
    const [name, , id, gid] = line.split(':');
    return name === undefined || name === '' || !/^\d+$/.test(id ?? '')
      ? []
      : [{ name, id: Number(id), gid: Number(gid ?? 0) }];
  });
}

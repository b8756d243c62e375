/**
 * The users that slirp4netns and pasta run as. The firewall recognises their packets by them (ruleset-uplinks.ts).
 *
 * Guarantees: two users (users.ts), one for programs whose containers may reach the host's loopback; neither is the daemon's.
 * All daemons of a machine find the same users. USER_TAKEN if one of them is somebody else's.
 * Limits: looked up once: a user that appears while the daemon runs is not noticed.
 */
import { FaultError } from '../../state/faults.ts';
import { findUser, type User, type UserName } from '../processes/users.ts';

export interface UplinkUsers {
  plain: User;
  loopback: User;
}

let known: UplinkUsers | null = null;

export function uplinkUsers(): UplinkUsers {
  known ??= { plain: userOf('cleat-uplink'), loopback: userOf('cleat-uplink-loopback') };
  return known;
}

function userOf(name: UserName): User {
  const user = findUser(name);
  if (user.uid !== process.getuid?.()) return user;
  const message = `${name} cannot run as uid ${user.uid}: that is the daemon`;
  throw new FaultError('USER_TAKEN', message, { object: name, owner: 'the daemon' });
}

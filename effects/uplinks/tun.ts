/**
 * Checks that an unprivileged user can open /dev/net/tun, with which slirp4netns and pasta make their link.
 *
 * Guarantees: changes nothing. A node that is closed to others does no harm if the keeper may make one for its program alone
 * (native/keeper/credentials.cc).
 */
import { statSync } from 'node:fs';
import { mayMakeDevices } from '../capabilities.ts';

const PATH = '/dev/net/tun';
const FOR_OTHERS = 0o006;

/** Returns the reason why the programs cannot make their link, and a remedy; null if they can. */
export function tunTrouble(): { message: string; hint: string } | null {
  const mode = statSync(PATH, { throwIfNoEntry: false })?.mode;
  if (mode === undefined) return { message: `${PATH} is not there`, hint: 'modprobe tun' };
  if ((mode & FOR_OTHERS) === FOR_OTHERS || mayMakeDevices()) return null;
  return {
    message: `${PATH} is closed to others, and the daemon may not make another one`,
    hint: `chmod 0666 ${PATH}, as udev makes it, or give the daemon CAP_MKNOD`,
  };
}

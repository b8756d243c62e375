/**
 * Says where programs of others are that make networks, and how long one may take: the daemon's options, with their defaults.
 *
 * Guarantees: paths are absolute, the time is one; anything else stops the start with the reason.
 */
import { FaultError } from '../../state/faults.ts';
import type { DaemonOptions } from './options.ts';

/** Names where packages and operators put the plugins. */
const CNI_DIRECTORIES = ['/opt/cni/bin', '/usr/lib/cni'];
/** Debian's place, and Fedora's. */
const NETAVARK = ['/usr/lib/podman/netavark', '/usr/libexec/podman/netavark'];
/** DHCP is the slowest of what plugins do. */
const PATIENCE_SECONDS = 60;

export function externalsOf(options: {
  cniPlugins?: string[];
  netavark?: string;
  pluginTimeout?: string;
}): DaemonOptions['externals'] {
  const { cniPlugins: cni = CNI_DIRECTORIES, netavark, pluginTimeout = String(PATIENCE_SECONDS) } = options;
  const relative = [...cni, ...(netavark === undefined ? [] : [netavark])].find((path) => !/^\/[^\0:]*$/.test(path));
  if (relative !== undefined) throw new FaultError('BAD_REQUEST', `${relative} is not an absolute path without ":"`);
  const seconds = Number(pluginTimeout);
  if (!/^\d{1,4}$/.test(pluginTimeout) || seconds === 0)
    throw new FaultError('BAD_REQUEST', `plugin timeout ${pluginTimeout}: it is 1 to 9999 seconds`);
  return { cni, netavark: netavark === undefined ? NETAVARK : [netavark], patienceMs: seconds * 1000 };
}

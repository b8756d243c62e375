/**
 * Keeps resolv.conf and hosts for a container that requests them: <run-dir>/etc/ID/, to be bind-mounted into it.
 *
 * Guarantees: they are rewritten in place, so that a mount of the file sees the change, and only if something changed. Pure
 * functions (machines/plan/) decide their content. This file reads the host's part, or reports why it cannot.
 * Limits: not atomic, since a rename would leave the mount behind: a reader in the same microseconds may see the new text with
 * the end of a longer old one. Files are opened with O_NOFOLLOW. A process that can write the file from inside changes only its
 * content, until the next change.
 */
import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { FilesInput, hostsFile } from '../../plan/containers/hosts.ts';
import { resolvConfBehind, serversBehind, type HostFiles, type resolvConf } from '../../plan/containers/resolv-conf.ts';
import type { UplinkSettings } from '../../state/uplink.ts';
import { FaultError, unwritable } from '../../state/faults.ts';
import { removeIfEmpty } from '../shared-directory.ts';

export interface EtcParts {
  runDir: string;
  resolvConf: typeof resolvConf;
  hostsFile: typeof hostsFile;
  /** The program that leads out of a rootless daemon's outside. */
  wayOut?: UplinkSettings | null;
}

export const RESOLV_CONF = '/etc/resolv.conf';
const BEHIND_STUB = '/run/systemd/resolve/resolv.conf';

/** Returns the host's files as they are now. */
const hostFiles = (): HostFiles => ({ resolvConf: hostFile(RESOLV_CONF) ?? '', behindStub: hostFile(BEHIND_STUB) });

/** Returns the servers for names of the world in a rootless daemon's outside. */
export const rootlessServers = (wayOut: UplinkSettings): string[] => serversBehind(wayOut, hostFiles());

/** Returns the resolv.conf of programs that run there. */
export const rootlessResolvConf = (wayOut: UplinkSettings): string => resolvConfBehind(wayOut, hostFiles());

export function etcEffects({ runDir, resolvConf: renderResolvConf, hostsFile: renderHosts, wayOut = null }: EtcParts) {
  const home = (id: string) => join(runDir, 'etc', id);

  const write = (input: FilesInput) => {
    writeInPlace(join(home(input.id), 'resolv.conf'), renderResolvConf({ ...input, host: hostFiles(), wayOut }));
    writeInPlace(join(home(input.id), 'hosts'), renderHosts(input, wayOut === null));
  };

  return {
    // async, so that an exception becomes a rejection.
    ensureFiles: async (input: FilesInput): Promise<void> => {
      try {
        mkdirSync(home(input.id), { recursive: true, mode: 0o755 });
        write(input);
      } catch (error) {
        throw unwritable(error);
      }
    },

    removeFiles: async ({ id }: { id: string }): Promise<void> => {
      rmSync(home(id), { recursive: true, force: true });
      removeIfEmpty(join(runDir, 'etc'));
    },

    /**
     * Call it when the host's resolv.conf has changed. Writes nothing for a container without such files (not yet, or no
     * longer).
     */
    refreshFiles: (input: FilesInput): void => {
      if (!existsSync(home(input.id))) return;
      try {
        write(input);
      } catch (error) {
        throw unwritable(error);
      }
    },
  };
}

/** Returns null if there is no file. An unreadable file is an error (KERNEL), since it may list servers. */
function hostFile(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code = '', syscall } = error as NodeJS.ErrnoException;
    if (isAbsent(code)) return null;
    throw new FaultError('KERNEL', `cannot read ${path}: ${code}`, { errno: code, syscall, object: path });
  }
}

/**
 * True if the error means that there is no file at the path. This includes a link with a missing target and a circle of links.
 */
export const isAbsent = (code: string): boolean => ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(code);

/** Returns true if the file has this text already. An unreadable file counts as different, and is written if possible. */
function says(path: string, text: string): boolean {
  try {
    return readFileSync(path, 'utf8') === text;
  } catch {
    return false;
  }
}

/** Writes a text file so that a mount of it shows the change. Its mode is 0644. */
export function writeInPlace(path: string, text: string): void {
  if (says(path, text)) return;
  const file = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o644);
  try {
    fchmodSync(file, 0o644); // independent of the umask
    const bytes = Buffer.from(text);
    let at = 0;
    while (at < bytes.length) at += writeSync(file, bytes, at, bytes.length - at, at);
    ftruncateSync(file, bytes.length);
  } finally {
    closeSync(file);
  }
}

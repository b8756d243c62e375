/**
 * resolv.conf and hosts of a container that wants them kept: <run-dir>/etc/ID/, to be bind-mounted into it.
 *
 * Guarantees: rewritten in place, so that a mount of the file sees the change, and only if something changed. What they
 * say is decided by pure functions (machines/plan/); here the host's part is read, or the reason told why it cannot be.
 * Limits: not atomic, since a rename would leave the mount behind: a reader in the same microseconds may see the new
 * text with the end of a longer old one. Written with O_NOFOLLOW; whoever can write the file from inside changes only
 * what is in it until the next change.
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
import type { FilesInput, hostsFile } from '../machines/plan/hosts.ts';
import type { HostFiles, resolvConf } from '../machines/plan/resolv-conf.ts';
import { EffectError, unwritable } from './effect.ts';
import { removeIfEmpty } from './shared-directory.ts';

export interface EtcParts {
  runDir: string;
  resolvConf: typeof resolvConf;
  hostsFile: typeof hostsFile;
}

export const RESOLV_CONF = '/etc/resolv.conf';
const BEHIND_STUB = '/run/systemd/resolve/resolv.conf';

export function etcEffects({ runDir, resolvConf: renderResolvConf, hostsFile: renderHosts }: EtcParts) {
  const home = (id: string) => join(runDir, 'etc', id);

  const write = (input: FilesInput) => {
    const host: HostFiles = { resolvConf: hostFile(RESOLV_CONF) ?? '', behindStub: hostFile(BEHIND_STUB) };
    writeInPlace(join(home(input.id), 'resolv.conf'), renderResolvConf({ ...input, host }));
    writeInPlace(join(home(input.id), 'hosts'), renderHosts(input));
  };

  return {
    // async: what is thrown is a rejection.
    ensureFiles: async (input: FilesInput): Promise<void> => {
      try {
        mkdirSync(home(input.id), { recursive: true, mode: 0o755 });
        write(input);
      } catch (error) {
        throw unwritable(error);
      }
      return Promise.resolve();
    },

    removeFiles: async ({ id }: { id: string }): Promise<void> => {
      rmSync(home(id), { recursive: true, force: true });
      removeIfEmpty(join(runDir, 'etc'));
      return Promise.resolve();
    },

    /** The host's resolv.conf has changed. A container whose files are not there (yet, or any more) gets none. */
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

/** Null where there is none. One that cannot be read is not one without servers: KERNEL. */
function hostFile(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code = '', syscall } = error as NodeJS.ErrnoException;
    if (isAbsent(code)) return null;
    throw new EffectError({
      code: 'KERNEL',
      message: `cannot read ${path}: ${code}`,
      errno: code,
      syscall,
      object: path,
    });
  }
}

/** There is no file at a path; a link that leads nowhere, or in a circle, is none either. */
export const isAbsent = (code: string): boolean => ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(code);

/** Whatever it said, it is to say this: one that cannot be read is written, if it can be. */
function says(path: string, text: string): boolean {
  try {
    return readFileSync(path, 'utf8') === text;
  } catch {
    return false;
  }
}

function writeInPlace(path: string, text: string): void {
  if (says(path, text)) return;
  const file = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o644);
  try {
    fchmodSync(file, 0o644); // whatever the umask
    const bytes = Buffer.from(text);
    let at = 0;
    while (at < bytes.length) at += writeSync(file, bytes, at, bytes.length - at, at);
    ftruncateSync(file, bytes.length);
  } finally {
    closeSync(file);
  }
}

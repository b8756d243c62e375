/**
 * The sandbox of programs of others that an ordinary user's daemon runs: keeps what is in it, and gives the command that enters it.
 *
 * Guarantees: each program gets mounts of its own, made by a launcher in the process that becomes the program
 * (native/rootless/sandbox.cc); the daemon's are not touched. What programs write below /run and /var/lib/cni is kept in
 * `directory`, which is in the mount namespace of the user's daemons: it is the same for all of them, as the network namespace
 * is, and ends with it. resolv.conf is rewritten in place when the host's changes, so that programs which go on running see it.
 * Limits: what the host has beside /var/lib/cni is looked up when a program starts.
 */
import { existsSync, lstatSync, mkdirSync, readdirSync, readlinkSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { COVERED, launching, planSandbox, type Found, type Sandbox } from '../../plan/external/sandbox.ts';
import { unwritable } from '../../state/faults.ts';
import { writeInPlace } from '../names/etc.ts';

export interface SandboxParts {
  directory: string;
  /** Absolute path of cleat-sandbox. */
  launcher: string;
  /** Returns the text of the resolv.conf that programs find, as it is now. */
  resolvConf: () => string;
}

export class PluginSandbox {
  readonly #parts: SandboxParts;

  constructor(parts: SandboxParts) {
    this.#parts = parts;
  }

  /** Returns the beginning of a command whose program finds these paths. */
  entering(needed: readonly string[]): string[] {
    const { directory, launcher } = this.#parts;
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      for (const own of ['run', 'var/lib/cni']) mkdirSync(join(directory, own), { recursive: true, mode: 0o755 });
      this.#write();
      const { mounts, beside } = planSandbox(directory, needed, look);
      if (beside !== null) linkTo(beside);
      return launching(launcher, mounts);
    } catch (error) {
      throw unwritable(error);
    }
  }

  /** Call it when the host's resolv.conf has changed. Writes nothing before the first program has run. */
  refresh(): void {
    if (existsSync(this.#resolvConf())) this.#write();
  }

  #write(): void {
    writeInPlace(this.#resolvConf(), this.#parts.resolvConf());
  }

  #resolvConf(): string {
    return join(this.#parts.directory, 'resolv.conf');
  }
}

function look(path: string): Found {
  try {
    const found = lstatSync(path);
    if (found.isSymbolicLink()) return { link: readlinkSync(path) };
    return found.isDirectory() ? 'directory' : 'file';
  } catch {
    return null; // what we cannot reach, a program of ours cannot either
  }
}

/** Shows the entries of a directory of the host in the one that covers it. Links to what is gone lead nowhere, as a missing file. */
function linkTo({ directory, at, own }: NonNullable<Sandbox['beside']>): void {
  const there = new Set([...readdirSync(at), own, COVERED]);
  for (const name of readdirSync(directory)) {
    if (there.has(name)) continue;
    try {
      symlinkSync(join(COVERED, name), join(at, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // another daemon was faster
    }
  }
}

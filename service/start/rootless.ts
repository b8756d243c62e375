/**
 * Starts a daemon of an ordinary user: how it gets into its namespaces, and where it keeps what it keeps (docs/decisions/0061).
 *
 * Guarantees: `enterRootless` returns only for a daemon that needs no launcher, because it is root, or in its namespaces already.
 * The launcher (native/rootless/) becomes the same command in the same process.
 * Limits: the launcher says itself what is missing, and exits.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { usualSettings, type UplinkPrograms } from '../events/uplink-request.ts';
import { signal, SIGTERM } from '../../effects/processes/process.ts';
import { become, built, lockFile, type Child } from '../../native/index.ts';
import { FaultError } from '../../state/faults.ts';
import { UPLINK_PROGRAMS, type UplinkProgram } from '../../state/uplink.ts';
import type { RootlessOptions } from './options.ts';

/** Pinned by the launcher (native/rootless/mounts.h). */
const OUTSIDE = '/run/netns/rootless';
/**
 * In the mount namespace alone, and so for as long as the network namespace in which its programs work. The launcher takes no such
 * name for one of the host's (native/rootless/mounts.cc).
 */
const SANDBOX = '/run/cleat-plugins';
/** Set by the launcher: the directory that is $XDG_RUNTIME_DIR/cleat outside. */
const DIRECTORY = 'CLEAT_ROOTLESS';

export function enterRootless(): void {
  if (process.getuid?.() === 0) return;
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const environment = Object.entries(process.env).filter((one): one is [string, string] => one[1] !== undefined);
  const { LISTEN_PID: pid, LISTEN_FDS: count } = process.env;
  // The socket that a supervisor passes comes after standard error (sd_listen_fds(3)). Anything else is refused by who takes it.
  const passed = pid === String(process.pid) && count === '1' ? 1 : 0;
  become(built('cleat-rootless'), ['--', ...command], Object.fromEntries(environment), 3 + passed);
}

export interface RootlessPlaces {
  runDir: string;
  stateDir: string;
}

/** Returns the directories of an ordinary user's daemon; null if we are none. */
export function rootlessPlaces(environment = process.env): RootlessPlaces | null {
  const { [DIRECTORY]: runDir, XDG_STATE_HOME: named = '', HOME: home = '' } = environment;
  if (runDir === undefined || runDir === '') return null;
  // What is in it belongs to this machine and is of no use on another one: XDG_STATE_HOME, not XDG_DATA_HOME.
  if (named.startsWith('/')) return { runDir, stateDir: join(named, 'cleat') };
  if (home.startsWith('/')) return { runDir, stateDir: join(home, '.local/state/cleat') };
  throw new FaultError(
    'BAD_REQUEST',
    'neither HOME nor XDG_STATE_HOME says where networks are defined: use --state-dir',
  );
}

/** Returns the namespace that is the outside, and the program that leads out of it: the one that is asked for, or is there. */
export function rootlessOptions(programs: UplinkPrograms, asked: string | undefined): RootlessOptions {
  const there = UPLINK_PROGRAMS.find((program) => existsSync(programs[program].file));
  const program = asked ?? there ?? UPLINK_PROGRAMS[0];
  if (!isProgram(program)) {
    throw new FaultError('BAD_REQUEST', `--rootless-uplink is ${UPLINK_PROGRAMS.join(' or ')}, not ${program}`);
  }
  return { outside: OUTSIDE, uplink: usualSettings(program, programs), sandbox: SANDBOX };
}

const isProgram = (text: string): text is UplinkProgram => (UPLINK_PROGRAMS as readonly string[]).includes(text);

/**
 * Ends the process that keeps the namespaces, which then go with us. To be called at the very end of a daemon that leaves no
 * container: what else there is in the namespaces would go too. Nothing happens while another command is about to enter them, nor
 * for a daemon with another run directory: one in the usual place may be there, too.
 */
export function endHolder(runDir: string): void {
  const record = recordIn(runDir);
  // The lock is held until we end: who comes next makes namespaces of its own.
  if (!existsSync(record) || !lockFile(`${record}.lock`)) return;
  const holder = holderIn(runDir);
  if (holder === null) return;
  // In this order, a kill in between leaves a record of a process that has ended, not a process without a record.
  signal(holder, SIGTERM);
  rmSync(record, { force: true });
}

const recordIn = (runDir: string): string => join(runDir, 'namespace');

/** Returns the process that keeps the namespaces; null if none is on record there. */
export function holderIn(runDir: string): Child | null {
  const record = recordIn(runDir);
  if (!existsSync(record)) return null;
  const [, pid, startTime] = /^(\d+) (\d+) /.exec(readFileSync(record, 'utf8')) ?? [];
  return pid === undefined || startTime === undefined ? null : { pid: Number(pid), startTime: Number(startTime) };
}

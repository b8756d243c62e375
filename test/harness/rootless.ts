/**
 * Ordinary users, made for a test, and their daemons.
 *
 * Guarantees: /etc/passwd, /etc/group, /etc/subuid, /etc/subgid and /dev/net/tun are files of the test's own, mounted over the
 * machine's in the test's mount namespace. The test's network namespace stands for the host.
 * Limits: for tests started by the test runner. The test itself is root outside of the user's namespaces, and reaches these
 * through /proc.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
} from 'node:fs';
import { join } from 'node:path';
import { built } from '../../native/index.ts';
import { TestDaemon } from './daemon.ts';

const FILES = ['passwd', 'group', 'subuid', 'subgid'] as const;
const HOME = '/run/rootless-ground';
/** Far more than any command takes, because the machine may have other work. */
const PATIENCE_MS = 400_000;
const CLEAT = new URL('../../bundle/cleat.cjs', import.meta.url).pathname;

/** Mounts the files that users are made in, and a device that everybody may open, as udev makes it. */
function makeGround(): void {
  if (existsSync(HOME)) return;
  mkdirSync(HOME, { mode: 0o755 });
  mkdirSync('/run/user', { recursive: true, mode: 0o755 });
  for (const file of FILES) {
    const copy = join(HOME, file);
    if (existsSync(`/etc/${file}`)) copyFileSync(`/etc/${file}`, copy);
    else throw new Error(`/etc/${file} is not there: npm run setup installs uidmap`);
    chmodSync(copy, 0o644);
    execFileSync('mount', ['--bind', copy, `/etc/${file}`]);
  }
  setTun(0o666);
}

/** Makes /dev/net/tun a device of this mode. */
export function setTun(mode: number): void {
  const node = `${HOME}/tun`;
  if (!existsSync(node)) {
    execFileSync('mknod', [node, 'c', '10', '200']);
    execFileSync('mount', ['--bind', node, '/dev/net/tun']);
  }
  chmodSync(node, mode);
}

/** Two addresses of the host: pasta copies the first one to its link, so only the second is the host's for containers. */
export const HOST = '10.99.1.2';
export const OTHER = '10.99.2.2';

export function giveHostAddresses(): void {
  const lines = [
    'link add world type bridge',
    `addr add ${HOST}/24 dev world`,
    'link set world up',
    'route add default via 10.99.1.1',
    'link add other type bridge',
    `addr add ${OTHER}/24 dev other`,
    'link set other up',
  ];
  execFileSync('ip', ['-batch', '-'], { input: lines.join('\n') });
}

/** Kills a process. 0 would be the group of the test and its runner. */
export function killed(pid: number): void {
  if (!(pid > 1)) throw new Error(`no process to kill: ${pid}`);
  process.kill(pid, 'SIGKILL');
}

export class TestUser {
  readonly name: string;
  readonly uid: number;
  readonly home: string;
  readonly runtime: string;

  /** `subordinates`: how many ids the user has beside its own. */
  constructor(name: string, uid: number, subordinates = 65_536) {
    makeGround();
    this.name = name;
    this.uid = uid;
    this.home = `${HOME}/${name}`;
    this.runtime = `/run/user/${uid}`;
    appendFileSync('/etc/passwd', `${name}:x:${uid}:${uid}::${this.home}:/bin/sh\n`);
    appendFileSync('/etc/group', `${name}:x:${uid}:\n`);
    for (const file of ['subuid', 'subgid']) {
      if (subordinates > 0) appendFileSync(`/etc/${file}`, `${name}:${uid * 100_000}:${subordinates}\n`);
    }
    for (const directory of [this.home, this.runtime]) {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      chownSync(directory, uid, uid);
    }
  }

  get environment(): Record<string, string> {
    return { HOME: this.home, XDG_RUNTIME_DIR: this.runtime, XDG_STATE_HOME: '', USER: this.name };
  }

  /** The beginning of a command that runs as this user. */
  get prefix(): string[] {
    return ['setpriv', `--reuid=${this.uid}`, `--regid=${this.uid}`, '--clear-groups', '--'];
  }

  /** Runs a command as this user. */
  run(command: string[], environment: Record<string, string> = {}) {
    const [file = '', ...args] = [...this.prefix, ...command];
    const env = { ...process.env, ...this.environment, ...environment };
    return spawnSync(file, args, { encoding: 'utf8', env, cwd: '/', timeout: PATIENCE_MS });
  }

  /** Runs `cleat` as this user; returns what it prints. */
  cleat(...args: string[]): string {
    const { status, stdout, stderr } = this.run([process.execPath, CLEAT, ...args]);
    if (status !== 0) throw new Error(`cleat ${args.join(' ')}: ${status} ${stdout}${stderr}`);
    return stdout;
  }

  /** Runs the launcher as this user. */
  launch(...command: string[]) {
    return this.run([built('cleat-rootless'), '--', ...command]);
  }

  get record(): string {
    return `${this.runtime}/cleat/namespace`;
  }

  /** The process that keeps the user's namespaces; 0 if there is none on record. */
  get holder(): number {
    return existsSync(this.record) ? Number(readFileSync(this.record, 'utf8').split(' ')[0]) : 0;
  }

  /** How a path in the user's namespaces is reached from outside, as long as this process lives. */
  outsidePath(path: string, through = this.holder): string {
    return `/proc/${through}/root${path}`;
  }

  /** The command lines of processes that run as this user, or as one of its subordinate users. */
  processes(): string[] {
    const mine = (uid: number) => uid === this.uid || (uid >= this.uid * 100_000 && uid < this.uid * 100_000 + 65_536);
    return readdirSync('/proc').flatMap((pid) => {
      if (!/^\d+$/.test(pid)) return [];
      try {
        const [, uid] = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim();
        return mine(Number(uid)) && words !== '' ? [`${pid} ${words}`] : [];
      } catch {
        return []; // it has ended
      }
    });
  }

  /** The only process of this user with these words on its command line. */
  processOf(words: string): number {
    const found = this.processes().filter((line) => line.includes(words));
    if (found.length !== 1)
      throw new Error(`${found.length} processes of ${this.name} with ${words}: ${found.join('\n')}`);
    return Number.parseInt(found[0] ?? '', 10);
  }
}

/** A daemon as this user starts it, without an option about places. */
export class RootlessDaemon extends TestDaemon {
  constructor(user: TestUser) {
    super(undefined, `${user.runtime}/cleat/cleat.sock`);
    this.launcher = user.prefix;
    this.environment = user.environment;
    this.usualPlaces = true;
  }
}

/** The leases of host-local on a network: addresses, in its usual directory as the user's plugins see it. */
export function leasesOf(user: TestUser, network: string): string[] {
  const directory = user.outsidePath(`/run/cleat-plugins/var/lib/cni/networks/${network}`);
  return existsSync(directory) ? readdirSync(directory).filter((name) => /^[\d.]+$/.test(name)) : [];
}

/**
 * Programs of user-mode networking, started by hand: slirp4netns, pasta, rootlessport, socat.
 *
 * Guarantees: `ms` is from spawn until the program reports that it is ready, in its own way: a byte on --ready-fd or
 * ReadyFD; for pasta, the end of the process that was started. socat reports nothing, so its time ends when it listens.
 * The arguments are those that Podman gives the programs. Each is in a session of its own, as the daemon's are: the
 * kernel shares out processor time by session (autogroup, sched(7)). `end` resolves when the process has ended.
 * Limits: written for slirp4netns 1.2, pasta of 2023-03, the rootlessport of Podman 4.3. rootlessport forwards in the
 * same way whatever its user is, so it is started as root, as everything here.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Duplex } from 'node:stream';
import { addForward } from '../../effects/uplinks/slirp-api.ts';
import { SERVED } from '../load/load.ts';
import { runProgram } from '../program.ts';

export const PROGRAMS = {
  slirp4netns: { file: '/usr/bin/slirp4netns', debian: 'slirp4netns' },
  pasta: { file: '/usr/bin/pasta', debian: 'passt' },
  rootlessport: { file: '/usr/lib/podman/rootlessport', debian: 'podman' },
  socat: { file: '/usr/bin/socat', debian: 'socat' },
} as const;
export type Program = keyof typeof PROGRAMS;

export const isThere = (program: Program): boolean => existsSync(PROGRAMS[program].file);

/** The guest of slirp4netns's network, fixed by slirp4netns(1). */
const SLIRP_GUEST = '10.0.2.100';
const LISTENS_WITHIN_MS = 5000;
const GONE_WITHIN_MS = 5000;

export interface Started {
  ms: number;
  pid: number;
  end(): Promise<void>;
}

/** Ports `first`, first + 1, ...: each leads to the server in the namespace. */
export interface Published {
  netns: string;
  first: number;
  count: number;
}

/** Starts slirp4netns, with an API socket in `folder` if there is one. */
export function slirp(netns: string, folder?: string): Promise<Started> {
  const hardened = ['--disable-host-loopback', '--mtu', '65520', '--enable-sandbox', '--enable-seccomp'];
  const api = folder === undefined ? [] : ['--api-socket', `${folder}/api`];
  if (folder !== undefined) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
  }
  return untilReady('slirp4netns', [
    ...hardened,
    ...api,
    '-c',
    '-e',
    '3',
    '-r',
    '4',
    '--netns-type=path',
    netns,
    'tap0',
  ]);
}

/** Publishes its ports one after another, because its API takes one at a time. */
export async function slirpPublished({ netns, first, count }: Published, folder: string): Promise<Started> {
  const started = await slirp(netns, folder);
  for (let port = first; port < first + count; port++) {
    const host = { host_addr: '0.0.0.0', host_port: port };
    await addForward(folder, { proto: 'tcp', ...host, guest_addr: SLIRP_GUEST, guest_port: SERVED });
  }
  return started;
}

/** The process that is started ends when the one it leaves behind is ready. */
export async function pasta(netns: string, folder: string): Promise<Started> {
  mkdirSync(folder, { recursive: true });
  const file = `${folder}/pid`;
  const closed = ['--tcp-ports', 'none', '--udp-ports', 'none', '--tcp-ns', 'none', '--udp-ns', 'none', '--no-map-gw'];
  const args = ['--config-net', ...closed, '--quiet', '--runas', '0:0', '--pid', file, '--netns', netns];
  const { ms } = await runProgram(PROGRAMS.pasta.file, args, '', {});
  const pid = Number(readFileSync(file, 'utf8'));
  return { ms, pid, end: () => endOrphan(pid) };
}

/** `address`: the container's own, at which rootlessport reaches it from inside. */
export function rootlessport(published: Published, address: string, folder: string): Promise<Started> {
  mkdirSync(folder, { recursive: true });
  const config = {
    Mappings: Array.from({ length: published.count }, (_, i) => ({
      host_ip: '',
      host_port: published.first + i,
      container_port: SERVED,
      protocol: 'tcp',
      range: 1,
    })),
    NetNSPath: published.netns,
    ExitFD: 3,
    ReadyFD: 4,
    TmpDir: folder,
    ChildIP: address,
    ContainerID: `bench${published.first}`,
    RootlessCNI: true,
  };
  return untilReady('rootlessport', [], JSON.stringify(config));
}

/** Runs outside alone: it connects to the container's address as any client would. */
export async function socat(port: number, address: string): Promise<Started> {
  const start = performance.now();
  const listen = `TCP-LISTEN:${port},fork,reuseaddr,backlog=4096`;
  const child = spawn(PROGRAMS.socat.file, [listen, `TCP:${address}:${SERVED},nodelay`], {
    stdio: 'ignore',
    detached: true,
  });
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  // proc_net_tcp(5): local address and port in hexadecimal, the other end, 0A for listening.
  const listening = new RegExp(`^ *\\d+: [0-9A-F]+:${hex} [0-9A-F]+:0000 0A `, 'm');
  while (!listening.test(readFileSync('/proc/net/tcp', 'utf8'))) {
    if (child.exitCode !== null || performance.now() - start > LISTENS_WITHIN_MS) {
      child.kill('SIGKILL');
      throw new Error(`socat does not listen on port ${port}`);
    }
    await sleep(1);
  }
  return { ms: performance.now() - start, pid: child.pid!, end: () => endChild(child) };
}

/** The program ends when descriptor 3 is closed, and reports on 4 that it is ready. */
async function untilReady(program: Program, args: string[], input = ''): Promise<Started> {
  const start = performance.now();
  const child = spawn(PROGRAMS[program].file, args, {
    stdio: ['pipe', 'ignore', 'pipe', 'pipe', 'pipe'],
    detached: true,
  });
  let said = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-1000)));
  child.stdin!.on('error', () => {}).end(input);
  const [, , , exit, ready] = child.stdio;
  (exit as Duplex).on('error', () => {});
  await new Promise<void>((resolve, reject) => {
    (ready as Duplex).once('data', () => resolve());
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${program} ended with ${code}: ${said.trim()}`)));
  });
  return { ms: performance.now() - start, pid: child.pid!, end: () => endChild(child) };
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await exited;
}

async function endOrphan(pid: number): Promise<void> {
  process.kill(pid, 'SIGTERM');
  const start = performance.now();
  // Its parent is now the first process of the namespace, which may not wait for it: a zombie (proc_pid_status(5)) has
  // ended.
  while (existsSync(`/proc/${pid}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) {
    if (performance.now() - start > GONE_WITHIN_MS) throw new Error(`process ${pid} does not end`);
    await sleep(2);
  }
}

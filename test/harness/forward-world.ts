/**
 * The ground of the forwarder's tests: containers that no packet from outside can reach, a neighbour on the outside's
 * LAN, and the process itself.
 *
 * Guarantees: a container has an eth0 with an address of each family that leads nowhere (ifb drops its packets), so
 * that data that arrives came through the forwarder, and an answer that is routed out is lost. Everything ends with the
 * test.
 * Limits: for tests in namespaces of their own; the outside is the test's.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { openOutside } from '../../native/index.ts';
import { built, codes, scratch } from './native.ts';

export const EXECUTABLE = built('cleat-forwarder');
const SERVER = new URL('./forward-server.js', import.meta.url).pathname;

export const outside = openOutside();
const directory = scratch();
const children: ChildProcess[] = [];

export function endChildren(): void {
  for (const child of children) child.kill('SIGKILL');
}

export interface Container {
  name: string;
  netns: { path: string; dev: number; ino: number };
  v4: string;
  v6: string;
  server: ChildProcess;
  said: () => string;
}

/** Container number n, with its servers. */
export async function container(name: string, n: number): Promise<Container> {
  const path = join(directory, name);
  const [v4, v6] = [`10.0.${n}.2`, `fd00:${n}::2`];
  const identity = await outside.netnsCreate(path, {
    'net/ipv6/conf/all/accept_ra': '0',
    'net/ipv6/conf/default/accept_dad': '0',
    'net/ipv6/conf/all/accept_dad': '0',
  });
  const replies = await outside.rtnl(
    [
      { op: 'link.add', kind: 'ifb', name: 'eth0', up: true },
      { op: 'address.add', link: 'eth0', address: v4, prefix: 24 },
      { op: 'address.add', link: 'eth0', address: v6, prefix: 64 },
      { op: 'route.add', destination: '0.0.0.0', prefix: 0, link: 'eth0' },
      { op: 'route.add', destination: '::', prefix: 0, link: 'eth0' },
    ],
    path,
  );
  const wrong = codes(replies).filter((code) => code !== 'ok');
  if (wrong.length > 0) throw new Error(`container ${name}: ${wrong.join(' ')}`);
  let said = '';
  const enter = [`--net=${path}`, '--', process.execPath, SERVER, name];
  const server = spawn('nsenter', enter, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(server);
  server.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  await once(server.stdout, 'data');
  return { name, netns: { path, ...identity }, v4, v6, server, said: () => said };
}

export const LAN = { host: '192.0.2.1', neighbour: '192.0.2.9', host6: 'fd99::1', neighbour6: 'fd99::9' };

/** The namespace of a neighbour on a LAN with the outside. */
export async function neighbour(): Promise<string> {
  const path = join(directory, 'neighbour');
  await outside.netnsCreate(path, { 'net/ipv6/conf/default/accept_dad': '0' });
  await outside.sysctlWrite({ 'net/ipv6/conf/default/accept_dad': '0' });
  await outside.rtnl([
    { op: 'link.add', kind: 'veth', name: 'lan0', up: true, peer: { name: 'eth0', up: true, netns: path } },
    { op: 'address.add', link: 'lan0', address: LAN.host, prefix: 24 },
    { op: 'address.add', link: 'lan0', address: LAN.host6, prefix: 64 },
  ]);
  await outside.rtnl(
    [
      { op: 'address.add', link: 'eth0', address: LAN.neighbour, prefix: 24 },
      { op: 'address.add', link: 'eth0', address: LAN.neighbour6, prefix: 64 },
    ],
    path,
  );
  return path;
}

interface Rule {
  owner: string;
  protocol: string;
  host_ip: string;
  host_port: number;
}

export const rule = (at: Container, host_port: number, container_port: number, more: object = {}) => ({
  owner: `${at.name}:1`,
  protocol: 'tcp',
  host_ip: '0.0.0.0',
  host_port,
  netns: at.netns.path,
  dev: at.netns.dev,
  ino: at.netns.ino,
  address: at.v4,
  container_port,
  ...more,
});

export const keyOf = ({ owner, protocol, host_ip, host_port }: Rule): Rule => {
  return { owner, protocol, host_ip, host_port };
};

// oxlint-disable-next-line typescript/no-explicit-any -- what comes is what is tested
type Reply = any;

export class Forwarder {
  readonly directory = scratch();
  readonly socket = join(this.directory, 'socket');
  readonly child: ChildProcess;

  /** `inherited`: the number of additional descriptors at its start. `launcher`: a command that starts it. */
  constructor(
    args: string[] = ['--idle', '30'],
    socket?: string,
    executable = EXECUTABLE,
    inherited = 0,
    launcher: string[] = [],
  ) {
    if (socket !== undefined) this.socket = socket;
    const more = Array.from({ length: inherited }, () => 2);
    const stdio = ['ignore', 'ignore', 'inherit', ...more] as const;
    const [file = '', ...words] = [...launcher, executable, '--socket', this.socket, ...args];
    this.child = spawn(file, words, { stdio: [...stdio] });
    children.push(this.child);
  }

  async started(): Promise<this> {
    const deadline = performance.now() + 3000;
    for (;;) {
      try {
        await this.ask({ op: 'who' });
        return this;
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await new Promise((again) => setTimeout(again, 2));
      }
    }
  }

  async connect(): Promise<Socket> {
    const fd = openSync(resolve(this.socket, '..'), 'r');
    try {
      const socket = connect(`/proc/self/fd/${fd}/${this.socket.split('/').at(-1)}`);
      await once(socket, 'connect');
      return socket;
    } finally {
      closeSync(fd);
    }
  }

  async ask(request: unknown): Promise<Reply> {
    return JSON.parse(await this.send(`${JSON.stringify(request)}\n`));
  }

  /** All of its answers, to a line or until it closes; its own side is closed by then. */
  async send(text: string | Buffer): Promise<string> {
    const socket = await this.connect();
    let answer = '';
    socket.on('error', () => {}).setEncoding('utf8');
    socket.write(text);
    socket.on('data', (more: string) => (answer += more).endsWith('\n') && socket.end());
    await new Promise<void>((done) => socket.on('close', () => done()));
    return answer;
  }

  change(add: object[], remove: object[] = []): Promise<Reply> {
    return this.ask({ op: 'change', add, remove });
  }

  async rules(): Promise<Reply[]> {
    return (await this.ask({ op: 'list' })).rules;
  }

  async clear(): Promise<void> {
    await this.change([], (await this.rules()).map(keyOf));
  }

  descriptors(): number {
    return this.numbers().length;
  }

  /** The number of its descriptors. */
  numbers(): number[] {
    return readdirSync(`/proc/${this.child.pid}/fd`).map(Number);
  }

  /** The use of an owner. */
  async has(owner: string): Promise<{ connections: number; flows: number }> {
    const { owners } = await this.ask({ op: 'list' });
    return owners.find((one: { owner: string }) => one.owner === owner) ?? { connections: 0, flows: 0 };
  }

  /** Sets its limit on descriptors from now on. */
  limitDescriptors(count: number): void {
    execFileSync('prlimit', [`--pid=${this.child.pid}`, `--nofile=${count}:`]);
  }

  /** Lets it open so many more descriptors, and no others: a limit is on their numbers (getrlimit(2)). */
  leaveDescriptors(spare: number): void {
    const open = new Set(this.numbers());
    let limit = 0;
    for (let free = 0; free < spare || open.has(limit); limit++) if (!open.has(limit)) free++;
    this.limitDescriptors(limit);
  }

  /** Bytes of private memory. */
  resident(): number {
    const text = readFileSync(`/proc/${this.child.pid}/smaps_rollup`, 'utf8');
    return 1024 * Number(/^Private_Dirty:\s+(\d+)/m.exec(text)?.[1]);
  }

  async ended(): Promise<number | string> {
    const { exitCode, signalCode } = this.child;
    if (exitCode !== null || signalCode !== null) return exitCode ?? signalCode ?? '';
    const [code, signal] = (await once(this.child, 'exit')) as [number | null, string | null];
    return code ?? signal ?? '';
  }

  async stop(): Promise<void> {
    this.child.kill('SIGTERM');
    await this.ended();
  }
}

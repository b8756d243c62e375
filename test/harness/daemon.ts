/**
 * A daemon as its users see it: a process of its own with directories of its own, used over its socket.
 *
 * Guarantees: start() resolves when the socket answers; kill() is SIGKILL, and start() after it is what a supervisor
 * does. Everything lies below one directory on /run, which is a tmpfs of the test's own, open to every user so that the
 * file modes of the daemon decide.
 * Limits: for tests started by the test runner, in network and mount namespaces of their own.
 */
import { spawn } from 'node:child_process';
import { chmodSync, closeSync, existsSync, mkdtempSync, openSync, readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from '../../state/faults.ts';
import type { AttachmentOptions, LifecycleEvent, PortMapping } from '../../state/event.ts';
import type { NetworkDefinition, NetworkRequest } from '../../state/network.ts';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import type { AuditReport } from '../../state/answers/audit.ts';
import type { MainOptions } from '../../service/start/settings.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { isRootless, spawnOnHost, type StartedProcess } from './host.ts';

export type CreateOptions = Omit<Extract<LifecycleEvent, { type: 'create' }>, 'type' | 'id'>;

/** The fields that any answer may have; each test reads the ones that it needs. */
export type Body = Partial<ContainerView> &
  Partial<Pick<Inspection, 'NetworkSettings'>> & { error?: Fault & { hint?: string } };

export interface Answer<T = Body> {
  status: number;
  headers: IncomingMessage['headers'];
  text: string;
  body: T;
}

/** A start takes a second. On a machine with much other work, the two programs that a user's daemon begins with take many. */
const START_LIMIT_MS = 60_000;
const GONE_LIMIT_MS = 10_000;

export class TestDaemon {
  readonly directory: string;
  readonly socket: string;
  /** Added to the environment of the daemon. */
  environment: Record<string, string> = {};
  /** Its outer publisher, if it is to have one. */
  publisher: string | null = null;
  /** A command that becomes the daemon, with its own arguments; for example setpriv. */
  launcher: string[] = [];
  /** True: it finds its directories and its socket itself. */
  usualPlaces = false;
  /** Programs for user-mode networking, as on the command line. A user's way out has the MTU that networks of root have. */
  uplinks: Pick<MainOptions, 'slirp4netns' | 'slirp4netnsOptions' | 'pasta' | 'pastaOptions' | 'rootlessUplink'> =
    isRootless ? { slirp4netnsOptions: ['mtu=1500'] } : {};
  /** KIND=POLICY: its policies for drift. */
  drift: string[] = [];
  /** True: it forwards between other interfaces too. */
  forwardOthers = false;
  /** Programs of others that make networks, as on the command line. */
  externals: Pick<MainOptions, 'cniPlugins' | 'netavark' | 'pluginTimeout'> = {};
  /** Where Docker's clients find it, if anywhere. */
  dockerSocket: MainOptions['dockerSocket'];
  /** NAME=NUMBER: its limits. */
  limits: string[] = [];
  /** A number, as text: how many namespaces it makes in advance. */
  preparedNamespaces: MainOptions['preparedNamespaces'];
  /** Where etcd is, and the address for other hosts. */
  etcd: Pick<
    MainOptions,
    'etcd' | 'etcdCa' | 'etcdCert' | 'etcdKey' | 'etcdUser' | 'etcdPasswordFile' | 'etcdTtl' | 'advertise'
  > = {};
  /** NAME=NUMBER: the forwarder's limits of each container. */
  forwarderLimits: string[] = [];
  /** BASE,SIZE: the pools for networks without a subnet. */
  subnetPools: string[] = [];
  /** Where its traces go, if anywhere. */
  otlpEndpoint: MainOptions['otlpEndpoint'];
  /** Seconds, as text: it ends by itself when it has nothing to do for so long. */
  exitWhenIdle: MainOptions['exitWhenIdle'];
  /** The lowest level of its log. */
  logLevel: MainOptions['logLevel'];
  #child: StartedProcess | null = null;

  constructor(directory = mkdtempSync('/run/daemon-'), socket = `${directory}/cleat.sock`) {
    this.directory = directory;
    this.socket = socket;
    chmodSync(directory, 0o755);
  }

  get runDir(): string {
    return `${this.directory}/run`;
  }
  get stateDir(): string {
    return `${this.directory}/state`;
  }
  get netnsDir(): string {
    return `${this.directory}/netns`;
  }
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  async start(): Promise<void> {
    const child = this.spawn();
    this.#child = child;
    const limit = performance.now() + START_LIMIT_MS;
    for (;;) {
      try {
        if (!existsSync(this.socket)) throw new Error('there is no socket');
        await this.get('/v1/version');
        return;
      } catch (error) {
        const ended = child.exitCode !== null || child.signalCode !== null;
        if (ended || performance.now() > limit) {
          const what = ended ? 'has ended' : 'neither serves nor ends';
          throw new Error(`the daemon ${what}:\n${this.log()}`, { cause: error });
        }
        await sleep(5);
      }
    }
  }

  /** Starts the process alone, e.g. a second one that must refuse to start. */
  spawn(places: Partial<Places> = {}): StartedProcess {
    const { runDir, stateDir, netnsDir, socket } = this;
    const publisher = this.publisher ?? undefined;
    const { drift, forwardOthers, limits, forwarderLimits, subnetPools, otlpEndpoint, exitWhenIdle, logLevel } = this;
    const { preparedNamespaces, dockerSocket } = this;
    const argument = JSON.stringify({
      ...(this.usualPlaces ? {} : { runDir, stateDir, netnsDir, socket }),
      publisher,
      drift,
      forwardOthers,
      limits,
      preparedNamespaces,
      dockerSocket,
      forwarderLimits,
      subnetPools,
      otlpEndpoint,
      exitWhenIdle,
      logLevel,
      ...this.uplinks,
      ...this.externals,
      ...this.etcd,
      ...places,
    });
    const command = [process.execPath, ...process.execArgv, import.meta.filename, 'daemon', argument];
    const [program = '', ...rest] = [...this.launcher, ...command];
    const env = { ...process.env, ...this.environment };
    const log = openSync(`${this.directory}/log`, 'a');
    const child = isRootless
      ? spawnOnHost([program, ...rest], env, `${this.directory}/log`)
      : spawn(program, rest, { stdio: ['ignore', log, log], env });
    closeSync(log);
    return child;
  }

  /** Sends SIGTERM; resolves with the exit status. */
  stop(): Promise<number | null> {
    return this.#end('SIGTERM');
  }

  kill(): Promise<number | null> {
    return this.#end('SIGKILL');
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    this.#child = null;
    if (child === null) return null;
    if (child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      await ended;
    }
    return child.exitCode;
  }

  log(): string {
    return readFileSync(`${this.directory}/log`, 'utf8');
  }

  // --- Requests -------------------------------------------------------------------------------------------------

  /** Sends any request; returns the answer as it came. A body that is no text is sent as JSON. */
  async request<T = Body>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
    socketPath = this.socket,
  ): Promise<Answer<T>> {
    const type = body === undefined ? {} : { 'content-type': 'application/json' };
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const all = { ...type, ...headers };
      const outgoing = httpRequest({ socketPath, method, path, headers: all, agent: false }, resolve);
      outgoing.once('error', reject);
      outgoing.end(body === undefined || typeof body === 'string' ? body : JSON.stringify(body));
    });
    answer.setEncoding('utf8');
    let text = '';
    for await (const chunk of answer) text += chunk as string;
    const json = String(answer.headers['content-type']).includes('application/json');
    return {
      status: answer.statusCode ?? 0,
      headers: answer.headers,
      text,
      body: (json ? JSON.parse(text) : null) as T,
    };
  }

  /** The same on the socket for Docker's clients. */
  docker<T = { message: string }>(method: string, path: string, body?: unknown): Promise<Answer<T>> {
    return this.request<T>(method, path, body, {}, this.dockerSocket);
  }

  get<T = Body>(path: string): Promise<Answer<T>> {
    return this.request<T>('GET', path);
  }

  event(event: LifecycleEvent | object, headers?: Record<string, string>): Promise<Answer> {
    return this.request('POST', '/v1/events', event, headers);
  }

  /** Sends an event that must succeed; returns the container after it. */
  async done(event: LifecycleEvent): Promise<ContainerView> {
    const { status, text, body } = await this.event(event);
    if (status !== 200) throw new Error(`${event.type} of ${event.id}: ${status} ${text}`);
    return body as ContainerView;
  }

  /** Creates and configures. */
  async up(id: string, create: CreateOptions = {}): Promise<ContainerView> {
    await this.done({ type: 'create', id, ...create });
    return this.done({ type: 'configure', id });
  }

  /** Tears down, and waits until nothing is left, nor anything that only this container used. */
  async down(...ids: string[]): Promise<void> {
    await Promise.all(
      ids.map(async (id) => {
        await this.done({ type: 'teardown', id });
        await this.gone(id);
      }),
    );
    await this.settled();
  }

  /**
   * Waits until bridges, tables and servers without users have gone, because an earlier picture would include them. The
   * audit waits for that.
   */
  async settled(): Promise<void> {
    await this.get('/v1/audit');
  }

  /** Waits also when a teardown has failed, and is tried again by itself. */
  async gone(id: string): Promise<void> {
    const limit = performance.now() + GONE_LIMIT_MS;
    for (;;) {
      const { status, text, body } = await this.get(`/v1/containers/${id}?wait=gone&timeout=${GONE_LIMIT_MS}`);
      if (status === 200 || status === 404) return;
      if (body.error?.code !== 'UNFINISHED' || performance.now() > limit) throw new Error(`${id} is not gone: ${text}`);
      await sleep(20);
    }
  }

  /** Rejects with the findings of the audit. */
  async clean(): Promise<void> {
    const { body } = await this.get<AuditReport>('/v1/audit');
    if (!body.clean) throw new Error(`the audit finds ${JSON.stringify(body.findings)}`);
  }

  /** Creates a network; without DNS, unless requested. */
  async network(request: NetworkRequest): Promise<NetworkDefinition> {
    const asked = { dns_enabled: false, ...request };
    const { status, text, body } = await this.request<NetworkDefinition>('POST', '/v1/networks', asked);
    if (status !== 201) throw new Error(`network ${request.name}: ${status} ${text}`);
    return body;
  }
}

interface Places {
  runDir: string;
  stateDir: string;
  netnsDir: string;
  socket: string;
}

/** The part of a container's GET that an event also answers with. */
export function asAnswered({ NetworkSettings: _added, ...view }: Body): Body {
  return view;
}

/** The path of its pin. */
export const pathOf = ({ netns }: Pick<ContainerView, 'netns'>): string => netns.path ?? '';

/** Networks by name alone. */
export function on(...networks: string[]): Record<string, AttachmentOptions> {
  return Object.fromEntries(networks.map((network) => [network, {}]));
}

/** Host port to container port. */
export function port(host: number, container: number, more: Partial<PortMapping> = {}): PortMapping {
  return { host_port: host, container_port: container, ...more };
}

/**
 * The address that a container sees of a client on the host's loopback: the gateway's if the firewall carries the port, its own if the
 * forwarder does, as for every port of an ordinary user.
 */
export function loopbackClient(container: Pick<ContainerView, 'networks'>, network: string): string {
  const address = addressOf(container, network);
  return isRootless ? address : address.replace(/\.\d+$/, '.1');
}

/** The address of a container on a network, of one family, without its prefix. */
export function addressOf(container: Pick<ContainerView, 'networks'>, network: string, family: 4 | 6 = 4): string {
  const subnets = Object.values(container.networks[network]?.interfaces ?? {})[0]?.subnets ?? [];
  const found = subnets.find(({ ipnet }) => ipnet.includes(':') === (family === 6));
  if (found === undefined)
    throw new Error(`no IPv${family} address on ${network}: ${JSON.stringify(container.networks)}`);
  return found.ipnet.slice(0, found.ipnet.indexOf('/'));
}

if (process.argv[2] === 'daemon' && process.argv[1] === import.meta.filename) {
  const { main } = await import('#daemon');
  const { complain } = await import('../../cli/terminal.ts');
  await main(JSON.parse(process.argv[3] ?? '{}') as Places, complain);
}

/**
 * Publishes ports through the forwarder process of an outside (native/forwarder), for containers without a bridge that the
 * firewall could use.
 *
 * Guarantees: one request adds, removes or moves all ports of a call, or none. A port that gets another target refuses no
 * connection meanwhile, and existing connections continue. Running twice gives the same result. The first port starts the
 * process, in a session of its own: it outlives the daemon, and ends by itself after its last port. A container's ports end
 * with the container's processes, without the daemon (forwarder-binding.ts).
 * Limits: tcp and udp. Connections end with the process. It is not restarted here, but by publishing again.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OwnedTarget } from '../../plan/containers/change.ts';
import { processStartTime, spawn, type Child } from '../../native/index.ts';
import type { Tie } from '../../state/container.ts';
import type { ForwarderLimits } from '../../state/forwarder.ts';
import { whyDenied } from '../capabilities.ts';
import { FaultError, unwritable } from '../../state/faults.ts';
import { bindingOf, cannotBind, hasEnded, isBound, type ListedTie } from './forwarder-binding.ts';
import { ask, failed, garbage, inTurn, SOCKET, type Answer, type Refusal } from './forwarder-client.ts';
import { endForwarders, endUnreachable } from './forwarder-process.ts';
import { outsideKey } from '../kernel.ts';
import { isAlive, isGone } from '../processes/process.ts';
import { isForRootAlone, privileged, requireFor } from '../refusal.ts';
import type { Scopes } from '../processes/scopes.ts';
import { findUser } from '../processes/users.ts';
import { containerIdOf } from '../../plan/owner.ts';
import { portText } from '../../plan/ports/port-text.ts';

export interface ForwarderPlaces {
  /** <run-dir>/forwarder */
  directory: string;
  /** Absolute path of cleat-forwarder. */
  executable: string;
  /** The forwarder's own defaults apply to limits that are absent. */
  limits?: Partial<ForwarderLimits>;
  scopes: Pick<Scopes, 'own'>;
}

/** What is enough if none is started. */
export type ForwarderHome = Pick<ForwarderPlaces, 'directory'>;

export interface ForwardInput {
  outside: string | null;
  /** The namespace of all targets. */
  netns: { path: string; dev: number; ino: number };
  /** The ports that exist afterwards, in place of `replacing`. hostIp is always an address. */
  targets: OwnedTarget[];
  replacing: OwnedTarget[];
  /** The ports of the targets' owner end with the last of these; if empty, only by request. Absent: no change. */
  boundTo?: readonly Tie[];
}

/** A forwarder process, its rules, and the use and limits of its owners. */
export interface Forwards {
  process: Child;
  rules: ForwardRule[];
  owners: ForwardOwner[];
  limits: ForwarderLimits | null;
}

export interface ForwardOwner {
  owner: string;
  /** TCP connections and UDP clients. */
  connections: number;
  flows: number;
  /** Says what the owner's ports end with. Absent for a forwarder of an earlier version. */
  bound_to?: ListedTie[];
}

export interface ForwardRule {
  owner: string;
  protocol: 'tcp' | 'udp';
  host_ip: string;
  host_port: number;
  netns: string;
  dev: number;
  ino: number;
  address: string;
  container_port: number;
  /** True if the container sees the clients' own addresses. */
  source_kept: boolean;
  connections: number;
  /** True if new clients wait because the number of connections is at its limit. */
  full: boolean;
  /** Bytes to the container, and from it. */
  bytes_in: number;
  bytes_out: number;
}

/** Shorter than the deadline of an effect, from the call on. The forwarder answers in 1 ms; 10,000 ports take it 200 ms. */
const PATIENCE_MS = 5000;
/** For a request about one container, which is made again later. Other requests have to wait for it. */
const LOOK_MS = 1000;
/** The seconds that the forwarder stays without ports before it ends. */
const IDLE_S = '1';
/** The pause before the next attempt. A forwarder starts within 2 ms. */
const PAUSE_MS = 2;

export const forward =
  (places: ForwarderPlaces) =>
  async ({ outside, netns, targets, replacing, boundTo }: ForwardInput): Promise<void> => {
    const [first] = targets;
    if (first === undefined) return unforward(places)({ outside, netns, targets, replacing });
    refuseSctp(targets);
    const directory = directoryOf(places, outside);
    const add = targets.map((target) => ({
      ...keyOf(target),
      netns: netns.path,
      dev: netns.dev,
      ino: netns.ino,
      address: target.address,
      container_port: target.containerPort,
    }));
    const request = { op: 'change', remove: replacing.map(keyOf), add };
    const change = (more: object) =>
      askInTurn(directory, { ...request, ...more }, PATIENCE_MS, () => start(places, directory, outside));
    if (boundTo === undefined) return expectDone(await change({}));
    const answer = await change({ bound: [await bindingOf(first.owner, boundTo)] });
    expectDone(cannotBind(answer, boundTo) ? await change({}) : answer);
  };

/**
 * Binds the ports of an owner to these: the ports end with the last of them, if the forwarder can see them. Changes nothing for
 * an owner that has ended with them meanwhile: its teardown follows.
 */
export const bind =
  (places: ForwarderHome) =>
  async (outside: string | null, owner: string, boundTo: readonly Tie[]): Promise<void> => {
    try {
      const request = { op: 'change', remove: [], add: [], bound: [await bindingOf(owner, boundTo)] };
      const answer = await askInTurn(directoryOf(places, outside), request, LOOK_MS, null);
      if (answer !== null && !cannotBind(answer, boundTo)) expectDone(answer);
    } catch (error) {
      if (!hasEnded(boundTo)) throw error;
    }
  };

export const unforward =
  (places: ForwarderHome) =>
  async ({ outside, replacing }: ForwardInput): Promise<void> => {
    if (replacing.length === 0) return;
    const directory = directoryOf(places, outside);
    const request = { op: 'change', remove: replacing.filter(carried).map(keyOf), add: [] };
    const answer = await askInTurn(directory, request, PATIENCE_MS, null);
    if (answer !== null) return expectDone(answer);
    await inTurn(directory, () => endUnreachable(directory));
  };

/** Returns what the process of an outside carries, for all containers or for this one; null if there is no process. */
export const listForwards =
  (places: ForwarderHome) =>
  async (outside: string | null, owner?: string): Promise<Forwards | null> => {
    const request = { op: 'list', ...(owner === undefined ? {} : { owner }) };
    const patience = owner === undefined ? PATIENCE_MS : LOOK_MS;
    const answer = await askInTurn(directoryOf(places, outside), request, patience, null);
    if (answer === null) return null;
    const { pid, rules, owners, limits }: Record<string, unknown> = answer;
    if (!Number.isSafeInteger(pid) || !Array.isArray(rules) || !rules.every(isRule)) {
      throw garbage(JSON.stringify(answer));
    }
    try {
      const process = { pid: pid as number, startTime: processStartTime(pid as number) };
      // A forwarder of an earlier version sends neither `owners` nor `limits`.
      const known = Array.isArray(owners) ? owners.filter(isOwner) : [];
      return { process, rules, owners: known, limits: areLimits(limits) ? limits : null };
    } catch (error) {
      if (isGone(error)) return null;
      throw error;
    }
  };

function isOwner(one: unknown): one is ForwardOwner {
  if (typeof one !== 'object' || one === null) return false;
  const { owner, connections, flows, bound_to: bound } = one as Record<keyof ForwardOwner, unknown>;
  const counts = [connections, flows].every((count) => Number.isSafeInteger(count));
  return typeof owner === 'string' && counts && (bound === undefined || isBound(bound));
}

function areLimits(limits: unknown): limits is ForwarderLimits {
  if (typeof limits !== 'object' || limits === null) return false;
  const { connections, flows, flow_idle, half_closed } = limits as Record<keyof ForwarderLimits, unknown>;
  return [connections, flows, flow_idle, half_closed].every((limit) => Number.isSafeInteger(limit));
}

/** Checks only the fields that identify a rule, and its target. */
function isRule(rule: unknown): rule is ForwardRule {
  if (typeof rule !== 'object' || rule === null) return false;
  const { owner, protocol, host_ip, host_port, address } = rule as Record<keyof ForwardRule, unknown>;
  return typeof host_port === 'number' && [owner, protocol, host_ip, address].every((one) => typeof one === 'string');
}

const directoryOf = (places: ForwarderHome, outside: string | null) => join(places.directory, outsideKey(outside));

const carried = ({ protocol }: OwnedTarget): boolean => protocol !== 'sctp';

function refuseSctp(targets: readonly OwnedTarget[]): void {
  if (targets.every(carried)) return;
  throw new FaultError('BAD_REQUEST', 'a forwarder publishes tcp and udp ports, not sctp');
}

const keyOf = ({ owner, protocol, hostIp, hostPort }: OwnedTarget) => ({
  owner,
  protocol,
  host_ip: hostIp,
  host_port: hostPort,
});

/**
 * Sends the request in turn, until there is an answer: a forwarder without work may end at any moment. `begin` starts one if
 * none runs; without `begin`, the answer is null then. Repeating is safe, because every request gives the same result twice.
 */
async function askInTurn(directory: string, request: object, ms: number, begin: () => Child): Promise<Answer>;
async function askInTurn(directory: string, request: object, ms: number, begin: null): Promise<Answer | null>;
async function askInTurn(
  directory: string,
  request: object,
  ms: number,
  begin: (() => Child) | null,
): Promise<Answer | null> {
  const deadline = performance.now() + ms;
  return inTurn(directory, async () => {
    if (begin !== null) makeDirectory(directory);
    let started: Child | null = null;
    for (;;) {
      const left = Math.ceil(deadline - performance.now());
      if (left <= 0) throw failed(`the forwarder did not start to answer within ${ms} ms`);
      const answer = await ask(directory, request, left);
      if (typeof answer === 'object') return answer;
      if (answer === 'absent' && !isAlive(started)) {
        // A forwarder whose socket was removed would carry its ports for ever, because it can receive no request to stop.
        if (begin === null) return null;
        await endForwarders(directory);
        started = begin();
      }
      await sleep(PAUSE_MS);
    }
  });
}

function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unwritable(error);
  }
}

/** Starts with our rights, to make its socket in our directory, and then becomes that user (native/forwarder/rights.cc). */
function start({ executable, limits, scopes }: ForwarderPlaces, directory: string, outside: string | null): Child {
  requireFor('forwarder');
  const { uid, gid } = findUser('cleat-forwarder');
  const limited = Object.entries(limits ?? {}).flatMap(([name, value]) => ['--limit', `${name}=${value}`]);
  const process = spawn({
    file: executable,
    args: ['--socket', join(directory, SOCKET), '--idle', IDLE_S, '--user', `${uid}:${gid}`, ...limited],
    env: {},
    fds: [-1, -1, -1],
    ownSession: true,
    ...(outside === null ? {} : { netns: outside }),
  });
  scopes.own('forwarder', process);
  return process;
}

function expectDone(answer: Answer): void {
  if (!answer.ok) throw refused(answer.error);
}

function refused({ message, errno, syscall, owner, protocol, host_ip, host_port }: Refusal): FaultError {
  const container = owner === undefined ? undefined : containerIdOf(owner);
  if (errno === 'ESRCH' && host_port === undefined) {
    const whose = container === undefined ? 'a container' : `container ${container}`;
    return new FaultError('NO_SUCH_PROCESS', `what ${whose} ends with has ended`);
  }
  if (errno === undefined || host_port === undefined) return failed(`the forwarder refused: ${message}`);
  const port = portText(String(protocol), host_ip ?? '', host_port);
  if (errno === 'EADDRINUSE') {
    const who = container === undefined ? 'another process' : `container ${container}`;
    return new FaultError('PORT_TAKEN', `port ${port} is in use on the host by ${who}`, {
      errno,
      owner: container ?? who,
    });
  }
  if (syscall === 'bind' && isForRootAlone(errno)) return FaultError.of(privileged(port, host_port));
  return FaultError.of(
    whyDenied({
      code: 'KERNEL',
      message: `${syscall}: ${errno} (port ${port}: ${message})`,
      errno,
      ...(syscall === undefined ? {} : { syscall }),
      object: port,
    }),
  );
}

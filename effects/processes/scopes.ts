/**
 * Has systemd give helpers scopes of their own, so that they leave the cgroup of whoever asked for them: a session, a unit of an
 * engine, our own. What ends with that cgroup is not what containers use.
 *
 * Guarantees: a request returns at once, and fails nothing. A helper that has its scope is left as it is, so a request may be made any
 * number of times. What systemd refuses, or does not answer in time, is reported once, and asked again as long as the helper lives.
 * Without systemd nothing happens. A scope has the name of the process (pid and start time), and ends with it: none is left.
 * Limits: processes that a helper starts later are in its scope, those that somebody else has started for it are not.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Child } from '../../native/index.ts';
import { isInitialUserNamespace } from '../capabilities.ts';
import { hasGone, isAlive } from './process.ts';
import { startScope, type ScopeAnswer } from './systemd.ts';

export type ScopeKind = 'daemon' | 'namespace' | 'uplink' | 'forwarder' | 'dns' | 'wireguard';

const WHAT: Readonly<Record<ScopeKind, string>> = {
  daemon: 'daemon',
  namespace: 'process that keeps the namespaces of networks',
  uplink: 'program that leads out of a namespace',
  forwarder: 'forwarder of published ports',
  dns: 'DNS server of networks',
  wireguard: 'tunnel of overlay networks',
};

/** systemd takes 5 ms. */
const PATIENCE_MS = 3000;
const AGAIN_MS = 30_000;

/** Returns where the service manager listens that we belong to: root's, or the user's own. */
export function managerSocket(environment = process.env): string | null {
  if (isInitialUserNamespace()) return '/run/systemd/private';
  const { XDG_RUNTIME_DIR: runtime = '' } = environment;
  return runtime.startsWith('/') ? join(runtime, 'systemd/private') : null;
}

interface Wanted {
  kind: ScopeKind;
  process: Child;
}

export class Scopes {
  readonly #manager: string | null;
  readonly #failed: (what: string, error: unknown) => void;
  readonly #wanted = new Map<string, Wanted>();
  #asking: Promise<void> | null = null;
  #again: NodeJS.Timeout | undefined;
  #trouble: string | null = null;

  /** `manager`: its socket, if there may be one. */
  constructor(manager: string | null, failed: (what: string, error: unknown) => void) {
    this.#manager = manager;
    this.#failed = failed;
  }

  /** Says why a helper has no scope. */
  get trouble(): string | null {
    return this.#trouble;
  }

  /** Requests a scope for a process. A keeper has started its program by now, which comes with it. */
  own(kind: ScopeKind, process: Child | null): void {
    if (process === null || this.#manager === null) return;
    this.#wanted.set(`cleat-${kind}-${process.pid}-${process.startTime}.scope`, { kind, process });
    this.#ask(this.#manager);
  }

  /** Resolves when everything that was requested has been asked for. */
  async settled(): Promise<void> {
    while (this.#asking !== null) await this.#asking;
  }

  close(): void {
    clearTimeout(this.#again);
    this.#wanted.clear();
  }

  #ask(manager: string): void {
    clearTimeout(this.#again);
    this.#asking ??= this.#askForAll(manager);
  }

  /** One after the other, in the order of the requests. What is requested meanwhile has its turn too. */
  async #askForAll(manager: string): Promise<void> {
    let trouble: string | null = null;
    for (const [name, wanted] of this.#wanted) {
      const answer = await scopeFor(manager, name, wanted).catch(cannotLook);
      if (answer.outcome === 'absent') this.#wanted.clear();
      else if (answer.outcome === 'done') this.#wanted.delete(name);
      else trouble = answer.outcome === 'exists' ? `another scope has the name ${name}` : answer.why;
      if (answer.outcome === 'silent') break; // nor would the others have an answer
    }
    if (trouble !== null && trouble !== this.#trouble) this.#failed('scopes of helpers', new Error(trouble));
    this.#trouble = trouble;
    this.#asking = null; // here, so that no request comes between the end and this
    if (this.#wanted.size > 0) this.#again = setTimeout(() => this.#ask(manager), AGAIN_MS).unref();
  }
}

async function scopeFor(manager: string, name: string, { kind, process }: Wanted): Promise<ScopeAnswer> {
  const outside = () => outsideOf(name, process, kind === 'uplink');
  const pids = outside();
  if (pids.length === 0) return { outcome: 'done' };
  const description = `cleat: ${WHAT[kind]}`;
  const answer = await startScope({ socket: manager, name, description, pids, ms: PATIENCE_MS });
  // It may have ended meanwhile, or have the scope from an earlier request.
  return answer.outcome === 'done' || outside().length > 0 ? answer : { outcome: 'done' };
}

const cannotLook = (error: unknown): ScopeAnswer => ({ outcome: 'refused', why: String(error) });

/** Returns the pids of a process, and of those that it has started if asked for, that are not in the scope; none if it has ended. */
function outsideOf(name: string, process: Child, children: boolean): number[] {
  if (!isAlive(process)) return [];
  const isOutside = (pid: number) => !cgroupsOf(pid).some((path) => path.endsWith(`/${name}`));
  return (children ? withChildren(process.pid) : [process.pid]).filter(isOutside);
}

/** Returns the paths in every hierarchy; none if the process is gone (cgroups(7)). */
function cgroupsOf(pid: number | 'self'): string[] {
  const lines = textOf(`/proc/${pid}/cgroup`).split('\n');
  return lines.map((line) => line.split(':').slice(2).join(':'));
}

const withChildren = (pid: number): number[] => [
  pid,
  ...textOf(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number).flatMap(withChildren),
];

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (hasGone(error)) return '';
    throw error;
  }
}

/**
 * Returns true if we are a user's daemon outside of what the user's manager rules, in a session for example. It may not take processes
 * of other users out of there, as our programs are: so we leave it ourselves, before we start any (docs/decisions/0063).
 */
export const isInSession = (): boolean =>
  !isInitialUserNamespace() && !cgroupsOf('self').some((path) => /\/user@\d+\.service(\/|$)/.test(path));

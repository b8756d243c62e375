/**
 * Agents (agent.ts) in namespaces that exist already: in a container's, or in one that a test has named with `ip
 * netns`.
 *
 * Guarantees: an agent ends when it is stopped, and at the latest with the test.
 * Limits: an agent keeps its namespace alive: stop it before the teardown of the container.
 */
import { execFileSync, fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Agent } from './agent.ts';

const PROGRAM = new URL(import.meta.url.endsWith('.ts') ? './agent.ts' : './agent.js', import.meta.url);

/** An agent in the namespace at `path`, or in the test's own. */
export async function agentIn(path: string | null): Promise<Agent> {
  const enter = path === null ? {} : { execPath: 'nsenter', execArgv: [`--net=${path}`, '--', process.execPath] };
  const child = fork(PROGRAM, ['agent'], enter);
  await once(child, 'message');
  return new Agent(child, path === null);
}

/** Runs `work` with an agent in each of these namespaces; the agents have ended when it resolves. */
export async function withAgents<T>(
  paths: readonly (string | null)[],
  work: (...agents: Agent[]) => Promise<T>,
): Promise<T> {
  const agents = await Promise.all(paths.map(agentIn));
  try {
    return await work(...agents);
  } finally {
    for (const agent of agents) agent.stop();
    await Promise.all(agents.map(({ pid }) => ended(pid)));
  }
}

/** Resolves when there is no such process any more, not even a zombie. */
export async function ended(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const sleepers: ChildProcess[] = [];

/** Ends agents that a failed test left behind: they would keep the test file from ending. */
export function endSleepers(): void {
  for (const child of sleepers) child.kill('SIGKILL');
}

/** A process with a network namespace of its own that does nothing; another user's, when one is given. */
export async function sleeper(uid = 0): Promise<ChildProcess> {
  const user = uid === 0 ? [] : ['setpriv', `--reuid=${uid}`, '--clear-groups'];
  const child = spawn('unshare', ['--net', ...user, 'sh', '-c', 'echo ready; exec sleep 1000'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await once(child.stdout, 'data');
  sleepers.push(child);
  return child;
}

/** A named network namespace under /run/netns, with its loopback up; returns its path. */
export function addNetns(name: string): string {
  execFileSync('ip', ['netns', 'add', name]);
  execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  return `/run/netns/${name}`;
}

export function removeNetns(name: string): void {
  execFileSync('ip', ['netns', 'del', name]);
}

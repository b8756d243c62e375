/**
 * `cleat stop` and `cleat wait`: the end of a container, brought about or awaited.
 *
 * Guarantees: `stop` signals the process that the container is bound to at that moment, and sends SIGKILL only if the same container
 * is still bound to it when the time is over. The daemon tears the container down because its process has ended.
 * Limits: of `cleat run` without -d it is the command's own process, which passes SIGTERM on to CMD, and cannot pass on SIGKILL.
 */
import { CleatError } from '../../client/error.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Client } from '../client.ts';
import { Failure } from '../failure.ts';

/** A longer wait is several requests: the daemon has a limit of its own for one. */
const ROUND_MS = 60_000;

export async function stop(
  client: Client,
  text: string,
  { seconds, ignore }: { seconds: number; ignore: boolean },
): Promise<{ id: string; state: 'gone' }> {
  let container: ContainerView;
  try {
    container = await client.container(text);
  } catch (error) {
    if (ignore && codeOf(error) === 'NO_SUCH_CONTAINER') return { id: text, state: 'gone' };
    throw error;
  }
  const { id, bound_to: pid } = container;
  const gone = { id, state: 'gone' as const };
  signal(container, 'SIGTERM');
  const limit = performance.now() + seconds * 1000;
  for (;;) {
    const left = Math.max(0, Math.ceil(limit - performance.now()));
    if (await isGone(client, id, Math.min(left, ROUND_MS))) return gone;
    const now = await sameAs(client, container);
    if (now === null) return gone;
    if (performance.now() < limit) continue;
    if (now.bound_to === pid) signal(now, 'SIGKILL');
    await client.gone(id);
    return gone;
  }
}

/** Returns the container as it is now; null if it is gone, whoever has its id since. */
async function sameAs(client: Client, { id, generation }: ContainerView): Promise<ContainerView | null> {
  try {
    const now = await client.container(id);
    return now.generation === generation ? now : null;
  } catch (error) {
    if (codeOf(error) === 'NO_SUCH_CONTAINER') return null;
    throw error;
  }
}

function signal({ id, bound_to: pid }: ContainerView, name: NodeJS.Signals): void {
  if (pid === null) {
    const hint = `\`cleat teardown ${id}\` takes its network away.`;
    throw new Failure({ code: 'NOT_BOUND', message: `container ${id} is bound to no process`, hint });
  }
  try {
    process.kill(pid, name);
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    if (code === 'ESRCH') return; // it has ended: the daemon is about to notice
    throw new Failure({ code: 'NOT_ALLOWED', message: `cannot end process ${pid} of ${id}: ${message}`, errno: code });
  }
}

async function isGone(client: Client, id: string, ms: number): Promise<boolean> {
  try {
    await client.call('GET /v1/containers/{id}', { id, wait: 'gone', timeout: ms });
    return true;
  } catch (error) {
    if (codeOf(error) === 'WAIT_TIMEOUT') return false;
    throw error;
  }
}

/** Resolves when the container is in this state, or gone. Rejects if it will not get there, or does not exist. */
export async function waitFor(client: Client, text: string, state: string): Promise<{ id: string }> {
  const container = await client.container(text);
  const { id } = container;
  for (;;) {
    try {
      return await client.call('GET /v1/containers/{id}', { id, wait: state, timeout: ROUND_MS });
    } catch (error) {
      if (codeOf(error) !== 'WAIT_TIMEOUT') throw error;
    }
    if ((await sameAs(client, container)) === null) return { id };
  }
}

const codeOf = (error: unknown): string => (error instanceof CleatError ? error.code : '');

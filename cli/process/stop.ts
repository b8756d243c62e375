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

/** The daemon's own limit is above it. */
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
  const { id, generation } = container;
  const gone = { id, state: 'gone' as const };
  signal(container, 'SIGTERM');
  if (await isGone(client, id, seconds * 1000)) return gone;
  try {
    const now = await client.container(id);
    if (now.generation === generation && now.bound_to === container.bound_to) signal(now, 'SIGKILL');
  } catch (error) {
    if (codeOf(error) === 'NO_SUCH_CONTAINER') return gone;
    throw error;
  }
  await client.gone(id);
  return gone;
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
  const { id } = await client.container(text);
  for (;;) {
    try {
      return await client.call('GET /v1/containers/{id}', { id, wait: state, timeout: ROUND_MS });
    } catch (error) {
      if (codeOf(error) !== 'WAIT_TIMEOUT') throw error;
    }
  }
}

const codeOf = (error: unknown): string => (error instanceof CleatError ? error.code : '');

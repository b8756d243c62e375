/**
 * Tells of operations on definitions of networks as of those on containers: requested, then done or failed.
 */
import { toFault } from '../../effects/effect.ts';
import type { Notification } from '../../state/answers/notification.ts';

/** Does an operation, and announces that it is requested, and how it ends. */
export async function told<T>(
  announce: (notification: Notification) => void,
  event: 'network.create' | 'network.update' | 'network.remove',
  network: string,
  work: () => T | Promise<T>,
): Promise<T> {
  const about = () => ({ t: Date.now(), id: null, event, network });
  announce({ type: 'requested', ...about() });
  try {
    const result = await work();
    announce({ type: 'done', ...about() });
    return result;
  } catch (error) {
    announce({ type: 'failed', ...about(), fault: toFault(error, event) });
    throw error;
  }
}

/** Returns what an operation is on: a container, by its id, which has no space, or the definition of a network. */
export const subjectOf = ({ id, network }: { id: string | null; network: string | null }): string =>
  id ?? `network ${network}`;

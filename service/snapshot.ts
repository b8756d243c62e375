/**
 * A container's state as the service handles it, and its name.
 *
 * Guarantees: a name is the path of states joined by dots, "configuring.attaching.attachment"; it says all there is,
 * because no machine here has parallel states.
 * Limits: types and one word; how it is shown is view.ts.
 */
import type { ActorRefFrom, SnapshotFrom } from 'xstate';
import type { containerMachine } from '../machines/container.ts';

export type ContainerActor = ActorRefFrom<typeof containerMachine>;
export type ContainerSnapshot = SnapshotFrom<typeof containerMachine>;

export function stateName(snapshot: { value: unknown }): string {
  const parts: string[] = [];
  let value = snapshot.value;
  while (typeof value === 'object' && value !== null) {
    const [key, inner] = Object.entries(value)[0] ?? ['', ''];
    parts.push(key);
    value = inner;
  }
  return [...parts, String(value)].join('.');
}

/**
 * What the daemon sends to the page, by the names that the page has for it.
 *
 * Guarantees: types alone; the shapes are the schemas of state/.
 */
import type { InspectorMessage } from '../../../state/answers/inspector.ts';
import type { JournalLine } from '../../../state/answers/container/history.ts';

export type { ContainerView } from '../../../state/answers/container/container.ts';
export type { KernelObject } from '../../../state/answers/container/history.ts';
export type { EffectEnd, Hello, MachineSnapshot, Passage, SharedView } from '../../../state/answers/inspector.ts';
export type { Notification } from '../../../state/answers/notification.ts';
export type { Fault } from '../../../state/faults.ts';
export type { NetworkDefinition } from '../../../state/network.ts';

/** A line of a container's journal. */
export type Line = JournalLine;
/** A message of the stream. */
export type Message = InspectorMessage;

/**
 * Names what the daemon sends to the page.
 *
 * Guarantees: types alone; the shapes are the schemas of state/.
 */
export type { ContainerView } from '../../../state/answers/container/container.ts';
export type { JournalLine as Line, KernelObject } from '../../../state/answers/container/history.ts';
export type {
  Hello,
  InspectorMessage as Message,
  MachineSnapshot,
  SharedView,
} from '../../../state/answers/inspector.ts';
export type { Notification } from '../../../state/answers/notification.ts';
export type { Fault } from '../../../state/faults.ts';
export type { NetworkDefinition } from '../../../state/network.ts';

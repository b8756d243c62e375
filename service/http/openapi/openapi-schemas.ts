/**
 * The schemas that the description of the API consists of (openapi.ts), by name.
 *
 * Limits: schemas of answers check nothing at run time and are many, so the daemon loads this when it is asked for the description.
 */
import { z } from 'zod';
import { AuditReport, RepairReport } from '../../../state/answers/audit.ts';
import { CniError, CniResult } from '../../../state/answers/cni.ts';
import { ContainerView, Gone } from '../../../state/answers/container/container.ts';
import { DoctorReport } from '../../../state/answers/doctor.ts';
import { ErrorAnswer } from '../../../state/answers/error.ts';
import { EventAnswer, EventLine, PlanLine } from '../../../state/answers/event.ts';
import { ExportLine, JournalEntry } from '../../../state/answers/container/history.ts';
import { InspectorMessage, MachineSnapshot, StatelyMessage } from '../../../state/answers/inspector.ts';
import { Inspection } from '../../../state/answers/container/inspection.ts';
import { NetavarkAnswer, NetavarkNetwork } from '../../../state/answers/netavark.ts';
import { NetworkAnswer } from '../../../state/answers/network.ts';
import { Notification } from '../../../state/answers/notification.ts';
import { OverlayView } from '../../../state/answers/overlay.ts';
import { Plan } from '../../../state/answers/container/plan.ts';
import { ContainerStats } from '../../../state/answers/container/stats.ts';
import { Version } from '../../../state/answers/version.ts';
import { Why } from '../../../state/answers/container/why.ts';
import { LifecycleEvent } from '../../../state/event.ts';
import { Fault } from '../../../state/faults.ts';
import { NetavarkCreate, NetavarkSetup, NetavarkTeardown, NetavarkUpdate } from '../../../state/fronts/netavark.ts';
import { CniRequest } from '../../../state/fronts/cni.ts';
import { NetworkDefinition, NetworkRequest, NetworkUpdate } from '../../../state/network.ts';

export const schemas = {
  AuditReport,
  CniError,
  CniRequest,
  CniResult,
  ContainerStats,
  ContainerView,
  DoctorReport,
  ErrorAnswer,
  EventAnswer,
  EventLine,
  ExportLine,
  Fault,
  Gone,
  Inspection,
  InspectorMessage,
  JournalEntry,
  LifecycleEvent,
  MachineSnapshot,
  NetavarkAnswer,
  NetavarkCreate,
  NetavarkNetwork,
  NetavarkSetup,
  NetavarkTeardown,
  NetavarkUpdate,
  NetworkAnswer,
  NetworkDefinition,
  NetworkRequest,
  NetworkUpdate,
  Notification,
  OverlayView,
  Plan,
  PlanLine,
  RepairReport,
  StatelyMessage,
  Version,
  Why,
};

const pointer = (name: string) => `#/components/schemas/${name}`;

/** Each schema by its name; where one holds another of them, it refers to it. */
export function components(): Record<string, object> {
  const named = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(schemas)) named.add(schema, { id });
  // As they come over the socket: what a schema turns an address into is of no concern.
  const { schemas: described } = z.toJSONSchema(named, { io: 'input', target: 'draft-2020-12', uri: pointer });
  return Object.fromEntries(Object.entries(described).map(([name, { $id: _uri, ...schema }]) => [name, schema]));
}

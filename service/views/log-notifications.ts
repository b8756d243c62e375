/**
 * Writes notifications about containers and networks as lines of the log.
 *
 * Guarantees: one line per notification, with fields to filter by: `event`, `container`, `network`, `ms` (from the request to its
 * end), `code` of a fault. States that a container passes are in the journal and not in the log. The exception is
 * `degraded`.
 */
import type { Drift } from '../../state/container.ts';
import type { Containers } from '../containers/containers.ts';
import { subjectOf } from '../notifications/operations.ts';
import type { Check } from '../../state/answers/doctor.ts';
import type { Log } from '../report/log.ts';

/** Operations that no client requested. Other notifications cover their subject. */
const OURS = new Set(['drifted', 'lost', 'adjust', 'yield']);

export function logNotifications(containers: Pick<Containers, 'bus' | 'get'>, log: Log): void {
  /** The time when the operation under way was requested, by what it is on. A container has at most one. */
  const began = new Map<string, number>();
  const ends = (on: string, t: number): { ms?: number } => {
    const since = began.get(on);
    began.delete(on);
    return since === undefined ? {} : { ms: t - since };
  };
  containers.bus.on('notification', (notification) => {
    const { type, id: container } = notification;
    switch (type) {
      case 'requested': {
        const { event, network, t } = notification;
        began.set(subjectOf(notification), t);
        log.debug({ event, container, network }, `${event} of ${subjectOf(notification)} requested`);
        break;
      }
      case 'done': {
        const { event, network, t } = notification;
        const level = OURS.has(event) ? 'debug' : 'info';
        const on = subjectOf(notification);
        log[level]({ event, container, network, ...ends(on, t) }, `${event} of ${on} done`);
        break;
      }
      case 'failed': {
        const { event, network, t, fault } = notification;
        const on = subjectOf(notification);
        // The operation that overtook this one goes on.
        const overtaken = fault.code === 'SUPERSEDED';
        const time = overtaken ? {} : ends(on, t);
        const fields = { event, container, network, ...time, code: fault.code, fault };
        if (overtaken) log.info(fields, fault.message);
        else log.error(fields, `${event} of ${on} failed: ${fault.message}`);
        break;
      }
      case 'state': {
        if (notification.to !== 'degraded') break;
        // The machine is in the middle of a step.
        queueMicrotask(() => {
          const fault = containers.get(notification.id)?.context.lastFault ?? null;
          log.warn(
            { event: 'degraded', container, ...(fault === null ? {} : { code: fault.code, fault }) },
            `${container} is degraded${fault === null ? '' : `: ${fault.message}`}`,
          );
        });
        break;
      }
      case 'drift': {
        const { network, drift, action, by } = notification;
        const what = `changed${by === null ? '' : ` by ${by}`}, and is ${action === 'repair' ? 'put back' : 'left so'}`;
        log.warn({ event: 'drift', container, network, drift, action, by }, `${namesOf(drift)} was ${what}`);
        break;
      }
      case 'repaired': {
        const { network, drift } = notification;
        log.warn({ event: 'repaired', container, network, drift }, `${namesOf(drift)} put back`);
        break;
      }
      case 'limited': {
        const { type: event, t: _time, id: _container, ...fields } = notification;
        log.warn({ event, container, ...fields }, `too many ${fields.what}: what is above the limit was forgotten`);
        break;
      }
      case 'machine': {
        const { machine, network, from, to, outside, fault } = notification;
        const fields = { event: 'machine', container, network, machine, from, to, outside };
        const line = `${machine} ${network ?? container ?? ''}`.trim();
        if (fault === null) log.debug(fields, `${line} is ${to}`);
        else log.warn({ ...fields, code: fault.code, fault }, `${line} is ${to}: ${fault.message}`);
        break;
      }
      case 'forwarder': {
        const { action, pid, outside } = notification;
        log.debug(
          { event: 'forwarder', action, forwarder: pid, outside },
          `the forwarder ${pid} ${action === 'ended' ? 'has ended' : 'runs'}`,
        );
        break;
      }
      case 'daemon': // main.ts and start/serve.ts write the beginning and the end of the log
      case 'missed': // for one reader of events
    }
  });
}

const namesOf = (drift: readonly Drift[]): string => drift.map(({ kind, object }) => `${kind} ${object}`).join(', ');

/** Logs what this machine lacks, when the daemon starts. `doctor` reports the same at any time. */
export function logChecks(checks: readonly Check[], log: Log): void {
  for (const { name, ok, severity, text, hint } of checks) {
    if (ok || severity === 'note') continue;
    const line = `${text}${hint === undefined ? '' : ` (${hint})`}`;
    if (severity === 'error') log.error({ event: 'check', check: name }, line);
    else log.warn({ event: 'check', check: name }, line);
  }
}

/**
 * What happens to containers and networks, as lines of the log.
 *
 * Guarantees: one line a notification, with fields to filter by: `event`, `container`, `network`, `ms` (from the request to its
 * end), `code` of a fault. States that are passed on the way are in the journal, and not here as well; that a container is
 * degraded is.
 */
import type { Drift } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import type { Containers } from './containers.ts';
import type { Check } from './doctor.ts';
import type { Log } from './log.ts';

/** Operations that nobody asked for: what they are about is said otherwise. */
const OURS = new Set(['drifted', 'lost', 'retry', 'adjust', 'yield']);

export function logNotifications(containers: Pick<Containers, 'bus' | 'get'>, log: Log): void {
  /** When what is under way was asked for: one operation a container. */
  const began = new Map<string, number>();
  const ends = (id: string, t: number): { ms?: number } => {
    const since = began.get(id);
    began.delete(id);
    return since === undefined ? {} : { ms: t - since };
  };
  containers.bus.on('notification', (notification) => {
    const { type, id: container } = notification;
    switch (type) {
      case 'requested': {
        const { event, network } = notification;
        began.set(notification.id, notification.t);
        log.debug({ event, container, network }, `${event} of ${container} requested`);
        break;
      }
      case 'done': {
        const { event, network, t } = notification;
        const level = OURS.has(event) ? 'debug' : 'info';
        log[level]({ event, container, network, ...ends(notification.id, t) }, `${event} of ${container} done`);
        break;
      }
      case 'failed': {
        const { event, network, t, fault } = notification;
        // The operation that overtook it goes on.
        const overtaken = fault.code === 'SUPERSEDED';
        const time = overtaken ? {} : ends(notification.id, t);
        const fields = { event, container, network, ...time, code: fault.code, fault };
        if (overtaken) log.info(fields, fault.message);
        else log.error(fields, `${event} of ${container} failed: ${fault.message}`);
        break;
      }
      case 'state': {
        if (notification.to !== 'degraded') break;
        // The machine is in the middle of its step.
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
      }
    }
  });
}

const namesOf = (drift: readonly Drift[]): string => drift.map(({ kind, object }) => `${kind} ${object}`).join(', ');

/** A change of a network's definition, for which there is no notification: logged when it has ended. */
export async function logged<T>(log: Log, event: string, network: string, work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const fields = () => ({ event, network, ms: Math.round(performance.now() - began) });
  try {
    const result = await work();
    log.info(fields(), `${event} of network ${network} done`);
    return result;
  } catch (error) {
    const { code, message } = (error as { fault?: Fault }).fault ?? { code: 'INTERNAL', message: String(error) };
    log.error({ ...fields(), code }, `${event} of network ${network} failed: ${message}`);
    throw error;
  }
}

/** What this machine lacks, when the daemon starts; `doctor` says the same at any time. */
export function logChecks(checks: readonly Check[], log: Log): void {
  for (const { name, ok, severity, text, hint } of checks) {
    if (ok || severity === 'note') continue;
    const line = `${text}${hint === undefined ? '' : ` (${hint})`}`;
    if (severity === 'error') log.error({ event: 'check', check: name }, line);
    else log.warn({ event: 'check', check: name }, line);
  }
}

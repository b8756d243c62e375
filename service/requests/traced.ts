/**
 * Runs requests that change something as traces, if the daemon traces (service/traces/).
 *
 * Guarantees: the caller's span is that of the event itself (`traceparent` and `tracestate` of a line in a stream) or else that of
 * the request's headers; never one of each. Without traces the work is called and nothing else is done.
 * Limits: a request that is refused before it is understood and allowed has no span.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { LifecycleEvent } from '../../state/event.ts';
import type { Containers } from '../containers/containers.ts';
import type { Traces } from '../traces/traces.ts';

/** Runs the request for an event on a container. */
export function tracedEvent<T>(
  traces: Traces | null,
  event: LifecycleEvent,
  { headers, containers }: { headers: IncomingHttpHeaders; containers: Pick<Containers, 'idOf'> },
  work: () => Promise<T>,
): Promise<T> {
  if (traces === null) return work();
  const container = containers.idOf(event.id);
  const network = 'network' in event ? { 'cleat.network': event.network } : {};
  const { traceparent, tracestate } = event;
  const caller = traceparent === undefined ? headers : { traceparent, tracestate };
  return traces.request({ container, event: event.type }, { 'container.id': container, ...network }, caller, work);
}

/** Runs any other request. `name` says what is requested (`network.update`), `network` which one it is about; null for none. */
export function traced<T>(
  traces: Traces | null,
  name: string,
  { headers, network }: { headers: IncomingHttpHeaders; network: string | null },
  work: () => Promise<T>,
): Promise<T> {
  if (traces === null) return work();
  return traces.request(name, network === null ? {} : { 'cleat.network': network }, headers, work);
}

/**
 * Does what clients ask for, on whichever socket: each request is authorised as its peer's, and traced.
 *
 * Guarantees: the object that is authorised is the object that is executed.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { NetworkAnswer } from '../../state/answers/network.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import type { NetworkRequest } from '../../state/network.ts';
import type { AppliedPlan } from '../containers/admission.ts';
import type { Containers } from '../containers/containers.ts';
import type { Networks } from '../networks/networks.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import type { Traces } from '../traces/traces.ts';
import { authorise, authoriseNetwork, isTrusted, type Peer } from './authorise.ts';
import { traced, tracedEvent } from './traced.ts';

/** Says how something is asked for: by whom, whether the answer waits for its end, and the headers, which may name the caller's span. */
export interface Call {
  peer: Peer;
  wait: boolean;
  headers: IncomingHttpHeaders;
}

export interface RequestsParts {
  containers: Pick<Containers, 'dispatch' | 'idOf'>;
  networks: Pick<Networks, 'create' | 'remove' | 'ensureDefault' | 'defaultFault'>;
  /** Null if the daemon does not trace. */
  traces: Traces | null;
}

export class Requests {
  readonly #parts: RequestsParts;

  constructor(parts: RequestsParts) {
    this.#parts = parts;
  }

  /** Sends an event to its container, and resolves with that when it is at rest. `applied`: the plan that it carries out. */
  send(
    event: LifecycleEvent,
    { peer, wait, headers }: Call,
    applied: AppliedPlan | null = null,
  ): Promise<ContainerSnapshot> {
    const { containers, networks, traces } = this.#parts;
    authorise(peer, event);
    return tracedEvent(traces, event, { headers, containers }, async () => {
      // The default network could not be made when the daemon started. It may be possible now.
      const needs = event.type === 'create' || event.type === 'connect';
      if (needs && networks.defaultFault !== null) await networks.ensureDefault();
      return containers.dispatch(event, wait, isTrusted(peer) ? null : peer.uid, applied);
    });
  }

  async createNetwork(asked: NetworkRequest, { peer, headers }: Omit<Call, 'wait'>): Promise<NetworkAnswer> {
    const { networks, traces } = this.#parts;
    authoriseNetwork(peer, asked);
    return traced(traces, 'network.create', { headers, network: asked.name }, () => networks.create(asked));
  }

  removeNetwork(network: string, { headers }: Pick<Call, 'headers'>): Promise<void> {
    const { networks, traces } = this.#parts;
    return traced(traces, 'network.remove', { headers, network }, () => networks.remove(network));
  }
}

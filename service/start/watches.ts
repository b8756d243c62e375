/**
 * The end of the second step: builds what watches the kernel, our processes, and the files of others while the daemon runs.
 *
 * Guarantees: the watches begin in an order in which none takes the work of another for drift, and close before the API
 * does.
 * Limits: the code that closes the API closes `neighbours` after it, which releases the links that it holds.
 */
import type {
  DriftNotification,
  ForwarderNotification,
  LimitedNotification,
  RepairedNotification,
} from '../../state/answers/notification.ts';
import { stateName } from '../../plan/states.ts';
import { DriftWatch } from '../drift/drift.ts';
import { WayOutWatch } from '../networks/way-out-watch.ts';
import { ConntrackWatch } from '../watch/conntrack-watch.ts';
import { FirewalldWatch } from '../watch/firewalld-watch.ts';
import { ForwarderWatch } from '../watch/forwarder-watch.ts';
import { HelperWatch } from '../watch/helper-watch.ts';
import { NeighbourWatch } from '../watch/neighbour-watch.ts';
import { ReplyWatch } from '../watch/reply-watch.ts';
import { RootlessWatch } from '../watch/rootless-watch.ts';
import { UplinkWatch } from '../watch/uplink-watch.ts';
import type { Machines } from './machines.ts';
import type { OpenState } from './open-state.ts';

/** The journal, which is bounded, names this many objects of a drift: a flushed table may be thousands of ports of a container. */
const TOLD = 16;

export type Watches = ReturnType<typeof makeWatches>;

export function makeWatches(
  { options, kernel, journal, failed }: OpenState,
  { shared, containers, outsides, places }: Machines,
) {
  const { drift: policies, limits, runDir } = options;
  const announce = (
    notification: DriftNotification | ForwarderNotification | RepairedNotification | LimitedNotification,
  ) => {
    const { t, type: event, id } = notification;
    const snapshot = id === null ? undefined : containers.get(id);
    if (id !== null && snapshot !== undefined) {
      const state = stateName(snapshot);
      const drift = 'drift' in notification ? { drift: notification.drift.slice(0, TOLD) } : {};
      const by = 'by' in notification && notification.by !== null ? { by: notification.by } : {};
      journal.append(id, {
        kind: 'note',
        t,
        machine: 'container',
        event,
        from: state,
        to: state,
        ms: 0,
        ...drift,
        ...by,
      });
    }
    containers.bus.emit('notification', notification);
  };
  const watch = new DriftWatch({ kernel, containers, shared, policies, announce, failed });
  shared.watchedBy(watch);
  const uplinks = new UplinkWatch({ containers, policies, announce, failed, home: places.uplinks, kernel });
  const forwarders = new ForwarderWatch({ containers, policies, announce, failed, places: places.forwarder });
  const wayOut = new RootlessWatch({ kernel, shared, directory: places.rootless, failed });
  const helpers = new HelperWatch({ runDir, kernel, shared, forwarders, uplinks, failed });
  const firewalld = new FirewalldWatch({ kernel, shared, failed });
  const waysOut = new WayOutWatch({ kernel, shared, failed });
  const replies = new ReplyWatch({ kernel, shared, failed });
  const owners = { kernel, containers, shared, announce, failed };
  const connections = new ConntrackWatch({ ...owners, limit: limits['tracked-per-container'] });
  const neighbours = new NeighbourWatch({ ...owners, limit: limits['neighbours-per-container'] });
  return {
    watch,
    uplinks,
    waysOut,
    neighbours,
    start: async (): Promise<void> => {
      // Before the watch on drift, which would otherwise take the difference for a change.
      await replies.look();
      watch.start().catch((error: unknown) => failed('watch on drift', error));
      uplinks.start();
      wayOut.start();
      forwarders.start();
      helpers.start();
      outsides.start();
      connections.start();
      neighbours.start();
      waysOut.start();
      replies.start();
      firewalld.start();
    },
    close: (): void => {
      watch.close();
      helpers.close();
      outsides.close();
      uplinks.close();
      wayOut.close();
      forwarders.close();
      connections.close();
      waysOut.close();
      replies.close();
      firewalld.close();
    },
  };
}

/**
 * The life of a container behind slirp4netns, whose ports the forwarder or slirp4netns itself carries, for fault tests;
 * and its moments at which something happens to the processes.
 *
 * Guarantees: if the forwarder must not start with the first port, another container keeps one there (`withMate`): its
 * ports are restored after each run, too.
 */
import { on, port } from './daemon.ts';
import type { FaultLife } from './fault-life.ts';
import { event, type Step } from './fault-test.ts';
import type { Strike } from './faults.ts';

const id = 'life';

const behind = (...options: string[]): Step[] => [
  event({
    type: 'create',
    id,
    uplink: { program: 'slirp4netns', options },
    port_mappings: [port(8081, 80), port(8082, 53, { protocol: 'udp' })],
  }),
  event({ type: 'configure', id }),
  event({ type: 'publish', id, port_mappings: [port(8083, 83)] }),
  event({ type: 'reload', id }),
  event({ type: 'unpublish', id, port_mappings: [port(8083, 83)] }, 'NOT_PUBLISHED'),
  event({ type: 'teardown', id }, 'NO_SUCH_CONTAINER'),
];
export const UPLINK_LIVES = { forwarder: behind(), slirp4netns: behind('port_handler=slirp4netns') };

export async function withMate(life: FaultLife): Promise<void> {
  await life.start();
  const port_mappings = [port(9091, 91)];
  await life.daemon.up('mate', { networks: on('front'), port_handler: 'forwarder', port_mappings });
  life.again();
}

/** Moments with something to remove: before a process is started, found or updated, or a file is written. */
const MOMENTS = ['helper', 'store'] as const;
export const during = (how: Pick<Strike, 'meanwhile' | 'mend'>): Strike[] =>
  MOMENTS.map((kind) => ({ kind, action: 'hold', ...how }));

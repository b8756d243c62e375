/**
 * The life of a container behind slirp4netns, whose ports the forwarder carries or slirp4netns itself, for fault tests.
 */
import { port } from './daemon.ts';
import { event, type Step } from './fault-test.ts';

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

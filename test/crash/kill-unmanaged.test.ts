// proving only: 3600
/**
 * kill -9 at every failpoint (../harness/crash.ts): a network on a bridge that the host has made, and one of ours.
 */
import { execFileSync } from 'node:child_process';
import { surviveKills } from '../harness/crash.ts';
import { on } from '../harness/daemon.ts';
import type { Scenario } from '../harness/life.ts';
import { calm } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

/** Never touched: at the end the rest of the host is compared byte for byte with this. */
execFileSync('ip', ['-batch', '-'], {
  input: `link add br0 type bridge
    link add uplink address fc:34:97:00:00:05 master br0 type ifb
    link set uplink up
    link set br0 up
    addr add 192.0.2.5/24 dev br0
    addr add fd00:2::5/64 dev br0 nodad\n`,
});
await calm();

const scenario: Scenario = {
  networks: [
    { name: 'front', ipv6_enabled: true },
    {
      name: 'lan',
      network_interface: 'br0',
      options: { mode: 'unmanaged' },
      subnets: [
        { subnet: '192.0.2.0/24', gateway: '192.0.2.1', lease_range: { start_ip: '192.0.2.20' } },
        { subnet: 'fd00:2::/64', gateway: 'fd00:2::1', lease_range: { start_ip: 'fd00:2::20' } },
      ],
    },
  ],
  witness: true,
  steps: [
    { type: 'create', id: 'life', networks: on('lan') },
    { type: 'configure', id: 'life' },
    { type: 'connect', id: 'life', network: 'front' },
    { type: 'reload', id: 'life', full: true },
    {
      type: 'update',
      network: 'lan',
      change: { options: { metric: '50' }, subnets: [{ subnet: '192.0.2.0/24', gateway: '192.0.2.254' }] },
    },
    { type: 'disconnect', id: 'life', network: 'lan' },
    { type: 'teardown', id: 'life' },
  ],
};

surviveKills('a network on a bridge that the host has made', scenario);

// slow: 30 s, each kill plays the scenario from the beginning
// proving only: 3600
/**
 * kill -9 at every failpoint (../harness/crash.ts): a network on a parent, one without addresses on the same parent, and one of
 * ours.
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
  input: `link add up0 address fc:34:97:00:00:05 type veth peer name far
    link set far up
    link set up0 up
    addr add 192.0.2.5/24 dev up0
    addr add fd00:2::5/64 dev up0 nodad\n`,
});
await calm();

const scenario: Scenario = {
  networks: [
    { name: 'front', ipv6_enabled: true },
    {
      name: 'lan',
      driver: 'macvlan',
      options: { parent: 'up0' },
      subnets: [
        { subnet: '192.0.2.0/24', gateway: '192.0.2.1', lease_range: { start_ip: '192.0.2.20' } },
        { subnet: 'fd00:2::/64', gateway: 'fd00:2::1', lease_range: { start_ip: 'fd00:2::20' } },
      ],
    },
    { name: 'bare', driver: 'macvlan', options: { parent: 'up0', mode: 'private' }, ipam_options: { driver: 'none' } },
  ],
  witness: true,
  steps: [
    { type: 'create', id: 'life', networks: on('lan') },
    { type: 'configure', id: 'life' },
    { type: 'connect', id: 'life', network: 'front' },
    { type: 'connect', id: 'life', network: 'bare' },
    { type: 'reload', id: 'life', full: true },
    { type: 'update', network: 'lan', change: { options: { metric: '50', mtu: '1400' } } },
    { type: 'disconnect', id: 'life', network: 'lan' },
    { type: 'teardown', id: 'life' },
  ],
};

surviveKills('a network on a parent', scenario);

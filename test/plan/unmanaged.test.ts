/**
 * Leases, ports, neighbours and drift of a network on another program's bridge; and the network's machine, which
 * requests no firewall and grants again, once it has seen the bridge, what it granted before.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { networkMachine } from '../../machines/network.ts';
import { publishAddresses } from '../../plan/containers/attachment.ts';
import { compareBridge } from '../../plan/kernel/expected-bridge.ts';
import { grantLease, NO_LEASES } from '../../plan/networks/lease.ts';
import { knownInside, knownOutside } from '../../plan/addresses/neighbours.ts';
import { onBridge, rememberedBridge } from '../../plan/networks/unmanaged.ts';
import { NO_WAY_OUT } from '../../plan/networks/way-out.ts';
import type { Attachment, Lease } from '../../state/container.ts';
import { definition } from '../harness/fixtures.ts';
import { asker, Driven } from '../harness/shared-driver.ts';
import { settled } from '../harness/world.ts';

const LAN = definition('lan', '192.0.2.0/24', '192.0.2.1', {
  network_interface: 'br0',
  dns_enabled: true,
  options: { mode: 'unmanaged' },
});
const SEEN = { mtu: 1400, addresses: ['192.0.2.2', '198.51.100.1'] };

const granted = (options: Parameters<typeof grantLease>[4] = {}): Lease => {
  const grant = grantLease(onBridge(LAN, SEEN), NO_LEASES, {}, 'a:1', options);
  if ('fault' in grant) throw new Error(grant.fault.message);
  return grant.lease;
};
const attached = (more: Partial<Attachment> = {}): Attachment => ({
  ...granted(),
  ordinal: 0,
  hostLink: 've1',
  link: 'eth0',
  alias: 'cleat:main:a:1:lan',
  aliases: [],
  gatewayPriority: 0,
  ...more,
});

const plan = suite('plan of unmanaged networks');

plan('a lease has the MTU of the bridge, and none of its addresses', () => {
  const { addresses, mtu, dns, unmanaged } = granted();
  assert.equal(addresses, [{ address: '192.0.2.3', prefix: 24, gateway: '192.0.2.1' }]);
  assert.equal([mtu, dns, unmanaged], [1400, { listen: ['192.0.2.2'], servers: [] }, true]);
  const taken = grantLease(onBridge(LAN, SEEN), NO_LEASES, {}, 'a:1', { static_ips: ['192.0.2.2'] });
  assert.equal('fault' in taken && [taken.fault.code, taken.fault.owner], ['ADDRESS_TAKEN', 'link br0']);
  // Whatever a file says: a port with another MTU would change the MTU of the bridge.
  assert.is(
    onBridge({ ...LAN, options: { mode: 'unmanaged', mtu: '1300' } }, { ...SEEN, mtu: 1500 }).options.mtu,
    undefined,
  );
});

plan('a daemon that starts while the bridge is missing uses what was granted', () => {
  const lease = granted();
  const remembered = rememberedBridge(new Map([['a:1', lease]]));
  assert.equal(grantLease(onBridge(LAN, remembered), NO_LEASES, {}, 'a:1', {}), {
    lease,
    cursors: { '192.0.2.0/24': '192.0.2.3' },
  });
  assert.is(rememberedBridge(NO_LEASES), null);
});

plan('ports lead to an unmanaged network by the forwarder alone', () => {
  const own = definition('web', '10.89.0.0/24', '10.89.0.1');
  const grant = grantLease(own, NO_LEASES, {}, 'a:1', {});
  const web = 'lease' in grant ? attached({ unmanaged: false, ...grant.lease, defaultMetric: 200 }) : attached();
  const both = [attached(), web];
  assert.equal(publishAddresses([attached()]), []);
  assert.equal(publishAddresses(both), ['10.89.0.2']);
  assert.equal(publishAddresses(both, 'forwarder'), ['192.0.2.3']);
});

plan('there is no permanent neighbour, on the bridge or inside', () => {
  assert.equal([knownOutside(attached()), knownInside(attached())], [[], []]);
  assert.is(knownInside(attached({ unmanaged: false })).length, 1);
});

plan('drift is a missing bridge or a link that is no port, and everything else belongs to others', () => {
  const link = (index: number, name: string, more: object = {}) => {
    return { index, name, mac: '52:54:00:00:00:05', mtu: 9000, up: true, master: 0, alias: '', ...more };
  };
  const said = (...links: ReturnType<typeof link>[]) =>
    compareBridge(LAN, 'cleat:main:network:lan', [attached()], {
      links,
      addresses: [],
      routes: [],
      neighbours: [],
    }).map(({ object }) => object);
  const own = (more: object) => link(8, 've1', { alias: 'cleat:main:a:1:lan', ...more });
  assert.equal(said(own({ master: 7 })), ['br0']);
  assert.equal(said(link(7, 'br0', { up: false, alias: 'uplink of the rack' }), own({ master: 7 })), []);
  assert.equal(said(link(7, 'br0'), own({})), ['master br0 on ve1']);
  assert.equal(said(link(7, 'br0'), own({ master: 7, up: false })), ['up on ve1']);
  assert.equal(said(link(7, 'br0')), []);
});

plan('the machine holds no firewall, grants again when the bridge appears, and follows its changes', async () => {
  const begun: string[] = [];
  const input = {
    definition: LAN,
    previous: null,
    outside: null,
    wayOut: NO_WAY_OUT,
    bridge: null,
    adopted: NO_LEASES,
    recovering: false,
  };
  const network = new Driven(networkMachine, input, {
    happens: (id) => {
      begun.push(id);
      return id === 'raiseNetwork' ? SEEN : undefined;
    },
  });
  const [one, two] = [asker(), asker()];
  const join = (owner: string, from: typeof one, static_ips?: string[]) =>
    network.tell({ type: 'join', owner, options: static_ips === undefined ? {} : { static_ips }, from: from.ref });
  await join('a:1', one);
  await join('b:1', two, ['192.0.2.2']);
  await network.rest();
  await settled();
  assert.equal(begun, ['raiseNetwork']);
  assert.equal(
    one.answers.map(({ type }) => type),
    ['leased'],
  );
  assert.equal(one.answers[0]?.['lease'], granted());
  assert.equal(
    two.answers.map(({ type }) => type),
    ['refused'],
  );
  await network.tell({ type: 'bridge', bridge: SEEN });
  assert.is(network.state.value, 'up');
  await network.tell({ type: 'bridge', bridge: { ...SEEN, mtu: 1500 } });
  await network.rest();
  assert.equal(begun, ['raiseNetwork', 'reviseNetwork', 'fanOut']);
  await network.tell({ type: 'leave', owner: 'a:1', from: one.ref });
  await network.rest();
  assert.is(network.state.value, 'down');
  network.actor.stop();
  assert.equal(network.objections, []);
});

plan.run();

/** The addresses that a network has left, as the metrics show them. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { freeAddresses } from '../../plan/networks/free-addresses.ts';

const free = suite('free addresses');
const of = (subnet: string, gateway: string, lease_range?: { start_ip?: string; end_ip?: string }) =>
  freeAddresses({ subnets: [{ subnet, gateway, ...(lease_range === undefined ? {} : { lease_range }) }] }, [
    '10.0.0.2',
    '10.0.0.9',
    'fd00::2',
  ]).map(([, left]) => left);

free('are those between the network and the broadcast address, without the gateway and those in use', () => {
  assert.equal(of('10.0.0.0/24', '10.0.0.1'), [251]);
  assert.equal(of('10.0.0.0/30', '10.0.0.1'), [0]);
});
free('are those of the range alone where there is one', () => {
  assert.equal(of('10.0.0.0/24', '10.0.0.1', { start_ip: '10.0.0.8', end_ip: '10.0.0.11' }), [3]);
  assert.equal(of('10.0.0.0/24', '10.0.0.1', { start_ip: '10.0.0.250' }), [5]);
  assert.equal(of('10.0.0.0/24', '10.0.0.1', { end_ip: '10.0.0.3' }), [1]);
});
free('of IPv6 count no address as that of a broadcast', () => {
  assert.equal(of('fd00::/126', 'fd00::1'), [1]);
  assert.equal(of('fd00::/64', 'fd00::1'), [2 ** 64]);
});

free.run();

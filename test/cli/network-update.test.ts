/** The request of the API that `cleat network update` makes, and the lines that `cleat events` prints about drift. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { networkUpdate, type NetworkUpdateFlags } from '../../cli/request/network-options.ts';
import { notificationText } from '../../cli/text.ts';
import { NetworkUpdate } from '../../state/network.ts';

const update = suite('network update');
const request = (flags: NetworkUpdateFlags) => () => networkUpdate(flags);

update('the request contains only what is named, in the terms of the API', () => {
  const flags = {
    opt: ['mtu=1400', 'isolate=false'],
    dns: ['192.0.2.53', '2001:db8::53'],
    route: ['198.51.100.0/24,10.89.0.7,5'],
    subnet: ['fd00:9::/64'],
    gateway: ['fd00:9::9'],
    ipv6: true,
  };
  assert.equal(NetworkUpdate.parse(networkUpdate(flags)), {
    options: { mtu: '1400', isolate: 'false' },
    network_dns_servers: ['192.0.2.53', '2001:db8::53'],
    routes: [{ destination: '198.51.100.0/24', gateway: '10.89.0.7', metric: 5 }],
    subnets: [{ subnet: 'fd00:9::/64', gateway: 'fd00:9::9' }],
    ipv6_enabled: true,
  });
  assert.equal(networkUpdate({ opt: ['mtu=1400'] }), { options: { mtu: '1400' } });
});

update('"none" is an empty list', () => {
  assert.equal(networkUpdate({ dnsNone: true }), { network_dns_servers: [] });
  assert.equal(networkUpdate({ routeNone: true }), { routes: [] });
});

update('a wrong command line is refused before any request is sent', () => {
  assert.throws(request({}), /nothing to change/);
  assert.throws(request({ dns: ['dns.example'] }), /not an IP address/);
  assert.throws(request({ dns: ['192.0.2.53'], dnsNone: true }), /--dns-none/);
  assert.throws(request({ route: ['198.51.100.0/24,10.89.0.7'], routeNone: true }), /--route-none/);
  assert.throws(request({ subnet: ['10.89.0.0/24'], gateway: ['10.90.0.1'] }), /none of the subnets/);
});

update('events show drift and repair, of a container or of what containers share', () => {
  const t = Date.UTC(2025, 0, 2, 3, 4, 5);
  const drift = [{ kind: 'address' as const, object: '10.89.0.2/24 on eth0', network: 'web' }];
  assert.is(
    notificationText({ type: 'drift', t, id: 'a', network: 'web', drift, action: 'repair', by: null }),
    '2025-01-02T03:04:05.000Z  a  drift (repair): of web: address 10.89.0.2/24 on eth0',
  );
  const table = [{ kind: 'table' as const, object: 'inet cleat', network: null }];
  assert.is(
    notificationText({ type: 'drift', t, id: null, network: null, drift: table, action: 'alert', by: 'nft (pid 7)' }),
    '2025-01-02T03:04:05.000Z  -  drift (alert, by nft (pid 7)): table inet cleat',
  );
  assert.is(
    notificationText({ type: 'repaired', t, id: 'a', network: 'web', drift }),
    '2025-01-02T03:04:05.000Z  a  repaired: of web: address 10.89.0.2/24 on eth0',
  );
});

update.run();

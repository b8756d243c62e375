/**
 * The comparison of the forwarder's settings inside a container, which let clients keep their addresses, with the
 * kernel.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compareKeptSources, KEPT_SWITCHES, KEPT_TABLE, type KeptSeen } from '../../plan/kernel/kept-sources.ts';

const kept = suite('kept sources');

const rule = (family: 4 | 6) => ({ family, priority: 99, table: KEPT_TABLE });
const route = (destination: string) => ({ destination, prefix: 0, type: 'local' });
const ON = new Map<string, string | null>(KEPT_SWITCHES.map((key) => [key, '1']));
const whole: KeptSeen = { rules: [rule(4), rule(6)], routes: [route('0.0.0.0'), route('::')], switches: ON };
const only4: KeptSeen = { rules: [rule(4)], routes: [route('0.0.0.0')], switches: ON };

const missing = (kind: 'rule' | 'route', object: string) => ({ kind, object, network: 'web', problem: 'missing' });
const RULE = {
  4: missing('rule', 'ip rule 99: fwmark 0x636c6561 lookup 1668048225'),
  6: missing('rule', 'ip -6 rule 99: fwmark 0x636c6561 lookup 1668048225'),
};
const ROUTE = {
  4: missing('route', 'ip route local default dev lo table 1668048225'),
  6: missing('route', 'ip -6 route local default dev lo table 1668048225'),
};
const off = (key: string) => ({ kind: 'switch', object: `${key}=1`, network: 'web', problem: 'changed' });

kept('complete rules and routes, of both families or of one, have no differences', () => {
  for (const seen of [whole, only4]) assert.equal(compareKeptSources(seen, 'web'), []);
});

kept('a family without any rule and route was never prepared', () => {
  const none = { rules: [], routes: [], switches: new Map(KEPT_SWITCHES.map((key) => [key, '0'])) };
  assert.equal(compareKeptSources(none, 'web'), []);
  const others = {
    rules: [
      { ...rule(4), priority: 100 },
      { ...rule(6), table: 254 },
    ],
    routes: [],
    switches: none.switches,
  };
  assert.equal(compareKeptSources(others, 'web'), []);
});

kept('a missing rule or route is named with its family', () => {
  assert.equal(compareKeptSources({ ...whole, rules: [rule(6)] }, 'web'), [RULE[4]]);
  assert.equal(compareKeptSources({ ...whole, rules: [rule(4)] }, 'web'), [RULE[6]]);
  assert.equal(compareKeptSources({ ...whole, routes: [route('::')] }, 'web'), [ROUTE[4]]);
  assert.equal(compareKeptSources({ ...whole, routes: [route('0.0.0.0')] }, 'web'), [ROUTE[6]]);
  assert.equal(compareKeptSources({ ...whole, rules: [rule(4)], routes: [route('::')] }, 'web'), [ROUTE[4], RULE[6]]);
});

kept('a rule or a route of another program does not count as ours', () => {
  for (const change of [{ priority: 100 }, { table: 254 }]) {
    assert.equal(compareKeptSources({ ...only4, rules: [{ ...rule(4), ...change }] }, 'web'), [RULE[4]]);
  }
  for (const change of [{ prefix: 8 }, { type: 'unicast' }]) {
    assert.equal(compareKeptSources({ ...only4, routes: [{ ...route('0.0.0.0'), ...change }] }, 'web'), [ROUTE[4]]);
  }
});

kept('a switch that is off is named if its family is prepared, and a missing switch is not', () => {
  const [accept = '', reflect4 = '', reflect6 = ''] = KEPT_SWITCHES;
  assert.equal(KEPT_SWITCHES, ['net/ipv4/tcp_fwmark_accept', 'net/ipv4/fwmark_reflect', 'net/ipv6/fwmark_reflect']);
  for (const key of KEPT_SWITCHES) {
    const switches = new Map([...ON, [key, '0']]);
    assert.equal(compareKeptSources({ ...whole, switches }, 'web'), [off(key)]);
    assert.equal(compareKeptSources({ ...only4, switches }, 'web'), key === reflect6 ? [] : [off(key)]);
  }
  const all = new Map(KEPT_SWITCHES.map((key) => [key, '0']));
  assert.equal(compareKeptSources({ ...whole, switches: all }, 'web'), [off(accept), off(reflect4), off(reflect6)]);
  assert.equal(compareKeptSources({ ...whole, switches: new Map([...ON, [reflect6, null]]) }, 'web'), []);
});

kept.run();

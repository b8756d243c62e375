/** The differences between switches and routing rules in the kernel and the values that were set. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compareRules, compareSwitches } from '../../plan/kernel/switches.ts';

const switches = suite('plan of switches and rules');
const FILTER = 'net/ipv4/conf/br0/arp_filter';

switches('a switch with another value is a difference, and a missing switch is none', () => {
  const wanted = { [FILTER]: '1', 'net/ipv6/conf/br0/accept_ra': '0' };
  assert.equal(compareSwitches(wanted, ['1', '0'], 'web'), []);
  assert.equal(compareSwitches(wanted, ['0', null], 'web'), [
    { kind: 'switch', object: `${FILTER}=1`, network: 'web', problem: 'changed' },
  ]);
  assert.equal(compareSwitches(wanted, [], null), []);
  assert.equal(compareSwitches({ [FILTER]: '1' }, ['2'], null), [
    { kind: 'switch', object: `${FILTER}=1`, network: null, problem: 'changed' },
  ]);
});

switches('a rule matches by source, table and priority, and other rules are ignored', () => {
  const rule = { source: '10.0.0.2', prefix: 32, table: 7, priority: 32_000 };
  const seen = { source: '10.0.0.2', sourcePrefix: 32, table: 7, priority: 32_000 };
  assert.equal(compareRules([rule], [{ ...seen, priority: 1 }, seen], 'web'), []);
  const missing = [
    { kind: 'rule', object: 'ip rule 32000: from 10.0.0.2/32 lookup 7', network: 'web', problem: 'missing' },
  ];
  for (const other of [{ source: '10.0.0.3' }, { sourcePrefix: 24 }, { table: 8 }, { priority: 31_999 }])
    assert.equal(compareRules([rule], [{ ...seen, ...other }], 'web'), missing);
  assert.equal(compareRules([rule], [], 'web'), missing);
});

switches.run();

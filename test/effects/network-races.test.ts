/**
 * A network that changes or is repaired beside its containers and beside an inspection of the table: one does not
 * restore what the other removes, and none is refused because the other was quicker.
 *
 * Limits: effects alone, on the kernel; test/service has the machines that run them concurrently.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { raiseNetwork, repairNetwork, reviseNetwork, rulesOf, lowerNetwork } from '../../effects/links/bridge.ts';
import { repairRuleset } from '../../effects/firewall/firewall-repair.ts';
import { lowerFirewall, raiseFirewall, readSwitches } from '../../effects/firewall/firewall.ts';
import { NO_REPLIES } from '../../effects/ruleset/ruleset-replies.ts';
import { bridgeMac } from '../../plan/addresses/neighbours.ts';
import { uplinkGuard } from '../../service/outsides/uplink-guard.ts';
import { driftPolicies } from '../../state/drift.ts';
import { definition } from '../harness/fixtures.ts';
import { testKernel } from '../harness/kernel.ts';
import { endWithReport } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const kernel = testKernel();
const outside = null;
const WEB = definition('web', '10.89.0.0/24', '10.89.0.1');
const mac = bridgeMac(WEB.id);
const raise = { definition: WEB, mac, outside };

const test = suite('a network beside others');

test.before.each(async () => {
  const found = await readSwitches(kernel)({ outside });
  await raiseFirewall(kernel, () => true, uplinkGuard)({ outside, found });
  await raiseNetwork(kernel)(raise);
});
test.after.each(async () => {
  await lowerNetwork(kernel)(raise);
  await lowerFirewall(kernel)({ outside, found: null });
});

const MEMBER = { hostLink: 'veleaving', alias: 'cleat:main:a:1:web', mac: '02:00:00:00:00:05' };
const EFFECTS = {
  'a change': (members: Parameters<typeof repairNetwork>[1]) =>
    reviseNetwork(kernel, members)({ from: WEB, to: WEB, mac, outside }),
  'a repair': (members: Parameters<typeof repairNetwork>[1]) => repairNetwork(kernel, members)(raise),
};
const [bridge, address] = [WEB.network_interface, '10.89.0.9'];
for (const [what, effect] of Object.entries(EFFECTS)) {
  test(`${what} of the network beside a disconnect leaves no neighbour of the container on the bridge`, async () => {
    const native = kernel.outside(outside).kernel;
    await native.rtnl([
      { op: 'link.add', kind: 'ifb', name: MEMBER.hostLink },
      { op: 'link.set', name: MEMBER.hostLink, alias: MEMBER.alias, master: bridge, up: true },
      { op: 'neighbour.replace', link: bridge, address, mac: MEMBER.mac },
    ]);
    let there = [{ ...MEMBER, addresses: [{ address, prefix: 24, gateway: null }] }];
    const links = native.links.bind(native);
    // The container goes while the effect lists the links.
    const shadow = async (...given: Parameters<typeof links>) => {
      const found = await links(...given);
      there = [];
      await native.rtnl([{ op: 'neighbour.del', link: bridge, address }]);
      return found;
    };
    Object.defineProperty(native, 'links', { value: shadow, configurable: true });
    try {
      await effect(() => there);
    } finally {
      Reflect.deleteProperty(native, 'links');
      await native.rtnl([{ op: 'link.del', name: MEMBER.hostLink }]);
    }
    const left = (await native.neighbours()).filter((one) => one.address === address);
    assert.equal(left, []);
  });
}

test('changes of its rules beside inspections of the table are never refused', async () => {
  let now = WEB;
  const ruleset = () => ({
    networks: [{ network: now.name, rules: rulesOf(now) }],
    ports: [],
    guard: uplinkGuard(),
    replies: NO_REPLIES,
  });
  const look = repairRuleset(kernel, ruleset, driftPolicies([]), () => true);
  for (let i = 0; i < 60; i++) {
    const from = now;
    const isolate = (['false', 'true', 'strict'] as const)[i % 3] ?? 'strict';
    const subnets = i % 2 === 0 ? WEB.subnets : [...WEB.subnets, { subnet: '10.90.0.0/24', gateway: '10.90.0.1' }];
    now = { ...WEB, subnets, options: { ...WEB.options, isolate } };
    const changes = reviseNetwork(kernel, () => [])({ from, to: now, mac, outside });
    for (let turn = 0; turn < i % 12; turn++) await new Promise(setImmediate);
    await Promise.all([changes, look({ outside, found: {}, asked: true }), look({ outside, found: {}, asked: true })]);
    const left = await look({ outside, found: {}, asked: false });
    assert.equal(left, { repaired: [], left: [] }, `round ${i}`);
  }
});

test('what a network has not turned on yet, because it is being raised, nobody has changed', async () => {
  const subnets = [...WEB.subnets, { subnet: 'fd00:89::/64', gateway: 'fd00:89::1' }];
  const rules = rulesOf({ ...WEB, subnets });
  const ruleset = (raising: boolean) => () => ({
    networks: [{ network: WEB.name, rules, raising }],
    ports: [],
    guard: uplinkGuard(),
    replies: NO_REPLIES,
  });
  const look = (raising: boolean) =>
    repairRuleset(kernel, ruleset(raising), driftPolicies([]), () => true)({ outside, found: {}, asked: false });
  const switchesIn = ({ repaired }: Awaited<ReturnType<typeof look>>) =>
    repaired.flatMap(({ drift }) => (drift.kind === 'switch' ? drift.object : []));
  await kernel.outside(outside).kernel.sysctlWrite({ 'net/ipv6/conf/all/forwarding': '0' });
  assert.equal(switchesIn(await look(true)), []);
  assert.equal(switchesIn(await look(false)), ['net/ipv6/conf/all/forwarding=1']);
});

endWithReport();
test.run();

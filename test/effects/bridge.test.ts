/**
 * A lowered network leaves nothing in the kernel, at whatever point its last update stopped.
 *
 * Limits: effects alone; test/machines/network.kernel.test.ts covers raising, revising and repairing under the machine.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lowerNetwork, raiseNetwork, reviseNetwork } from '../../effects/links/bridge.ts';
import { lowerFirewall, raiseFirewall, readSwitches } from '../../effects/firewall/firewall.ts';
import { removeTable } from '../../effects/ruleset/ruleset.ts';
import { bridgeMac } from '../../plan/addresses/neighbours.ts';
import { uplinkGuard } from '../../service/outsides/uplink-guard.ts';
import { definition } from '../harness/fixtures.ts';
import { testKernel } from '../harness/kernel.ts';
import { endWithReport } from '../harness/native.ts';
import { assertComesBackTo, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const kernel = testKernel();
const outside = null;
const WEB = definition('web', '10.89.0.0/24', '10.89.0.1');
/** The same bridge with one more subnet. */
const WIDER = {
  ...WEB,
  subnets: [...WEB.subnets, { subnet: '10.90.0.0/24', gateway: '10.90.0.1' }],
};
const input = (one: typeof WEB) => ({ definition: one, mac: bridgeMac(one.id), outside });

const test = suite('a network that is lowered');

test.before.each(async () => {
  const found = await readSwitches(kernel)({ outside });
  await raiseFirewall(kernel, () => true, uplinkGuard)({ outside, found });
});
test.after.each(async () => {
  await lowerFirewall(kernel)({ outside, found: null });
});

test('lowering a network leaves the kernel as it was', async () => {
  const before = inspectKernel();
  await raiseNetwork(kernel)(input(WEB));
  await lowerNetwork(kernel)(input(WEB));
  await assertComesBackTo(before, inspectKernel);
});

test('lowering a network leaves nothing of an update that was done and not recorded', async () => {
  const before = inspectKernel();
  await raiseNetwork(kernel)(input(WEB));
  await reviseNetwork(kernel, () => [])({ from: WEB, to: WIDER, mac: bridgeMac(WEB.id), outside });
  await lowerNetwork(kernel)(input(WEB));
  await assertComesBackTo(before, inspectKernel);
});

test('lowering a network leaves the other networks alone', async () => {
  const other = definition('other', '10.91.0.0/24', '10.91.0.1');
  await raiseNetwork(kernel)(input(other));
  const before = inspectKernel();
  await raiseNetwork(kernel)(input(WEB));
  await lowerNetwork(kernel)(input(WEB));
  await assertComesBackTo(before, inspectKernel);
  await lowerNetwork(kernel)(input(other));
});

test('a network can be lowered again, also when others have removed the table', async () => {
  const before = inspectKernel();
  await raiseNetwork(kernel)(input(WEB));
  await lowerNetwork(kernel)(input(WEB));
  await lowerNetwork(kernel)(input(WEB));
  await assertComesBackTo(before, inspectKernel);
  await raiseNetwork(kernel)(input(WEB));
  await kernel.outside(outside).kernel.nft(removeTable('cleat'));
  await lowerNetwork(kernel)(input(WEB));
  assert.is(await kernel.outside(outside).kernel.link(WEB.network_interface), null);
});

endWithReport();
test.run();

/**
 * The requests of a network for the table and for its bridge in firewalld's zone, against machines that a defect stops.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, toPromise, type AnyActorRef } from 'xstate';
import { holdFirewall, releaseFirewall, type Directory } from '../../effects/ask.ts';
import type { FaultError } from '../../state/faults.ts';
import { standIn } from '../harness/stand-in.ts';
import { settled } from '../harness/world.ts';

const INPUT = { network: 'web', bridge: 'cl-web', outside: null };

function directoryOf(firewall: AnyActorRef, firewalld: AnyActorRef): Directory {
  const none = standIn(() => null).ref;
  return {
    network: () => null,
    firewall: () => firewall,
    firewalld: () => firewalld,
    ports: () => none,
    resolver: () => none,
    rootless: () => null,
  };
}

const holding = () => standIn(({ type }) => ({ type: type === 'hold' ? 'held' : 'released' }));

/** Begins a request. `ended`: how it ended. */
function begin(logic: ReturnType<typeof holdFirewall>) {
  const actor = createActor(logic, { input: INPUT });
  const ended = toPromise(actor).then(
    () => 'done',
    (error: FaultError) => error.fault.code,
  );
  actor.start();
  return ended;
}

const requests = suite('requests for the firewall');

requests('a network holds the table, and then its place in the zone', async () => {
  const [firewall, firewalld] = [holding(), holding()];
  assert.is(await begin(holdFirewall(directoryOf(firewall.ref, firewalld.ref))), 'done');
  assert.equal([firewall.got, firewalld.got], [['hold'], ['hold']]);
});

requests('a defect of firewalld’s machine keeps no network down, before its request or during it', async () => {
  for (const during of [false, true]) {
    const [firewall, firewalld] = [holding(), standIn(() => null)];
    if (!during) firewalld.fail();
    const ended = begin(holdFirewall(directoryOf(firewall.ref, firewalld.ref)));
    await settled();
    if (during) firewalld.fail();
    assert.is(await ended, 'done');
  }
});

requests('a table whose machine a defect stops after its answer is not held', async () => {
  const [firewall, firewalld] = [holding(), standIn(() => null)];
  const ended = begin(holdFirewall(directoryOf(firewall.ref, firewalld.ref)));
  await settled();
  assert.equal(firewalld.got, ['hold']);
  firewall.fail();
  assert.is(await ended, 'INTERNAL');
});

requests('both are given back in the other order, also to machines that a defect has stopped', async () => {
  const [firewall, firewalld] = [holding(), holding()];
  assert.is(await begin(releaseFirewall(directoryOf(firewall.ref, firewalld.ref))), 'done');
  assert.equal([firewall.got, firewalld.got], [['release'], ['release']]);
  firewall.fail();
  firewalld.fail();
  assert.is(await begin(releaseFirewall(directoryOf(firewall.ref, firewalld.ref))), 'done');
});

requests.run();

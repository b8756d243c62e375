/**
 * The request for a lease against machines that end or answer late: what was granted is the container's, or is given back.
 *
 * Limits: stand-ins for the shared machines: they grant everything, or do not answer.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, toPromise } from 'xstate';
import type { Directory } from '../../effects/ask.ts';
import type { FaultError } from '../../state/faults.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { lease, NO_EXTERNALS } from '../../effects/lease.ts';
import type { PortRequest, Promised } from '../../state/container.ts';
import { leaseOf, resolve } from '../harness/fixtures.ts';
import { standIn } from '../harness/stand-in.ts';

const PORT = { host_port: 8080, container_port: 80 };

/** A container alone. */
const alone = { container: () => null, yields: () => null, departures: () => null, holds: () => false };

type StandIn = ReturnType<typeof standIn>;

const granting = (network: string) =>
  standIn(({ type }) => (type === 'join' ? { type: 'leased', network, lease: leaseOf(network) } : null));
const silent = () => standIn(() => null);
const claiming = () =>
  standIn(({ type, ports }) => (type === 'claim' ? { type: 'claimed', ports: ports.map(resolve) } : null));

/** Requests all of these networks and ports. `probe`: what the kernel says about the ports. */
function request(
  networks: Record<string, StandIn>,
  ports: StandIn,
  wanted: PortRequest[],
  probe: Promise<never[]>,
  promised: Promised | null = null,
) {
  const deaf = silent().ref;
  const directory: Directory = {
    network: (_outside, name) => networks[name]?.ref ?? null,
    firewall: () => deaf,
    firewalld: () => deaf,
    ports: () => ports.ref,
    resolver: () => deaf,
    rootless: () => null,
  };
  const kernel = { listening: () => ({ portProbe: () => probe }) } as unknown as Kernel;
  const input = {
    owner: 'me:1',
    outside: null,
    networks: Object.fromEntries(Object.keys(networks).map((name) => [name, {}])),
    ports: wanted,
    inside: null,
    taking: null,
    uplink: false,
    promised,
  };
  const actor = createActor(lease(directory, alone, kernel, NO_EXTERNALS), { input });
  const ended = toPromise(actor).then(
    () => 'granted',
    (error: FaultError) => error.fault.message,
  );
  actor.start();
  return { actor, ended };
}

const FREE = Promise.resolve([]);
const NEVER = new Promise<never[]>(() => {});
const DEFECT = 'a defect in cleat has stopped what was asked: planted';

const leases = suite('the request for a lease');

leases('a network that a defect stops after it has granted its lease grants nothing', async () => {
  const [web, back] = [granting('web'), silent()];
  const { ended } = request({ web, back }, claiming(), [], FREE);
  await nextTurn();
  web.fail();
  assert.is(await Promise.race([ended, nextTurn().then(() => 'waits')]), DEFECT);
  assert.equal(back.got, ['join', 'leave']);
});

leases('ports whose machine a defect stops while the host is probed are not granted', async () => {
  const [web, ports] = [granting('web'), claiming()];
  let free: (holders: never[]) => void = () => {};
  const probe = new Promise<never[]>((end) => {
    free = end;
  });
  const { ended } = request({ web }, ports, [PORT], probe);
  await nextTurn();
  ports.fail();
  free([]);
  assert.is(await ended, DEFECT);
  assert.equal(web.got, ['join', 'leave']);
});

leases('what a plan has promised is granted, and anything else is given back', async () => {
  const lease = leaseOf('web');
  const promised: Promised = { leases: [lease], ports: [resolve(PORT)] };
  const kept = request({ web: granting('web') }, claiming(), [PORT], FREE, promised);
  assert.is(await kept.ended, 'granted');

  const others: Record<string, Promised> = {
    web: { ...promised, leases: [{ ...lease, mac: '02:00:00:00:00:99' }] },
    'its host ports': { ...promised, ports: [{ ...resolve(PORT), hostPort: 8081 }] },
  };
  for (const [what, other] of Object.entries(others)) {
    const [web, ports] = [granting('web'), claiming()];
    const said = await request({ web }, ports, [PORT], FREE, other).ended;
    assert.is(said, `container me would get something else than planned from ${what}`);
    assert.equal(web.got, ['join', 'leave']);
    assert.equal(ports.got, ['claim', 'unclaim']);
  }
});

leases('a request that is abandoned after the last answer gives everything back, unless it has ended', async () => {
  let abandoned = 0;
  for (let turns = 0; turns < 30; turns++) {
    const [web, ports] = [granting('web'), claiming()];
    const { actor } = request({ web }, ports, [PORT], FREE);
    for (let i = 0; i < turns; i++) await Promise.resolve();
    actor.stop();
    await nextTurn();
    if (actor.getSnapshot().status === 'done') continue;
    abandoned++;
    if (web.got.includes('join')) assert.ok(web.got.includes('leave'), `lease after ${turns} turns`);
    if (ports.got.includes('claim')) assert.ok(ports.got.includes('unclaim'), `ports after ${turns} turns`);
  }
  assert.ok(abandoned > 3 && abandoned < 30, String(abandoned));
});

leases('many networks that are being raised are no reason for a warning', async () => {
  const warnings: string[] = [];
  const note = ({ message }: Error) => warnings.push(message);
  process.on('warning', note);
  const names = Array.from({ length: 12 }, (_, n) => `n${n}`);
  const { actor } = request(Object.fromEntries(names.map((name) => [name, silent()])), claiming(), [], NEVER);
  await nextTurn();
  actor.stop();
  await nextTurn();
  process.off('warning', note);
  assert.equal(warnings, []);
});

leases.run();

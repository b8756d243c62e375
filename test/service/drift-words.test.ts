/** The logic of the drift watch without a kernel: clues from announcements, what is reported and when, policies. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { RtnlNotification } from '../../native/index.ts';
import { Clues } from '../../service/drift/drift-clues.ts';
import { DriftRecord } from '../../service/drift/drift-record.ts';
import type { ContainerActor } from '../../service/records/snapshot.ts';
import type { Drift } from '../../state/container.ts';
import { driftPolicies } from '../../state/drift.ts';

const words = suite('logic of the drift watch');
const PREFIX = 'cleat:main:';

function cluesOf(...events: RtnlNotification[]): Clues {
  const clues = new Clues();
  for (const event of events) clues.take(event, PREFIX);
  return clues;
}
const link = (alias: string, nsid: number | null = null): RtnlNotification => {
  return { type: 'link.del', nsid, index: 1, name: 've1', up: false, alias };
};

words('clues: the alias of a link names its owner', () => {
  const clues = cluesOf(link(`${PREFIX}a:7:web`), link(`${PREFIX}a:7:back`), link(`${PREFIX}network:web`));
  assert.equal(
    [...clues.hosts].map(([owner, networks]) => [owner, [...networks]]),
    [['a:7', ['web', 'back']]],
  );
  assert.equal([...clues.networks], ['web']);
});

words('clues: links of other programs belong to nobody', () => {
  const clues = new Clues();
  assert.not(clues.take(link('cleat:other:a:7:web'), PREFIX));
  assert.not(clues.take(link(''), PREFIX));
});

words('clues: a namespace is known by its nsid, and actions of the kernel itself are none', () => {
  const address: RtnlNotification = { type: 'address.del', nsid: 4, link: 2, address: '10.0.0.2', prefix: 24 };
  assert.equal([...cluesOf(address, link('', 5)).nsids], [4, 5]);
  assert.equal([...cluesOf({ ...address, address: 'fe80::1' }).nsids], []);
  const route = { type: 'route.del', nsid: null, link: 2, metric: 0, table: 254 } as const;
  assert.equal([...cluesOf({ ...route, destination: 'ff00::', prefix: 8 }).gone], []);
  assert.equal([...cluesOf({ ...route, destination: '10.0.0.0', prefix: 24 }).gone], ['10.0.0.0/24']);
});

words('clues: a port that leaves with its link is not searched for', () => {
  const port: RtnlNotification = { type: 'port.del', nsid: null, index: 1, name: 've1' };
  assert.equal([...cluesOf(port).ports], ['ve1']);
  assert.equal([...cluesOf(port, link(`${PREFIX}a:7:web`)).ports], []);
});

words('clues: after an overrun everything is inspected', () => assert.ok(cluesOf({ type: 'overrun' }).everything));

// --- What is said -----------------------------------------------------------------------------------------------

const ADDRESS: Drift = { kind: 'address', object: '10.0.0.2/24 on eth0', network: 'web' };
const ROUTE: Drift = { kind: 'route', object: 'default via 10.0.0.1 on eth0', network: 'web' };
const A = { owner: 'a:7' };

function recording() {
  const said: string[] = [];
  const record = new DriftRecord((notification) => {
    const how = notification.type === 'drift' ? `drift ${notification.action}` : notification.type;
    said.push(
      `${how} ${notification.id ?? '-'} ${notification.network ?? '-'}: ${notification.drift.map((d) => d.kind).join()}`,
    );
  });
  return { record, said };
}

words('a repair is reported when it is requested, and when an inspection finds everything whole', () => {
  const { record, said } = recording();
  assert.ok(record.mayRepair(A, [ADDRESS, ROUTE]));
  assert.not(record.mayRepair(A, []));
  assert.not(record.mayRepair(A, []));
  assert.equal(said, ['drift repair a web: address,route', 'repaired a web: address,route']);
});

words('a repair that does not help is requested three times, and not again at once', () => {
  const { record, said } = recording();
  for (let n = 0; n < 3; n++) assert.ok(record.mayRepair(A, [ADDRESS]));
  assert.not(record.mayRepair(A, [ADDRESS]));
  assert.equal(said, ['drift repair a web: address', 'drift alert a web: address']);
  assert.ok(record.mayRepair(A, [ADDRESS]), 'when something leads there again');
});

words('an object that is removed again during its repair is requested again', () => {
  const { record, said } = recording();
  assert.ok(record.mayRepair(A, [ADDRESS, ROUTE]));
  assert.ok(record.mayRepair(A, [ROUTE]));
  assert.not(record.mayRepair(A, []));
  assert.equal(said, ['drift repair a web: address,route', 'repaired a web: address', 'repaired a web: route']);
});

words('new drift during a repair is requested too', () => {
  const { record, said } = recording();
  assert.ok(record.mayRepair(A, [ADDRESS]));
  assert.ok(record.mayRepair(A, [ROUTE]));
  assert.not(record.mayRepair(A, []));
  assert.equal(said, [
    'drift repair a web: address',
    'repaired a web: address',
    'drift repair a web: route',
    'repaired a web: route',
  ]);
});

words('remaining drift is reported once, shown to the container, and withdrawn', () => {
  const { record, said } = recording();
  const context = { owner: 'a:7', drift: [] as Drift[] };
  const actor = {
    getSnapshot: () => ({ status: 'active', value: 'up', context }),
    send: (event: { drift: Drift[] }) => (context.drift = event.drift),
  } as unknown as ContainerActor;
  const port: Drift = { kind: 'port', object: 'tcp *:80', network: null };
  record.leave(A, [ROUTE], actor);
  record.leave(A, [ROUTE], actor);
  record.found([], [{ owner: 'a:7', drift: port }], () => actor);
  assert.equal(context.drift, [port, ROUTE]);
  record.leave(A, [], actor);
  record.found([], [], () => actor);
  assert.equal(context.drift, []);
  assert.equal(said, ['drift alert a web: route', 'drift alert a -: port']);
});

words('remaining drift of shared objects is there for doctor', () => {
  const { record } = recording();
  const table: Drift = { kind: 'rule', object: 'chain to-cl', network: 'web' };
  record.found([], [{ owner: null, drift: table }], () => null);
  record.leave({ network: 'web' }, [ADDRESS], null);
  record.leave(A, [ROUTE], null);
  assert.equal(record.present(), [table, ADDRESS]);
  record.forget({ network: 'web' });
  assert.equal(record.present(), [table]);
});

words('remaining drift of shared objects is known with who did it, for as long as it lasts', () => {
  const { record } = recording();
  const table: Drift = { kind: 'table', object: 'inet cleat', network: null };
  const who = () => record.left().map(({ object, by }) => [object, by]);
  record.changedBy('nft', 42);
  record.found([], [{ owner: null, drift: table }], () => null);
  record.leave({ network: 'web' }, [ADDRESS], null);
  const [first] = record.left();
  record.found([], [{ owner: null, drift: table }], () => null); // seen again, and nobody has just done it
  assert.equal(who(), [
    ['inet cleat', 'nft (pid 42)'],
    [ADDRESS.object, null],
  ]);
  assert.equal(record.left()[0], first, 'the time stays, too');
  record.found([], [], () => null);
  record.changedBy(null, null);
  record.found([], [{ owner: null, drift: table }], () => null);
  assert.equal(who()[0], ['inet cleat', null], 'it is another change');
});

words('policies: repair is the default, the last one counts, others are refused', () => {
  assert.ok(Object.values(driftPolicies([])).every((policy) => policy === 'repair'));
  const { route, port, link: links } = driftPolicies(['route=alert', 'port=ignore', 'route=ignore']);
  assert.equal([route, port, links], ['ignore', 'ignore', 'repair']);
  for (const word of ['route', 'route=', 'routes=alert', 'route=mend', 'route=alert=ignore', '']) {
    assert.throws(() => driftPolicies([word]), /drift policy/);
  }
});

words.run();

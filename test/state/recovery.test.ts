/**
 * A start on damaged files: each kind of damage is set aside, records of another boot are dropped, and none of them
 * keeps a whole snapshot from going on.
 */
import { existsSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, fromCallback, fromPromise } from 'xstate';
import { attachmentMachine } from '../../machines/container/attachment.ts';
import { containerMachine } from '../../machines/container/container.ts';
import { recover } from '../../service/records/recovery.ts';
import { Journal } from '../../state/files/journal.ts';
import { CONTAINER_VERSION } from '../../state/versions/migrations.ts';
import { SnapshotStore } from '../../state/files/store.ts';
import { containerInput, leaseOf, resolve } from '../harness/fixtures.ts';
import { settled } from '../harness/world.ts';

/** Effects that never end. */
const never = fromPromise<never>(() => new Promise(() => {})) as never;
const attachment = attachmentMachine.provide({
  actors: { ensureLink: never, ensureAddresses: never, removeLink: never },
});
const done = fromPromise(() => Promise.resolve({ dev: 4, ino: 1 })) as never;
const lease = fromCallback(() => {}) as never;
const machine = containerMachine.provide({ actors: { attachment, ensureNamespace: done, lease, publish: never } });

interface Persisted {
  value: unknown;
  status: string;
  context: Record<string, unknown>;
  children: Record<string, { src: string; snapshot: { value?: unknown; children?: Record<string, unknown> } }>;
}

/** A snapshot that waits for a link: a child machine in flight, with an effect in flight in it. */
async function attaching(id: string): Promise<{ machine: string; version: string; snapshot: Persisted }> {
  const request = {
    netns: { mode: 'new' as const },
    networks: { web: {} },
    ports: [{ host_port: 8080, container_port: 80 }],
  };
  const actor = createActor(machine, { id, input: containerInput({ id, request }) });
  actor.subscribe({ error: () => {} });
  actor.start();
  await settled();
  actor.send({ type: 'configure' });
  const output = { leases: [leaseOf('web')], ports: request.ports.map(resolve), inside: [], given: [] };
  actor.send({ type: 'xstate.done.actor.lease', actorId: 'lease', output } as never);
  await settled();
  const snapshot = JSON.parse(JSON.stringify(actor.getPersistedSnapshot())) as Persisted;
  actor.stop();
  return { machine: 'container', version: CONTAINER_VERSION, snapshot };
}

type Kept = Awaited<ReturnType<typeof attaching>>;

async function start(damage: (record: Kept) => unknown) {
  const directory = mkdtempSync(join(tmpdir(), 'recovery-'));
  const store = new SnapshotStore(directory, () => {});
  const journal = new Journal(join(directory, 'journal'), () => {}, assert.unreachable);
  const write = (id: string, text: string) => writeFileSync(join(directory, `${id}.json`), text);
  const record = await attaching('bad');
  const damaged = damage(record) ?? record;
  write('bad', typeof damaged === 'string' ? damaged : JSON.stringify(damaged));
  write('good', JSON.stringify(await attaching('good')));
  for (const id of ['bad', 'good', 'unheard-of'])
    journal.append(id, { kind: 'passage', t: 1, machine: 'container', event: 'e', from: '', to: 'up', ms: 0 });
  journal.flush();
  const { containers, unreadable } = recover({ store, journal, machine, bootId: 'boot' });
  const left = existsSync(join(directory, 'bad.json'));
  const aside = existsSync(join(directory, 'bad.json.unreadable'));
  assert.equal(unreadable, aside ? [join(directory, 'bad.json.unreadable')] : []);
  const ids = containers.map(({ id }) => id).sort();
  const histories = readdirSync(join(directory, 'journal')).sort();
  assert.equal(histories, left || aside ? ['bad.ndjson', 'good.ndjson'] : ['good.ndjson']);
  assert.ok(ids.includes('good'), 'the others are not loaded');
  return { outcome: ids.includes('bad') ? 'loaded' : aside ? 'set aside' : left ? 'ignored' : 'dropped', containers };
}

const recovery = suite('recovery');

const CASES: [what: string, outcome: string, damage: (record: Kept) => unknown][] = [
  ['nothing', 'loaded', () => undefined],
  ['truncated JSON', 'set aside', (record) => JSON.stringify(record).slice(0, -9)],
  ['an empty file', 'set aside', () => ''],
  ['JSON that is no record', 'set aside', () => '[]'],
  ['null', 'set aside', () => 'null'],
  [
    'a version from the future',
    'set aside',
    (record) => ({ ...record, version: String(Number(CONTAINER_VERSION) + 1) }),
  ],
  ['another machine', 'set aside', (record) => ({ ...record, machine: 'network' })],
  ['an unknown state', 'set aside', ({ snapshot }) => void (snapshot.value = 'flying')],
  ['an unknown nested state', 'set aside', ({ snapshot }) => void (snapshot.value = { configuring: 'flying' })],
  ['a state that is none', 'set aside', ({ snapshot }) => void (snapshot.value = 7)],
  [
    'a child from an unknown source',
    'set aside',
    ({ snapshot }) => void (snapshot.children['attachment']!.src = 'flying'),
  ],
  ['no child where one is waited for', 'set aside', ({ snapshot }) => void (snapshot.children = {})],
  [
    'no child of the child where one is waited for',
    'set aside',
    ({ snapshot }) => void (snapshot.children['attachment']!.snapshot.children = {}),
  ],
  [
    'an unknown state of the child',
    'set aside',
    ({ snapshot }) => void (snapshot.children['attachment']!.snapshot.value = 'flying'),
  ],
  ['a context with a hole', 'set aside', ({ snapshot }) => void delete snapshot.context['attachments']],
  ['a token that is a path', 'set aside', ({ snapshot }) => void (snapshot.context['token'] = '../../etc')],
  ['the id of another', 'set aside', ({ snapshot }) => void (snapshot.context['id'] = 'other')],
  ['a machine that is in error', 'set aside', ({ snapshot }) => void (snapshot.status = 'error')],
  ['a machine that was stopped', 'set aside', ({ snapshot }) => void (snapshot.status = 'stopped')],
  ['another boot', 'dropped', ({ snapshot }) => void (snapshot.context['bootId'] = 'an earlier one')],
];

for (const [what, outcome, damage] of CASES) {
  recovery(`${what}: ${outcome}`, async () => {
    assert.is((await start(damage)).outcome, outcome);
  });
}

recovery('a loaded machine goes on where it was, with the effect in flight again', async () => {
  const { containers } = await start(() => undefined);
  const begun: unknown[] = [];
  const ensureLink = fromPromise<void, { attachment: { hostLink: string } }>(({ input }) => {
    begun.push(input.attachment.hostLink);
    return Promise.resolve();
  }) as never;
  const again = machine.provide({ actors: { attachment: attachment.provide({ actors: { ensureLink } }) } });
  const actor = createActor(again, { snapshot: containers[0]!.snapshot as never, input: undefined });
  actor.start();
  await settled();
  assert.equal(begun, ['ve012345670']);
  const child = (actor.getSnapshot().children as Record<string, { getSnapshot(): { value?: unknown } }>)['attachment'];
  assert.is(child?.getSnapshot().value, 'addressing');
  actor.stop();
});

recovery('the probe changes nothing of what is loaded', async () => {
  const { containers } = await start(() => undefined);
  const good = containers.find(({ id }) => id === 'good')!;
  assert.equal(good.snapshot, (await attaching('good')).snapshot);
});

recovery('outer ports of a container of another boot are returned', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'recovery-'));
  const store = new SnapshotStore(directory, () => {});
  const journal = new Journal(join(directory, 'journal'), () => {}, assert.unreachable);
  for (const [id, publisher] of [
    ['out', 'http://gateway'],
    ['in', null],
  ] as const) {
    const record = await attaching(id);
    Object.assign(record.snapshot.context, { bootId: 'another', publisher });
    writeFileSync(join(directory, `${id}.json`), JSON.stringify(record));
  }
  const { containers, unreadable, stale } = recover({ store, journal, machine, bootId: 'boot' });
  assert.equal([containers, unreadable], [[], []]);
  const ports = [resolve({ host_port: 8080, container_port: 80 })];
  assert.equal(stale, [{ publisher: 'http://gateway', ports }]);
});

recovery.run();

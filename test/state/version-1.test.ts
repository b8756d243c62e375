/**
 * Records of version 1, as that version's machine wrote them in each of its states, each with the world it was in. When
 * they are brought to version 2 and everything succeeds, the container comes to rest with exactly what its context
 * says, and torn down then or at once it leaves nothing.
 *
 * version-1.jsonl: per line {record, worlds}. The worlds are those of test/harness/world.ts: where an effect was in
 * flight, one in which it has not happened and one in which it has.
 */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { finish, recoverOf, resume } from '../harness/container-driver.ts';
import { VARIANTS } from '../harness/container-variants.ts';
import { assertNone } from '../harness/machines.ts';
import { settled, World } from '../harness/world.ts';
import { containerMachine } from '../../machines/container/container.ts';
import { recover } from '../../service/records/recovery.ts';
import { ContainerContext } from '../../state/container.ts';
import { Journal } from '../../state/files/journal.ts';
import { CONTAINER_MIGRATIONS, CONTAINER_VERSION, migrate } from '../../state/versions/migrations.ts';
import { SnapshotStore } from '../../state/files/store.ts';

interface Attachment {
  network: string;
  hostLink: string;
  defaultMetric: number;
  addresses: { address: string }[];
}

interface Before {
  attachments: Attachment[];
  operation: { type: string };
  change: Change | null;
}

interface Line {
  record: { snapshot: { value: unknown; context: Before } };
  worlds: Record<'namespaces' | 'links' | 'elements', [string, never][]>[];
}

interface Change {
  networks: Record<string, object>;
}

interface Migrated {
  value: unknown;
  context: ContainerContext;
}

const LINES = readFileSync(resolve(import.meta.dirname, '../../../test/state/version-1.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Line);

const migrated = (record: unknown): Migrated | null =>
  (migrate(structuredClone(record), CONTAINER_MIGRATIONS, CONTAINER_VERSION)?.snapshot as Migrated | undefined) ?? null;

const nameOf = (value: unknown): string => JSON.stringify(value).replace(/[{}"]/g, '').replaceAll(':', '.');

/**
 * Goes on from a record, torn down at once or after it has come to rest; returns where it came to rest, and what is
 * wrong.
 */
async function goOn(snapshot: Migrated, before: Line['worlds'][number], tornDown: boolean) {
  const world = new World(false);
  for (const kind of ['namespaces', 'links', 'elements'] as const) {
    for (const [key, thing] of before[kind]) world[kind].set(key, thing);
  }
  const run = resume(VARIANTS['own']!, snapshot, world);
  // As in Shared.recover(): what the shared machines read from the record.
  const { attachments, ports, change } = snapshot.context;
  for (const { network } of attachments) run.granted.add(network);
  for (const { hostPort } of [...ports, ...(change?.ports ?? [])]) run.granted.add(`port ${hostPort}`);
  await settled();
  if (!tornDown) await recoverOf(run);
  const rest = nameOf(run.actor.getSnapshot().value);
  const attached = run.actor.getSnapshot().context.attachments.map(({ network }) => network);
  const elements = [...world.elements].map(([key, { to }]) => `${key} -> ${to}`);
  await finish(run);
  return { rest, attached, elements, objections: run.objections };
}

const version1 = suite('records of version 1');

version1('there is a record of each state', () => {
  const states = new Set(LINES.map(({ record }) => nameOf(record.snapshot.value).split('.')[0]));
  const all = [
    'abandoning',
    'configuring',
    'connecting',
    'created',
    'disconnecting',
    'draining',
    'failed',
    'publishing',
    'releasing',
    'reloading',
    'rollingBack',
    'tearingDown',
    'teardownFailed',
    'unpublishing',
    'up',
  ];
  assert.equal([...states].map(String).toSorted(), all.toSorted());
});

version1('a record at rest stays at rest', () => {
  for (const { record } of LINES) {
    const was = nameOf(record.snapshot.value);
    if (['created', 'up', 'draining', 'releasing', 'teardownFailed'].includes(was)) {
      assert.is(nameOf(migrated(record)?.value), was);
    }
  }
});

version1('a start loads the records', () => {
  const directory = mkdtempSync(join(tmpdir(), 'version-1-'));
  const store = new SnapshotStore(directory, () => {});
  const journal = new Journal(join(directory, 'journal'), () => {}, assert.unreachable);
  for (const { record } of LINES) {
    writeFileSync(join(directory, 'c1.json'), JSON.stringify(record));
    const { containers } = recover({ store, journal, machine: containerMachine, bootId: 'boot' });
    assert.is(containers.length, migrated(record) === null ? 0 : 1, nameOf(record.snapshot.value));
  }
});

version1('each record goes on to its end, and leaves nothing', async () => {
  const objections: string[] = [];
  let refused = 0;
  for (const { record, worlds } of LINES) {
    const was = `${nameOf(record.snapshot.value)} (${record.snapshot.context.operation.type})`;
    const snapshot = migrated(record);
    if (snapshot === null) {
      refused++;
      continue;
    }
    const { success, error } = ContainerContext.safeParse(snapshot.context);
    if (!success) objections.push(`${was}: ${error.message}`);
    for (const world of worlds) {
      for (const tornDown of [false, true]) {
        const { rest, attached, objections: wrong } = await goOn(structuredClone(snapshot), world, tornDown);
        objections.push(...wrong.map((text) => `${was} -> ${rest}: ${text}`));
        // Whatever was under way, its networks are not attached in the end: an addition is undone, a disconnect
        // finished.
        const { change } = record.snapshot.context;
        const still = attached.filter((network) => network in (change?.networks ?? {}));
        if (rest === 'up' && still.length > 0) objections.push(`${was} -> ${rest}: still attached to ${still.join()}`);
      }
    }
  }
  assertNone(objections);
  assert.ok(refused < LINES.length / 10, `${refused} of ${LINES.length} refused`);
});

/** Up, with two networks and a port that leads to the first, which in version 2 is the second to lead out. */
function crossed(state: string): Line {
  const line = LINES.find(
    ({ record: { snapshot } }) =>
      nameOf(snapshot.value).startsWith(state) &&
      snapshot.context.attachments.length === 2 &&
      (snapshot.context as unknown as ContainerContext).ports.length === 1 &&
      snapshot.context.attachments.every(({ network }) => network !== 'inner'),
  );
  const copy = structuredClone(line!);
  const [first, second] = copy.record.snapshot.context.attachments;
  first!.defaultMetric = 200;
  second!.defaultMetric = 100;
  return copy;
}

version1('ports lead where version 2 leads them', async () => {
  const { record, worlds } = crossed('up');
  const to = record.snapshot.context.attachments[1]!.addresses[0]!.address;
  assert.ok(worlds.every((world) => !JSON.stringify(world.elements).includes(to)));
  const { rest, elements, objections } = await goOn(migrated(record)!, worlds[0]!, false);
  assert.is(rest, 'up');
  assert.equal(elements, [`4 tcp *:8080 -> ${to}:80`]);
  assert.equal(objections, []);
});

version1('an addition under way whose ports would lead elsewhere is refused', () => {
  assert.is(migrated(crossed('connecting').record), null);
});

version1('a record of no version 1 is refused', () => {
  for (const snapshot of [null, 'text', {}, { value: 'up' }, { value: 7, context: { attachments: [], ports: [] } }]) {
    const record = { machine: 'container', version: '1', snapshot };
    const made = migrated(record);
    assert.ok(made === null || !ContainerContext.safeParse(made.context).success, JSON.stringify(snapshot));
  }
});

version1.run();

/**
 * The snapshot store on a real file system, and on one that is full: what a commit promises is in the file when it
 * resolves, and what could not be written is neither lost nor counted as written.
 */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DefinitionStore } from '../../state/files/definitions.ts';
import { FaultError } from '../../state/faults.ts';
import { SnapshotStore } from '../../state/files/store.ts';
import { definition } from '../harness/fixtures.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const scratch = () => mkdtempSync(join(tmpdir(), 'store-'));
const read = (directory: string, id: string): unknown =>
  JSON.parse(readFileSync(join(directory, `${id}.json`), 'utf8'));

function fresh(): { directory: string; store: SnapshotStore; passed: string[] } {
  const directory = join(scratch(), 'deep', 'containers');
  const passed: string[] = [];
  return { directory, store: new SnapshotStore(directory, (name) => passed.push(name)), passed };
}

/** A file system of a few pages, unmounted at the end. */
async function onTiny(pages: number, body: (directory: string) => Promise<void>): Promise<void> {
  const directory = scratch();
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${pages * 4096}`, 'tmpfs', directory]);
  try {
    await body(directory);
  } finally {
    execFileSync('umount', [directory]);
  }
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'none';
  } catch (error) {
    return error instanceof FaultError ? error.fault.code : String(error);
  }
}

const store = suite('snapshot store');

store('a commit resolves after the file is there, with the state at the time of writing', async () => {
  const { directory, store: snapshots, passed } = fresh();
  let state = 'before';
  const written: string[] = [];
  snapshots.touch('a', { read: () => ({ state }), written: () => written.push(state) });
  const committed = snapshots.commit('a');
  assert.not(existsSync(join(directory, 'a.json')));
  state = 'after';
  await committed;
  assert.equal(read(directory, 'a'), { state: 'after' });
  assert.equal(written, ['after']);
  const name = basename(directory);
  assert.equal(passed, [`${name}.write:before`, `${name}.write:written`, `${name}.write:after`]);
});

store('one turn writes all changed records, and no others', async () => {
  const { directory, store: snapshots, passed } = fresh();
  for (const id of ['a', 'b', 'c']) snapshots.touch(id, { read: () => id });
  await Promise.all([snapshots.commit('a'), snapshots.commit('b')]);
  assert.equal(readdirSync(directory).sort(), ['a.json', 'b.json', 'c.json']);
  passed.length = 0;
  await snapshots.commit('a');
  await snapshots.commit('unknown');
  assert.equal(passed, []);
});

store('a change during the commit is in the next one', async () => {
  const { directory, store: snapshots } = fresh();
  let state = 1;
  snapshots.touch('a', { read: () => state });
  await snapshots.commit('a');
  state = 2;
  snapshots.touch('a', { read: () => state });
  assert.is(read(directory, 'a'), 1);
  await snapshots.commit('a');
  assert.is(read(directory, 'a'), 2);
});

store('a removed record is gone, also from pending writes', async () => {
  const { directory, store: snapshots } = fresh();
  snapshots.touch('a', { read: () => 1 });
  await snapshots.commit('a');
  snapshots.touch('a', { read: () => 2 });
  const committed = snapshots.commit('a');
  snapshots.remove('a');
  snapshots.remove('never there');
  await committed;
  assert.equal(readdirSync(directory), []);
});

store('load returns whole files, ignores temporary ones, and sets unreadable ones aside', () => {
  const { directory, store: snapshots } = fresh();
  writeFileSync(join(directory, 'a.json'), '{"x":1}');
  writeFileSync(join(directory, 'b.json.tmp'), '{"x":');
  writeFileSync(join(directory, 'c.json'), '{"x":');
  writeFileSync(join(directory, 'd.json.unreadable'), 'old');
  writeFileSync(join(directory, 'README'), 'not ours');
  mkdirSync(join(directory, 'e.json'));
  const { records, unreadable } = snapshots.load();
  assert.equal(records, [{ id: 'a', record: { x: 1 } }]);
  assert.equal(
    unreadable.sort(),
    ['c', 'e'].map((id) => join(directory, `${id}.json.unreadable`)),
  );
  assert.equal(readdirSync(directory).sort(), [
    'README',
    'a.json',
    'c.json.unreadable',
    'd.json.unreadable',
    'e.json.unreadable',
  ]);
  assert.is(readFileSync(join(directory, 'c.json.unreadable'), 'utf8'), '{"x":');
});

store(
  'a full disk: the commit is refused, the old file is whole, and the record is written once there is room',
  async () => {
    await onTiny(4, async (directory) => {
      const snapshots = new SnapshotStore(directory, () => {});
      snapshots.touch('a', { read: () => 'old' });
      await snapshots.commit('a');
      writeFileSync(join(directory, 'ballast'), 'x'.repeat(statfsSync(directory).bavail * 4096));
      snapshots.touch('a', { read: () => 'new' });
      assert.is(await codeOf(snapshots.commit('a')), 'STATE_UNWRITABLE');
      assert.is(read(directory, 'a'), 'old');
      assert.is(await codeOf(snapshots.commit('a')), 'STATE_UNWRITABLE', 'it must not be taken for written');
      rmSync(join(directory, 'ballast'));
      assert.is(await codeOf(snapshots.commit('a')), 'none');
      assert.is(read(directory, 'a'), 'new');
    });
  },
);

store('a nearly full disk: half a record never replaces a whole one', async () => {
  await onTiny(8, async (directory) => {
    const snapshots = new SnapshotStore(directory, () => {});
    snapshots.touch('a', { read: () => 'old' });
    await snapshots.commit('a');
    // One page is left: write(2) writes that much, and reports it instead of failing.
    writeFileSync(join(directory, 'ballast'), 'x'.repeat((statfsSync(directory).bavail - 1) * 4096));
    snapshots.touch('a', { read: () => 'n'.repeat(10_000) });
    const answer = await codeOf(snapshots.commit('a'));
    assert.is(readFileSync(join(directory, 'a.json'), 'utf8'), '"old"');
    assert.is(answer, 'STATE_UNWRITABLE');
  });
});

store('a nearly full disk: half a network definition never replaces a whole one', async () => {
  await onTiny(8, (directory) => {
    const definitions = new DefinitionStore(directory, () => {});
    const labels = (text: string) => definition('web', '10.89.0.0/24', '10.89.0.1', { labels: { text } });
    definitions.save(labels('old'));
    writeFileSync(join(directory, 'ballast'), 'x'.repeat((statfsSync(directory).bavail - 1) * 4096));
    assert.throws(() => definitions.save(labels('n'.repeat(10_000))));
    assert.is(definitions.load().definitions[0]?.labels['text'], 'old');
    return Promise.resolve();
  });
});

store('a record that cannot be written does not block the others', async () => {
  const { directory, store: snapshots } = fresh();
  const broken = () => {
    throw new Error('a defect');
  };
  snapshots.touch('broken', { read: broken });
  snapshots.touch('whole', { read: () => 1 });
  const answers = await Promise.all([codeOf(snapshots.commit('broken')), codeOf(snapshots.commit('whole'))]);
  assert.is(read(directory, 'whole'), 1);
  assert.equal(answers, ['STATE_UNWRITABLE', 'none']);
});

store('network definitions are whole, under their own name, and others are set aside', () => {
  const directory = scratch();
  const definitions = new DefinitionStore(directory, () => {});
  const web = definition('web', '10.89.0.0/24', '10.89.0.1');
  definitions.save(web);
  definitions.save({ ...web, labels: { again: '1' } });
  writeFileSync(join(directory, 'other.json'), JSON.stringify(web));
  writeFileSync(join(directory, 'half.json'), '{');
  const { definitions: found, unreadable } = new DefinitionStore(directory, () => {}).load();
  assert.equal(found, [{ ...web, labels: { again: '1' } }]);
  assert.equal(
    unreadable.sort(),
    ['half', 'other'].map((name) => join(directory, `${name}.json.unreadable`)),
  );
  definitions.remove('web');
  definitions.remove('web');
  assert.equal(definitions.load(), { definitions: [], previous: [], unreadable: [] });
});

store('network definitions: the old one stays beside the new until the update is settled', () => {
  const directory = scratch();
  const definitions = new DefinitionStore(directory, () => {});
  const web = definition('web', '10.89.0.0/24', '10.89.0.1');
  const next = { ...web, options: { mtu: '1400' } };
  definitions.save(web);
  definitions.begin(web, next);
  assert.equal(new DefinitionStore(directory, () => {}).load(), {
    definitions: [next],
    previous: [web],
    unreadable: [],
  });
  definitions.settle('web', next);
  definitions.settle('web', next);
  assert.equal(new DefinitionStore(directory, () => {}).load(), { definitions: [next], previous: [], unreadable: [] });
  // On the way back: the kernel may have the new definition.
  definitions.begin(next, web);
  definitions.goBack(next, web);
  assert.equal(new DefinitionStore(directory, () => {}).load(), {
    definitions: [next],
    previous: [web],
    unreadable: [],
  });
  definitions.settle('web', next);
  assert.equal(new DefinitionStore(directory, () => {}).load(), { definitions: [next], previous: [], unreadable: [] });
  definitions.begin(next, web);
  definitions.remove('web');
  assert.equal(definitions.load(), { definitions: [], previous: [], unreadable: [] });
});

store.run();

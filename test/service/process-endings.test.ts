/**
 * Every operation ends once, whatever happens to its container: at rest, gone, restarted, or overtaken by the next
 * operation.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { endings } from '../../service/containers/process-endings.ts';
import type { ContainerSnapshot } from '../../service/records/snapshot.ts';
import { FAULT } from '../harness/fixtures.ts';

/** The part of a snapshot that the code reads. */
function at(what: 'busy' | 'rest' | 'gone', n: number, type: string, fault: typeof FAULT | null = null) {
  const context = { operation: { n, type, network: null }, fault, leftovers: [] };
  const status = what === 'gone' ? 'done' : 'active';
  return { status, hasTag: () => what === 'rest', context } as unknown as ContainerSnapshot;
}

async function told(began: boolean, first: ContainerSnapshot, ...snapshots: ContainerSnapshot[]): Promise<string[]> {
  const ends: string[] = [];
  const next = endings('a', first, began, (ending, rests) => {
    const code = ending.type === 'failed' ? ` ${ending.fault.code}` : '';
    if ('event' in ending) ends.push(`${ending.type} ${ending.event}${code}${rests ? '' : ' ...'}`);
  });
  for (const snapshot of snapshots) {
    next(snapshot);
    await Promise.resolve();
  }
  return ends;
}

const ends = suite('endings');
const create = at('busy', 1, 'create');

ends('an operation ends once, at rest', async () => {
  const rest = at('rest', 1, 'create');
  assert.equal(await told(true, create, create, rest, rest), ['done create']);
});

ends('an operation ends also when nothing is left', async () => {
  const rest = at('rest', 1, 'create');
  assert.equal(await told(true, create, rest, at('busy', 2, 'teardown'), at('gone', 2, 'teardown')), [
    'done create',
    'done teardown',
  ]);
  assert.equal(await told(true, create, at('gone', 1, 'create', FAULT)), ['failed create KERNEL']);
});

ends('an overtaken operation ends as superseded', async () => {
  assert.equal(
    await told(true, create, at('busy', 2, 'teardown'), at('busy', 3, 'teardown'), at('rest', 3, 'teardown')),
    ['failed create SUPERSEDED ...', 'failed teardown SUPERSEDED ...', 'done teardown'],
  );
});

ends('an operation ends after a restart if it had not before', async () => {
  const rest = at('rest', 1, 'create');
  assert.equal(await told(false, rest, rest, at('busy', 2, 'configure'), at('rest', 2, 'configure')), [
    'done configure',
  ]);
  assert.equal(await told(false, create, rest), ['done create']);
});

ends('an operation ends under the name that was requested', async () => {
  assert.equal(await told(false, at('rest', 4, 'teardown'), at('rest', 5, 'resume')), ['done create']);
});

ends.run();

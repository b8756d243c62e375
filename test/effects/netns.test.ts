/**
 * The pin of a container's namespace, on the real kernel: it is made again after a crash, adopted, never in the place
 * of something else, and never of another process than the intended one.
 */
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FaultError } from '../../state/faults.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { ensureNamespace, removeNamespace } from '../../effects/namespaces/netns.ts';
import type { NamespaceInput } from '../../machines/container/container-inputs.ts';
import { isKernelError, openOutside, processStartTime } from '../../native/index.ts';
import { endSleepers, sleeper } from '../harness/inside.ts';
import { mountsAt, openDescriptors, scratch } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const outside = openOutside();
/** A kernel without the watch on links, which would keep the test from ending. */
const kernel = { outside: () => ({ kernel: outside }), listening: () => outside } as unknown as Kernel;
const [ensure, remove] = [ensureNamespace(kernel, (use) => use(null)), removeNamespace(kernel)];
const directory = scratch();
const input = (name: string, source: NamespaceInput['source'] = { mode: 'new' }): NamespaceInput => ({
  owner: 'a:1',
  outside: null,
  path: join(directory, name),
  source,
});

/** The code of the fault, or the errno of the kernel. */
async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'done';
  } catch (error) {
    if (error instanceof FaultError) return error.fault.code;
    return isKernelError(error) ? error.code : String(error);
  }
}

const pins = suite('pins');

pins.after(endSleepers);
pins.after.each(() => {
  assert.equal(readdirSync(directory), []);
});

pins('ensuring a pin twice gives the same namespace, and removing it twice succeeds', async () => {
  const made = await ensure(input('one'));
  assert.equal(await ensure(input('one')), made);
  assert.is(mountsAt(input('one').path), 1);
  await remove(input('one'));
  await remove(input('one'));
});

pins('a placeholder that a crash left is replaced', async () => {
  writeFileSync(input('one').path, '');
  const made = await ensure(input('one'));
  assert.equal(await ensure(input('one')), made);
  await remove(input('one'));
});

pins('a foreign file in place of a pin stays, and is no namespace', async () => {
  const { path } = input('one');
  writeFileSync(path, 'precious');
  assert.is(await refusal(ensure(input('one'))), 'EINVAL');
  assert.is(await refusal(remove(input('one'))), 'EINVAL');
  assert.is(readFileSync(path, 'utf8'), 'precious');
  writeFileSync(path, '');
  await remove(input('one'));
});

pins("opening a process's namespace opens that of the intended process, or fails", async () => {
  const child = await sleeper();
  const pid = child.pid ?? 0;
  const startTime = processStartTime(pid);
  const descriptors = openDescriptors();
  const made = await ensure(input('one', { mode: 'process', process: { pid, startTime } }));
  assert.not.equal(made, outside.identity());
  // The same number, another process.
  const other = input('two', { mode: 'process', process: { pid, startTime: startTime + 1 } });
  assert.is(await refusal(ensure(other)), 'NO_SUCH_PROCESS');
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
  const late = input('two', { mode: 'process', process: { pid, startTime } });
  assert.is(await refusal(ensure(late)), 'NO_SUCH_PROCESS');
  assert.not.ok(existsSync(late.path));
  // The pin outlives the process.
  assert.equal(await outside.netnsIdentify(input('one').path), made);
  await remove(input('one'));
  assert.ok(openDescriptors() <= descriptors);
});

pins.run();

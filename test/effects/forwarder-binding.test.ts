/** What the forwarder is bound to: ports end with the process, or with the descriptor, that they are bound to. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bindingOf, cannotBind, hasEnded, isBound, isBoundTo } from '../../effects/forwarder/forwarder-binding.ts';
import type { Answer, Refusal } from '../../effects/forwarder/forwarder-client.ts';
import { processStartTime } from '../../native/index.ts';
import type { Tie } from '../../state/container.ts';
import type { FaultError } from '../../state/faults.ts';

const binding = suite('binding of the forwarder');

const own = { pid: process.pid, startTime: processStartTime(process.pid) };
const alive: Tie = { process: own, exit: null };
const ended: Tie = { process: { ...own, startTime: own.startTime + 1 }, exit: null };
const exit = { holder: own, fd: 1_000_000, kind: 'pipe' as const, dev: 1, ino: 2, process: null };
/** Nobody has this descriptor. */
const closed: Tie = { process: null, exit };

binding('is right when it is to these processes and no others', async () => {
  const { to } = await bindingOf('a:1', [alive]);
  assert.equal(to, [{ pid: own.pid, start_time: own.startTime }]);
  assert.ok(isBoundTo(to, [alive]));
  assert.ok(isBoundTo([], []));
  assert.not.ok(isBoundTo(to, [ended]), 'that of another process, which has its pid');
  assert.not.ok(isBoundTo(to, []));
  assert.not.ok(isBoundTo([], [alive]));
});

binding('is to descriptors by what they are, not by where they were taken from', async () => {
  const listed = [{ exit: { dev: 1, ino: 2 } }];
  assert.ok(isBound(listed));
  assert.ok(isBoundTo(listed, [closed]));
  assert.ok(isBoundTo(listed, [{ process: null, exit: { ...exit, fd: 4 } }]));
  assert.not.ok(isBoundTo(listed, [{ process: null, exit: { ...exit, ino: 3 } }]));
  assert.not.ok(isBoundTo(listed, [{ process: own, exit }]));
  for (const wrong of [{}, { exit: {} }, { exit: { dev: 1 } }, { pid: 1 }, { pid: 1, start_time: 2, exit: 3 }, null]) {
    assert.not.ok(isBound([wrong]), JSON.stringify(wrong));
  }
  // One that has ended is left out, and nothing is bound to nothing by that.
  assert.equal((await bindingOf('a:1', [closed, alive])).to.length, 1);
  const fault = await bindingOf('a:1', [closed]).catch((error: unknown) => error);
  assert.is((fault as FaultError).fault.code, 'NO_SUCH_PROCESS');
  assert.ok(hasEnded([closed, ended]));
});

binding('cannot be told of a forwarder that does not say it', () => {
  assert.ok(isBoundTo(undefined, [alive]));
  assert.ok(isBoundTo(undefined, []));
});

binding('has ended with the last process, and not where there was none', () => {
  assert.not.ok(hasEnded([]));
  assert.ok(hasEnded([ended]));
  assert.not.ok(hasEnded([ended, alive]));
});

binding('cannot be had where the forwarder does not know the word, or does not see a process that is there', () => {
  const answer = (error: Refusal): Answer => ({ ok: false, error });
  assert.ok(cannotBind(answer({ message: 'not a request: bind' }), [ended]));
  for (const errno of ['ESRCH', 'EPERM', 'EACCES']) {
    assert.ok(cannotBind(answer({ message: 'bind', errno }), [alive]), errno);
    assert.not.ok(cannotBind(answer({ message: 'bind', errno }), [ended]), `${errno}: it is really gone`);
    assert.not.ok(cannotBind(answer({ message: 'bind', errno, host_port: 80 }), [alive]), `${errno} of a port`);
  }
  assert.not.ok(cannotBind(answer({ message: 'bind', errno: 'EINVAL' }), [alive]));
});

binding.run();

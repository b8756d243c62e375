/** The list of processes that the forwarder is bound to: ports end with the process that they are bound to. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bindingOf, cannotBind, hasEnded, isBoundTo } from '../../effects/forwarder/forwarder-binding.ts';
import type { Answer, Refusal } from '../../effects/forwarder/forwarder-client.ts';
import { processStartTime } from '../../native/index.ts';

const binding = suite('binding of the forwarder');

const alive = { pid: process.pid, startTime: processStartTime(process.pid) };
const ended = { ...alive, startTime: alive.startTime + 1 };

binding('is right when it is to these processes and no others', () => {
  const { to } = bindingOf('a:1', [alive]);
  assert.equal(to, [{ pid: alive.pid, start_time: alive.startTime }]);
  assert.ok(isBoundTo(to, [alive]));
  assert.ok(isBoundTo([], []));
  assert.not.ok(isBoundTo(to, [ended]), 'that of another process, which has its pid');
  assert.not.ok(isBoundTo(to, []));
  assert.not.ok(isBoundTo([], [alive]));
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

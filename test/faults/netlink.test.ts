// proving only: 3600
/**
 * The n-th netlink request is refused, its answer is lost, its dump interrupted, in every verb of a container's life.
 */
import { suite } from 'uvu';
import { FaultLife } from '../harness/fault-life.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort } from '../harness/proof.ts';

requirePrivateNamespace();

const test = suite('a life in which netlink fails');
const life = new FaultLife();

test.before(() => life.start());
test.after(() => life.stop());

test('the kernel or the system call may refuse a request', async () => {
  await life.go(
    'netlink requests refused',
    [
      { kind: 'request', action: 'fail', errno: 'ENOMEM' },
      { kind: 'request', action: 'fail', errno: 'EPERM' },
      { kind: 'request', action: 'fail', errno: 'EBUSY' },
      { kind: 'request', action: 'break', errno: 'ENOBUFS' },
    ],
    effort('refused', 760, 1),
  );
});

test('the kernel may do a request whose acknowledgement is lost', async () => {
  await life.go('acknowledgements lost', [{ kind: 'request', action: 'lose' }], effort('lost', 260, 1));
});

test('an answer may fail to be received', async () => {
  await life.go(
    'netlink answers not received',
    [
      { kind: 'answer', action: 'fail', errno: 'ENOBUFS' },
      { kind: 'answer', action: 'fail', errno: 'ENOMEM' },
    ],
    effort('answers', 540, 1),
  );
});

test('a dump may be interrupted by a change', async () => {
  await life.go(
    'dumps interrupted',
    [
      { kind: 'answer', action: 'interrupt', harmless: true },
      { kind: 'answer', action: 'interrupt', lasting: true },
    ],
    effort('interrupted', 540, 1),
  );
});

test('announcements may be lost', async () => {
  await life.go(
    'announcements lost',
    [{ kind: 'news', action: 'fail', errno: 'ENOBUFS', harmless: true }],
    effort('news', 180, 1),
  );
});

test.run();

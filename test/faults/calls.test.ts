// slow: 40 s, each call fails once, each time in a life of its own
// proving: 3600
/**
 * The n-th call for a namespace, a mount, a socket or a switch of the kernel fails, in every verb of a container's
 * life; or only n descriptors are left, whatever they are for.
 */
import { suite } from 'uvu';
import { FaultLife } from '../harness/fault-life.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort } from '../harness/proof.ts';

requirePrivateNamespace();

const test = suite('a life in which calls to the kernel fail');
const life = new FaultLife();

test.before(() => life.start());
test.after(() => life.stop());

test('switch calls that fail leave a named state and no leak', async () => {
  await life.go(
    'switches refused',
    [
      { kind: 'switch', action: 'fail', errno: 'EACCES' },
      { kind: 'switch', action: 'fail', errno: 'EIO' },
    ],
    effort('switches', 5, 1),
  );
});

test('namespace and mount calls that fail leave a named state and no leak', async () => {
  await life.go(
    'namespace calls failed',
    [
      { kind: 'namespace', action: 'fail', errno: 'ENOMEM' },
      { kind: 'namespace', action: 'fail', errno: 'EPERM' },
    ],
    effort('namespaces', 220, 1),
    undefined,
    // A thread that cannot return to its own namespace must not go on in a foreign one (native/node/worker.h).
    /^setns/,
  );
});

test('socket calls that fail leave a named state and no leak', async () => {
  await life.go(
    'socket calls failed',
    [
      { kind: 'socket', action: 'fail', errno: 'ENOMEM' },
      { kind: 'socket', action: 'fail', errno: 'EMFILE' },
    ],
    effort('sockets', 220, 1),
  );
});

test('a shortage of descriptors leaves a named state and no leak', async () => {
  const short = { kind: 'descriptors', action: 'fail', errno: 'EMFILE' } as const;
  await life.go('descriptors short', [short, { ...short, kill: true }], effort('descriptors', 82, 1));
});

test('slow calls leave a named state and no leak', async () => {
  await life.go(
    'slow calls',
    [
      { kind: 'request', action: 'delay', ms: 300, harmless: true },
      { kind: 'store', action: 'delay', ms: 100, harmless: true },
      { kind: 'namespace', action: 'delay', ms: 300, harmless: true },
    ],
    effort('slow', 580, 1),
  );
});

test.run();

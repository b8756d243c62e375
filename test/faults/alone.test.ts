// slow: 40 s, each call fails once, each time in a life of its own
// proving only: 3600
/**
 * The n-th call fails in the life of a container that is the only one: the bridge, the table, the forwarding switches
 * and the file that records what was found are made for it and go with it. Beside a witness none of that happens.
 */
import { suite } from 'uvu';
import { on, port } from '../harness/daemon.ts';
import { FaultLife } from '../harness/fault-life.ts';
import { event } from '../harness/fault-test.ts';
import type { Strike } from '../harness/faults.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort } from '../harness/proof.ts';

requirePrivateNamespace();

const test = suite('a life alone');
const life = new FaultLife();
const id = 'life';
const LIFE = [
  event({ type: 'create', id, networks: on('back'), port_mappings: [port(8081, 80)] }),
  event({ type: 'configure', id }),
  event({ type: 'teardown', id }, 'NO_SUCH_CONTAINER'),
];

test.before(() => life.startAlone());
test.after(() => life.stop());

const FAULTS: Record<string, [strikes: Strike[], few: number, mayEnd?: RegExp]> = {
  'switches refused': [
    [
      { kind: 'switch', action: 'fail', errno: 'EACCES' },
      { kind: 'switch', action: 'after', errno: 'EIO' },
    ],
    14,
  ],
  'netlink requests refused': [
    [
      { kind: 'request', action: 'fail', errno: 'ENOMEM' },
      { kind: 'request', action: 'break', errno: 'ENOBUFS' },
    ],
    25,
  ],
  'acknowledgements lost': [[{ kind: 'request', action: 'lose' }], 18],
  'netlink answers not received': [[{ kind: 'answer', action: 'fail', errno: 'ENOBUFS' }], 20],
  'announcements lost': [[{ kind: 'news', action: 'fail', errno: 'ENOBUFS', harmless: true }], 1],
  'file operations failed': [
    [
      { kind: 'store', action: 'fail', errno: 'EIO' },
      { kind: 'store', action: 'after', errno: 'EIO' },
      { kind: 'store', action: 'fail', errno: 'EROFS', lasting: true },
      { kind: 'store', action: 'full', kill: true },
    ],
    30,
  ],
  // A thread that cannot return to its own namespace must not go on in a foreign one (native/node/worker.h).
  'namespace calls failed': [[{ kind: 'namespace', action: 'fail', errno: 'ENOMEM' }], 12, /^setns/],
  'socket calls failed': [[{ kind: 'socket', action: 'fail', errno: 'EMFILE' }], 12],
  'descriptors short': [[{ kind: 'descriptors', action: 'fail', errno: 'EMFILE' }], 17],
};

for (const [what, [strikes, few, mayEnd]] of Object.entries(FAULTS)) {
  test(what, () => life.go(`${what}, alone`, strikes, effort('alone', few, 1), LIFE, mayEnd));
}

test.run();

// slow: 40 s, slirp4netns is started anew for each call that fails
// proving only: 3600
/**
 * A container behind slirp4netns, whose ports the forwarder or slirp4netns itself carries: the n-th call that starts,
 * finds or signals a process fails, files cannot be written, descriptors are short. uplink-processes.test.ts covers the
 * processes themselves.
 */
import { suite } from 'uvu';
import { FaultLife } from '../harness/fault-life.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort } from '../harness/proof.ts';
import { UPLINK_LIVES } from '../harness/uplink-lives.ts';

requirePrivateNamespace();

const test = suite('a life behind a program');
const life = new FaultLife();

test.before(() => life.start());
test.after(() => life.stop());

for (const [handler, steps] of Object.entries(UPLINK_LIVES)) {
  test(`${handler}: a program may fail to be started, found or updated`, async () => {
    await life.go(
      `helper calls failed: ports of ${handler}`,
      [
        { kind: 'helper', action: 'fail', errno: 'EAGAIN' },
        { kind: 'helper', action: 'fail', errno: 'EMFILE' },
      ],
      effort('helpers', 74, 1),
      steps,
    );
  });

  test(`${handler}: a shortage of descriptors leaves a named state and no leak`, async () => {
    const short = { kind: 'descriptors', action: 'fail', errno: 'EMFILE' } as const;
    const strikes = [short, { ...short, fresh: true }]; // the program is probed once
    await life.go(`descriptors short: ports of ${handler}`, strikes, effort('descriptors', 194, 1), steps);
  });

  test(`${handler}: files may fail to be written`, async () => {
    await life.go(
      `file operations failed: ports of ${handler}`,
      [
        { kind: 'store', action: 'fail', errno: 'EIO' },
        { kind: 'store', action: 'full' },
      ],
      effort('files', 220, 1),
      steps,
    );
  });
}

test.run();

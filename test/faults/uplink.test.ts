// timeout: 300
// proving: 3600
/**
 * A container behind slirp4netns, whose ports the forwarder carries or slirp4netns itself: the n-th call that starts, finds
 * or signals a process fails, files cannot be written, and the processes are killed or hang at every moment, or somebody
 * else answers on their sockets.
 *
 * Guarantees: where the forwarder is not to be started with the first port, another container keeps one there: its ports
 * are back after each run, too.
 */
import { suite } from 'uvu';
import { on, port } from '../harness/daemon.ts';
import { event, type Step } from '../harness/fault-test.ts';
import { FaultLife } from '../harness/fault-life.ts';
import type { Strike } from '../harness/faults.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import {
  apiSocketsOf,
  forwardersOf,
  forwarderSocketsOf,
  Impostor,
  keepersOf,
  signalAll,
  uplinksOf,
} from '../harness/programs.ts';
import { effort } from '../harness/proof.ts';

requirePrivateNamespace();

const test = suite('a life behind a program');
const life = new FaultLife();
const { daemon } = life;
const id = 'life';

const behind = (...options: string[]): Step[] => [
  event({
    type: 'create',
    id,
    uplink: { program: 'slirp4netns', options },
    port_mappings: [port(8081, 80), port(8082, 53, { protocol: 'udp' })],
  }),
  event({ type: 'configure', id }),
  event({ type: 'publish', id, port_mappings: [port(8083, 83)] }),
  event({ type: 'reload', id }),
  event({ type: 'unpublish', id, port_mappings: [port(8083, 83)] }, 'NOT_PUBLISHED'),
  event({ type: 'teardown', id }, 'NO_SUCH_CONTAINER'),
];
const LIVES = { forwarder: behind(), slirp4netns: behind('port_handler=slirp4netns') };

test.before(() => life.start());
test.after(() => life.stop());

for (const [handler, steps] of Object.entries(LIVES)) {
  test(`${handler}: a program cannot be started, found or told`, async () => {
    await life.go(
      `helper calls failed: ports of ${handler}`,
      [
        { kind: 'helper', action: 'fail', errno: 'EAGAIN' },
        { kind: 'helper', action: 'fail', errno: 'EMFILE' },
      ],
      effort('helpers', 20, 1),
      steps,
    );
  });

  test(`${handler}: files cannot be written`, async () => {
    await life.go(
      `file operations failed: ports of ${handler}`,
      [
        { kind: 'store', action: 'fail', errno: 'EIO' },
        { kind: 'store', action: 'full' },
      ],
      effort('files', 60, 1),
      steps,
    );
  });
}

test('a container whose ports stay with the forwarder', async () => {
  await daemon.up('mate', { networks: on('front'), port_handler: 'forwarder', port_mappings: [port(9091, 91)] });
  life.again();
});

/** When there is something to take away: before a process is started, found or told, or a file is written. */
const MOMENTS = ['helper', 'store'] as const;
const during = (how: Pick<Strike, 'meanwhile' | 'mend'>): Strike[] =>
  MOMENTS.map((kind) => ({ kind, action: 'hold', ...how }));

function killed(pids: typeof uplinksOf): Strike[] {
  return during({ meanwhile: () => signalAll(pids(daemon), 'SIGKILL') });
}

function hung(pids: typeof uplinksOf): Strike[] {
  let stopped: number[] = [];
  return during({
    meanwhile: () => signalAll((stopped = pids(daemon)), 'SIGSTOP'),
    mend: () => signalAll(stopped, 'SIGCONT'),
  });
}

/** What is said on sockets, null for nothing. */
const ANSWERS = [
  '\0\xff{"\n',
  null,
  '',
  '{"ok":false,"error":{"message":7,"host_ip":null},"entries":[null],"return":[]}\n',
];

function answered(sockets: typeof apiSocketsOf): Strike[] {
  let impostor: Impostor | null = null;
  return ANSWERS.flatMap((answer) =>
    during({
      meanwhile: () => (impostor = new Impostor(sockets(daemon), answer)),
      mend: () => impostor?.end(),
    }),
  );
}

for (const [handler, steps] of Object.entries(LIVES)) {
  const carrier = handler === 'forwarder' ? [forwardersOf] : [];
  const who = [uplinksOf, keepersOf, ...carrier];

  test(`${handler}: the program, its keeper, or who carries its ports is killed`, async () => {
    await life.go(`processes killed: ports of ${handler}`, who.flatMap(killed), effort('kills', 60, 3), steps);
  });

  test(`${handler}: one of them hangs, and goes on later`, async () => {
    await life.go(`processes that hung: ports of ${handler}`, who.flatMap(hung), effort('hangs', 130, 11), steps);
  });

  test(`${handler}: somebody else answers on the socket, or nobody`, async () => {
    const sockets = handler === 'forwarder' ? forwarderSocketsOf : apiSocketsOf;
    await life.go(`sockets of an impostor: ports of ${handler}`, answered(sockets), effort('sockets', 170, 11), steps);
  });
}

test.run();

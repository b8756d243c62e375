// timeout: 300
// proving: 10800
/**
 * A container behind slirp4netns, whose ports the forwarder carries or slirp4netns itself: the processes are killed or hang
 * at every moment, or somebody else answers on their sockets.
 *
 * Guarantees: where the forwarder is not to be started with the first port, another container keeps one there: its ports
 * are back after each run, too.
 */
import { suite } from 'uvu';
import { on, port } from '../harness/daemon.ts';
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
import { UPLINK_LIVES } from '../harness/uplink-lives.ts';

requirePrivateNamespace();

const test = suite('a life behind a program that does not live');
const life = new FaultLife();
const { daemon } = life;

test.before(() => life.start());
test.after(() => life.stop());

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

for (const [handler, steps] of Object.entries(UPLINK_LIVES)) {
  const carrier = handler === 'forwarder' ? [forwardersOf] : [];
  const who = [uplinksOf, keepersOf, ...carrier];

  test(`${handler}: the program, its keeper, or who carries its ports is killed`, async () => {
    await life.go(`processes killed: ports of ${handler}`, who.flatMap(killed), effort('kills', 60, 1), steps);
  });

  test(`${handler}: one of them hangs, and goes on later`, async () => {
    await life.go(`processes that hung: ports of ${handler}`, who.flatMap(hung), effort('hangs', 130, 1), steps);
  });

  test(`${handler}: somebody else answers on the socket, or nobody`, async () => {
    const sockets = handler === 'forwarder' ? forwarderSocketsOf : apiSocketsOf;
    await life.go(`sockets of an impostor: ports of ${handler}`, answered(sockets), effort('sockets', 170, 1), steps);
  });
}

test.run();

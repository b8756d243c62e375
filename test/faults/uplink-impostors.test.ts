// proving only: 10800
/**
 * A container behind slirp4netns, whose ports the forwarder or slirp4netns itself carries: an impostor answers on the
 * sockets of the processes, or nobody does, at every moment.
 */
import { suite } from 'uvu';
import { FaultLife } from '../harness/fault-life.ts';
import type { Strike } from '../harness/faults.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { apiSocketsOf, forwarderSocketsOf, Impostor } from '../harness/programs.ts';
import { effort } from '../harness/proof.ts';
import { during, UPLINK_LIVES, withMate } from '../harness/uplink-lives.ts';

requirePrivateNamespace();

const test = suite('a life with impostors on the sockets');
const life = new FaultLife();
const { daemon } = life;

test.before(() => withMate(life));
test.after(() => life.stop());

/** The impostor's answers; null for none. */
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
  test(`${handler}: an impostor may answer on the socket, or nobody`, async () => {
    const sockets = handler === 'forwarder' ? forwarderSocketsOf : apiSocketsOf;
    await life.go(`sockets of an impostor: ports of ${handler}`, answered(sockets), effort('sockets', 600, 1), steps);
  });
}

test.run();

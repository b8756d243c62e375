// slow: 30 s, the DNS server is started anew for each call that fails
// proving only: 3600
/**
 * A container with names and files: the n-th call that starts, finds or signals the DNS server fails, and the server is
 * killed, hangs or is slow at every moment.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addressOf, on } from '../harness/daemon.ts';
import { event, type Step } from '../harness/fault-test.ts';
import { FaultLife } from '../harness/fault-life.ts';
import type { Strike } from '../harness/faults.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort } from '../harness/proof.ts';

requirePrivateNamespace();

const test = suite('a life with names');
const life = new FaultLife();
const id = 'life';
const LIFE: Step[] = [
  event({ type: 'create', id, networks: on('named'), files: true }),
  event({ type: 'configure', id }),
  event({ type: 'connect', id, network: 'hidden' }),
  event({ type: 'disconnect', id, network: 'named' }, 'NOT_CONNECTED'),
  event({ type: 'teardown', id }, 'NO_SUCH_CONTAINER'),
];

test.before(async () => {
  await life.start(
    { name: 'named', dns_enabled: true, ipv6_enabled: true },
    { name: 'hidden', dns_enabled: true, internal: true },
  );
});
test.after(() => life.stop());

test('the DNS server may fail to be started, found or updated', async () => {
  await life.go(
    'helper calls failed',
    [
      { kind: 'helper', action: 'fail', errno: 'EAGAIN' },
      { kind: 'helper', action: 'fail', errno: 'ENOMEM' },
    ],
    effort('helpers', 19, 1),
    LIFE,
  );
});

test('a shortage of descriptors leaves a named state and no leak', async () => {
  await life.go(
    'descriptors short beside a resolver',
    [{ kind: 'descriptors', action: 'fail', errno: 'EMFILE' }],
    effort('descriptors', 29, 1),
    LIFE,
  );
});

test("the DNS server's files may fail to be written", async () => {
  await life.go(
    'file operations failed beside a resolver',
    [
      { kind: 'store', action: 'fail', errno: 'ENOSPC' },
      { kind: 'store', action: 'full' },
    ],
    effort('zones', 180, 1),
    LIFE,
  );
});

/** Servers of this daemon, by their pid files. */
function servers(): number[] {
  return ['open', 'closed'].flatMap((part) => {
    try {
      return [Number(readFileSync(`${life.daemon.runDir}/dns/own/${part}/aardvark.pid`, 'utf8'))];
    } catch {
      return [];
    }
  });
}

function signal(name: NodeJS.Signals): void {
  for (const pid of servers()) {
    try {
      process.kill(pid, name);
    } catch {
      // it has ended
    }
  }
}

test('the DNS server may be killed, hang, or be slow', async () => {
  const { netns } = await life.daemon.up('mate', { networks: on('named', 'hidden') });
  life.again();
  const killed: Strike = { kind: 'request', action: 'hold', meanwhile: () => signal('SIGKILL'), fresh: true };
  const slow: Strike = {
    kind: 'request',
    action: 'hold',
    meanwhile: () => {
      signal('SIGSTOP');
      setTimeout(() => signal('SIGCONT'), 700);
    },
  };
  const hung: Strike = {
    kind: 'request',
    action: 'hold',
    meanwhile: () => signal('SIGSTOP'),
    mend: () => signal('SIGCONT'),
  };
  await life.go('servers killed, slow and hung', [killed, slow, hung], effort('servers', 380, 1), LIFE);
  signal('SIGCONT'); // the last one may have been slowed just now, and the next steps stop our own timer
  const mate = await life.daemon.get('/v1/containers/mate');
  const addresses = ['named', 'hidden'].map((network) => addressOf({ networks: mate.body.networks ?? {} }, network));
  const server = addresses[0]?.replace(/\d+$/, '1');
  const answer = execFileSync(
    'nsenter',
    [
      `--net=${netns.path}`,
      '--',
      'python3',
      '-c',
      `
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)
# Silence is asked again, as any stub resolver does: aardvark-dns 1.4 drops what comes while it reads names.
for last in (False, False, False, False, True):
    s.sendto(struct.pack('>6H', 7, 256, 1, 0, 0, 0) + b'\\x04mate\\x00\\x00\\x01\\x00\\x01', ('${server}', 53))
    try:
        print('.'.join(map(str, s.recv(512)[-4:])))
        break
    except TimeoutError:
        if last: raise`,
    ],
    { encoding: 'utf8' },
  );
  assert.ok(addresses.includes(answer.trim()), `names are answered in the end: ${answer}`);
  await life.daemon.down('mate');
});

test.run();

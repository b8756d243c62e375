// slow: 30 s, a daemon is used and killed for as long as it is told to
// proving only: 10800
/**
 * A daemon that is used and killed for a long time: containers come and go by the thousand, one in a hundred with a
 * kill -9 somewhere and one in ten behind slirp4netns, with a port of the forwarder, beside others that are up the
 * whole time with traffic through their published ports.
 *
 * Guarantees: not one message of the traffic is lost; the audit finds nothing; and when everything is torn down, a
 * census of links, addresses, routes, rules, mounts, tracked connections, processes, descriptors of the daemon and
 * files is what it was.
 * Limits: `npm run prove -- endurance cycles=100000 containers=1000` is the long form, `minutes=30` ends it then; its
 * last figures are in docs/reliability.md. Memory of a daemon that is never killed: memory.test.ts.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { AuditReport } from '../../state/answers/audit.ts';
import { on, port, TestDaemon } from '../harness/daemon.ts';
import { Echoes } from '../harness/echoes.ts';
import { assertComesBackTo, inspect, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';

requirePrivateNamespace();

const CYCLES = effort('cycles', 300, 5000);
/** The test runs as many of the cycles as fit in this time. */
const DEADLINE = performance.now() + effort('minutes', 4, 170) * 60_000;
const STANDING = effort('containers', 20, 200);
/** A bridge has 1,023 ports (BR_MAX_PORTS); some are for those that come and go. */
const PER_NETWORK = 500;
const AT_ONCE = 16;
const KILL_EVERY = 100;
/** Containers behind an uplink program. */
const UPLINK_EVERY = 10;
const FIRST_PORT = 20_000;
const ECHO_PORT = 7;

const daemon = new TestDaemon();

/** True while the daemon is down, for the containers that come and go. */
let serving: Promise<void> = Promise.resolve();
let kills = 0;
let done = 0;
let uplinks = 0;

test('containers come and go, the daemon dies now and then, and nothing is left behind', async () => {
  await daemon.start();
  const count = Math.ceil(STANDING / PER_NETWORK);
  for (let n = 0; n < count; n++) {
    await daemon.network({ name: `standing${n}`, subnets: [{ subnet: `10.${100 + n}.0.0/16` }] });
  }
  await daemon.network({ name: 'churn', ipv6_enabled: true });
  await churn(1, 2); // whatever the first container of a kind leaves for good, it leaves now
  await restart();
  await daemon.get('/v1/audit'); // it waits for teardowns that are still under way
  await sleep(500); // the connection that found the daemon serving is closed
  while (existsSync(`${daemon.runDir}/forwarder`)) await sleep(20); // it ends a second after its last port
  const before = census();

  const paths = await standing();
  const echoes = await Echoes.start(
    paths,
    ECHO_PORT,
    paths.map((_, i) => FIRST_PORT + i),
  );
  let messages = 0;
  try {
    await Promise.race([churn(3, CYCLES), echoes.lost]);
    const { body } = await daemon.get<AuditReport>('/v1/audit');
    assert.equal(body.findings, []);
  } finally {
    messages = await echoes.stop();
  }
  const ids = paths.map((_, i) => `s${i}`);
  while (ids.length > 0) await daemon.down(...ids.splice(0, 50));
  await assertComesBackTo(before, census, 20_000);
  await daemon.stop();
  proved('create/teardown cycles', done);
  proved('containers behind slirp4netns among them', uplinks);
  proved('kills among them', kills);
  proved('containers up all the time', STANDING);
  proved('messages through their published ports, none lost', messages);
});

test.after(async () => {
  await daemon.kill(); // left by a failed test
});

test.run();

/** Containers that stay, each with a published port; returns their namespaces. */
async function standing(): Promise<string[]> {
  const paths: string[] = [];
  for (let i = 0; i < STANDING; i++) {
    const { netns } = await daemon.up(`s${i}`, {
      networks: on(`standing${Math.floor(i / PER_NETWORK)}`),
      port_mappings: [port(FIRST_PORT + i, ECHO_PORT, { protocol: 'udp' })],
    });
    paths.push(netns.path ?? '');
  }
  return paths;
}

/** Starts so many containers, several at once, from number `first` on. */
async function churn(first: number, cycles: number): Promise<void> {
  let next = first;
  const worker = async () => {
    for (let n = next++; n < first + cycles && performance.now() < DEADLINE; n = next++) {
      await cycle(n);
      done++;
      if (n % UPLINK_EVERY === 1) uplinks++;
      if (n % KILL_EVERY === 0) {
        kills++;
        await restart(Math.random() * 20);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** A container goes up and is torn down; a request that the daemon's death interrupts is continued. */
async function cycle(n: number): Promise<void> {
  const id = `c${n}`;
  const port_mappings = n % 3 === 0 ? [port(0, 80), port(0, 53, { protocol: 'udp' })] : [];
  const up =
    n % UPLINK_EVERY === 1
      ? [
          { type: 'create', id, uplink: { program: 'slirp4netns' }, port_mappings: [port(0, 80)] },
          { type: 'configure', id },
        ]
      : [
          { type: 'create', id, networks: on('churn'), port_mappings },
          { type: 'configure', id },
          ...(n % 5 === 0 ? [{ type: 'connect', id, network: 'standing0' }] : []),
        ];
  const lines = `${up.map((event) => JSON.stringify(event)).join('\n')}\n`;
  const [{ text }, asked] = await insist(() =>
    daemon.request('POST', '/v1/events', lines, { 'content-type': 'application/x-ndjson' }),
  );
  // On the second request, an accepted event is refused; the teardown shows what happened to it.
  const refused = asked > 1 ? [] : text.split('\n').filter((line) => line.includes('"error"'));
  if (refused.length > 0) throw new Error(`${id}: ${refused.join('\n')}`);
  const [{ status, text: answer }] = await insist(() => daemon.event({ type: 'teardown', id }));
  if (status !== 200 && status !== 404) throw new Error(`teardown of ${id}: ${status} ${answer}`);
}

/** The answer, from any daemon, and how often it was requested. */
async function insist<T>(ask: () => Promise<T>): Promise<[T, number]> {
  for (let asked = 1; ; asked++) {
    await serving;
    try {
      return [await ask(), asked];
    } catch {
      await sleep(5); // it died before it answered
    }
  }
}

/** kill -9 and start, one at a time. */
function restart(afterMs = 0): Promise<void> {
  const last = serving;
  serving = (async () => {
    await last;
    await sleep(afterMs);
    await daemon.kill();
    await daemon.start();
  })();
  return serving;
}

/** Runs with a daemon that is idle. */
function census(): Picture {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const descriptors = readdirSync(`/proc/${daemon.pid}/fd`).map((fd) => kindOf(`/proc/${daemon.pid}/fd/${fd}`));
  return {
    ...inspect(daemon),
    tracked: tracked(),
    processes: pids.map(nameOf).sort(),
    descriptors: descriptors.sort(),
  };
}

/** Connections with an address of ours; not the kernel's own packets of a bridge to 224.0.0.22 (IGMP, RFC 3376). */
function tracked(): string[] {
  const all = ['ipv4', 'ipv6'].map((family) =>
    execFileSync('conntrack', ['-L', '-f', family], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  );
  return all
    .join('')
    .split('\n')
    .filter((line) => /(src|dst)=(10\.|fd)/.test(line) && !line.includes('dst=224.0.0.22'));
}

function nameOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

function kindOf(path: string): string {
  try {
    return readlinkSync(path).replace(/\d{3,}/g, 'N');
  } catch {
    return '';
  }
}

// slow: 60 s, the daemon is halted at each failpoint for each kind of interference
// proving: 3600
// as user: proving
/**
 * Others change the host in the middle of an operation: the daemon is halted at a failpoint (SIGSTOP), one of our
 * objects is removed, and the daemon goes on.
 *
 * Guarantees, for each kind of interference at each failpoint between effects: every answer is a success or a fault
 * that says what failed; the containers come to rest in a state that has a name; the removed object is restored, unless
 * it is the namespace itself; and when everything is torn down the kernel is byte for byte what it was.
 * Limits: no witness, because a flushed ruleset cuts translated connections (docs/decisions/0011). A moved link is
 * moved to a foreign namespace, and ends with the container's.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import { CrashTest } from '../harness/crash.ts';
import { resolversIn } from '../harness/dns.ts';
import { Life, stepName, type Scenario } from '../harness/life.ts';
import { ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { forwardersOf, signalAll, uplinksOf } from '../harness/programs.ts';
import { effort, proved, spread } from '../harness/proof.ts';
import { beside, live, names, programs, update } from './scenarios.ts';

requirePrivateNamespace();

interface Interference {
  name: string;
  /** Describes what it did, or returns null when there was nothing to remove. */
  act: (life: Life) => string | number | null;
  /** True if the object cannot be restored: only teardown is left. */
  final?: boolean;
  /** The scenarios in which it is tried; all, unless given. */
  only?: string[];
}

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'ignore' });

const linksOf = (prefix: RegExp): string[] =>
  ipJson<{ ifname: string }[]>(undefined, 'link')
    .map(({ ifname }) => ifname)
    .filter((name) => prefix.test(name));

/** The pinned namespaces that are mounted now. */
const pins = ({ daemon }: Life): string[] =>
  readdirSync(daemon.netnsDir)
    .map((name) => `${daemon.netnsDir}/${name}`)
    .filter((path) => readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${path} `));

/** A link of a namespace that has gone may go by itself between listing and deleting it. */
const firstLink = (prefix: RegExp, act: (name: string) => void): string | null => {
  for (const name of linksOf(prefix)) {
    try {
      act(name);
      return name;
    } catch (error) {
      if (linksOf(prefix).includes(name)) throw error;
    }
  }
  return null;
};

function first<T>(all: T[], act: (one: T) => void): T | null {
  const [one] = all;
  if (one === undefined) return null;
  act(one);
  return one;
}

const killed = (pid: number): void => signalAll([pid], 'SIGKILL');

/** Scenarios with bridges, and with links of ours in containers. */
const BRIDGED = ['beside', 'live', 'update', 'names'];

const KINDS: Interference[] = [
  {
    name: 'the ruleset is flushed',
    act: () => {
      execFileSync('nft', ['flush', 'ruleset']);
      return 'all';
    },
  },
  {
    name: 'a bridge is deleted',
    act: () => firstLink(/^cleat/, (name) => ip('link', 'del', name)),
    only: BRIDGED,
  },
  { name: 'a link is deleted', act: () => firstLink(/^ve/, (name) => ip('link', 'del', name)), only: BRIDGED },
  {
    name: 'a link is moved away',
    act: () => firstLink(/^ve/, (name) => ip('link', 'set', name, 'netns', 'theirs')),
    only: BRIDGED,
  },
  {
    name: 'the addresses in a container are removed',
    act: (life) =>
      first(pins(life), (path) => {
        for (const { ifname } of ipJson<{ ifname: string }[]>(path, 'link').filter(({ ifname }) => ifname !== 'lo'))
          execFileSync('nsenter', [`--net=${path}`, 'ip', 'address', 'flush', 'dev', ifname]);
      }),
    only: BRIDGED,
  },
  {
    name: 'a namespace is unmounted',
    act: (life) => first(pins(life), (path) => execFileSync('umount', ['--lazy', path])),
    final: true,
  },
  {
    name: 'the resolver is killed',
    act: ({ daemon }) => first(resolversIn(daemon.directory), killed),
    only: ['names'],
  },
  { name: 'an uplink is killed', act: ({ daemon }) => first(uplinksOf(daemon), killed), only: ['programs'] },
  { name: 'the forwarder is killed', act: ({ daemon }) => first(forwardersOf(daemon), killed), only: ['programs'] },
  {
    name: 'tap0 is deleted',
    act: (life) =>
      first(
        pins(life).filter((path) => ipJson<{ ifname: string }[]>(path, 'link').some(({ ifname }) => ifname === 'tap0')),
        (path) => execFileSync('nsenter', [`--net=${path}`, 'ip', 'link', 'del', 'tap0']),
      ),
    only: ['programs'],
  },
];

/** Failpoints between effects, where a snapshot is on disk and an effect has just ended or is about to begin. */
const BETWEEN = /^(?!containers|journal).*:(durable|after)#\d+$/;
/** The time after the last answer in which a point may still be passed, because networks are lowered after it. */
const BEHIND_MS = 200;

const test = suite('interference');

test.before(() => ip('netns', 'add', 'theirs'));

for (const [name, scenario] of Object.entries({ beside, live, update, names, programs })) {
  test(`${name}: what others remove in the middle of an operation is restored, or named`, async () => {
    const quiet: Scenario = { ...scenario, witness: false };
    const life = await Life.start(quiet);
    try {
      const points = (await new CrashTest(life).learn()).filter((point) => BETWEEN.test(point));
      const kinds = KINDS.filter(({ only }) => only === undefined || only.includes(name));
      // Ordered point by point, so that a part of all is a part of every kind.
      const pairs = points.flatMap((point) => kinds.map((kind) => ({ point, kind })));
      let happened = 0;
      for (const pair of spread(pairs, effort('interferences', 2, 60))) {
        if (await interfere(life, pair.point, pair.kind)) happened++;
      }
      await life.end();
      proved(`interferences in the middle of an operation: ${name}`, happened);
    } catch (error) {
      await life.abandon();
      throw error;
    }
  });
}

test.run();

/** Returns false when there was nothing to remove at that point. */
async function interfere(life: Life, point: string, kind: Interference): Promise<boolean> {
  const answers: string[] = [];
  try {
    writeFileSync(`${life.failpoints}/order`, `SIGSTOP ${point}`);
    const playing = play(life, answers);
    const halted = await haltOf(life, playing);
    const what = halted ? kind.act(life) : null;
    if (halted) process.kill(life.daemon.pid, 'SIGCONT');
    await playing;
    await rest(life);
    // A container whose namespace is gone can only be torn down.
    if (kind.final !== true) await life.whole();
    await life.clear();
    const left = ipJson<{ ifname: string }[]>('/run/netns/theirs', 'link').filter(({ ifname }) => ifname !== 'lo');
    if (left.length > 0) throw new Error(`what was moved away is left there: ${JSON.stringify(left)}`);
    return what !== null;
  } catch (error) {
    const { message, details = '' } = error as Error & { details?: string };
    throw new Error(`${kind.name} at ${point}: ${message}\n${details}\n${answers.join('\n')}`, { cause: error });
  }
}

/** Sends every step, whatever the answers to earlier ones were: a failure must say what failed. */
async function play(life: Life, answers: string[]): Promise<void> {
  for (const step of life.scenario.steps) {
    if (step.type === 'damage') {
      await step.act(life.daemon, life);
      continue;
    }
    const { status, body, text } = await life.ask(step);
    answers.push(`${stepName(step)}: ${status} ${JSON.stringify(body.error ?? body.state)}`);
    if (status === 200) continue;
    const { code = '', message = '' } = body.error ?? {};
    if (code === '' || code === 'INTERNAL' || message === '') throw new Error(`${stepName(step)}: ${status} ${text}`);
  }
}

/** Returns true when the daemon has halted; false when the steps ended first, and it will not halt any more. */
async function haltOf({ daemon, failpoints }: Life, playing: Promise<void>): Promise<boolean> {
  const isHalted = () => /^State:\s+T/m.test(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'));
  let end = Infinity;
  const over = () => (end = performance.now() + BEHIND_MS);
  playing.then(over, over);
  while (!isHalted() && performance.now() < end) await sleep(1);
  rmSync(`${failpoints}/order`);
  await sleep(5); // a daemon that read the order a moment ago obeys it now
  return isHalted();
}

/** Waits until nothing is under way: every container is in a state that it can stay in. */
function rest(life: Life): Promise<void> {
  const stays = ['created', 'up', 'degraded', 'failed', 'teardownFailed'];
  return life.until('at rest', async () => {
    for (const id of life.ids) {
      const { status, body, text } = await life.daemon.get(`/v1/containers/${id}`);
      if (status !== 404 && !stays.includes(body.state ?? '')) return text;
    }
    return null;
  });
}

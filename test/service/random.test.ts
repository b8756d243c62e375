// proving: 3600
/**
 * A daemon on the real kernel under random commands: several containers, several commands at the same time, SIGKILL at
 * a point of an effect or at any moment, and a start after it.
 *
 * Once everything is at rest, this must hold. A command that was answered with success has happened, one that was
 * refused has changed nothing, and one that was not answered has happened or not, and never half. The auditor and an
 * inspection of each namespace find nothing. No specification (specifications.ts) was violated on the way, and in the
 * daemon's own events (hearing.ts) everything has an end. When everything is torn down the kernel is as it was.
 * Limits: of two concurrent commands to one container, only what must always hold is judged. `seed=N` on the command
 * line of the runner repeats the sequence of N.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AuditReport } from '../../state/answers/audit.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import {
  after,
  eventOf,
  group,
  lessPorts,
  NETWORKS,
  shapeOf,
  type Group,
  type Shape,
} from '../harness/random-words.ts';
import { TestDaemon, type Answer } from '../harness/daemon.ts';
import { follow, Hearing } from '../harness/hearing.ts';
import { calm, assertComesBackTo, inspectKernel, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved, seed } from '../harness/proof.ts';
import { clear } from '../harness/rounds.ts';
import { Witness } from '../harness/witness.ts';

requirePrivateNamespace();

/** Work of others on the machine may take its time; a real mistake stays. */
const PATIENCE_MS = 20_000;
/** The codes with which a request may be refused without a mistake. */
const REFUSALS = new Set(
  `NO_SUCH_CONTAINER CONTAINER_EXISTS ILLEGAL_EVENT SUPERSEDED PORT_TAKEN PORTS_NEED_NETWORK MODE_NOT_SUPPORTED
   NOT_CONNECTED ALREADY_CONNECTED NOT_PUBLISHED NETWORK_UPDATE_FAILED BAD_REQUEST`.split(/\s+/),
);

const daemon = new TestDaemon();
const failpoints = `${daemon.directory}/failpoints`;
const order = `${failpoints}/order`;
const counts = { commands: 0, succeeded: 0, groups: 0, kills: 0 };
const hearing = new Hearing();
let witness: Witness;
let empty: Picture;

interface Said {
  event: LifecycleEvent;
  /** Null: the daemon was killed before it answered. */
  answer: Answer | null;
}

/** The state of each container according to its record. */
async function shapes(): Promise<Map<string, NonNullable<Shape>>> {
  const { body } = await daemon.get<ContainerView[]>('/v1/containers');
  return new Map(
    body.map(({ id, ...view }) => {
      const text = readFileSync(`${daemon.runDir}/containers/${id}.json`, 'utf8');
      const shape = shapeOf((JSON.parse(text) as { snapshot: { value: unknown; context: ContainerContext } }).snapshot);
      if (shape === null || view.state !== shape.state || view.owner_gone !== shape.held)
        throw new Error(`${id} is shown as ${view.state}, and its record says ${shape?.state}`);
      return [id, shape];
    }),
  );
}

async function until(what: string, wrong: () => Promise<string>): Promise<void> {
  const limit = performance.now() + PATIENCE_MS;
  for (let still = await wrong(); still !== ''; still = await wrong()) {
    if (performance.now() > limit) throw new Error(`not ${what}: ${still}`);
    await sleep(5);
  }
}

/** A daemon, and its event stream. */
async function begin(): Promise<void> {
  hearing.died();
  await daemon.start();
  await follow(daemon.socket, (notification) => hearing.hear(notification));
}

/** Checks that neither the witness nor the listener objects. */
async function unobjected(): Promise<void> {
  await until('told to its end', () => Promise.resolve(hearing.owed().join(', ')));
  const violations = [...witness.specifications.violations, ...hearing.violations];
  if (violations.length > 0) throw new Error(violations.join('\n'));
}

/** Checks that every container is created or up, and held only as long as another one is in its namespace. */
async function rest(): Promise<void> {
  await until('at rest', async () => {
    const { body } = await daemon.get<ContainerView[]>('/v1/containers');
    const busy = body.filter(({ state }) => state !== 'created' && state !== 'up');
    const used = body.some(({ netns }) => netns.mode === 'container');
    const forgotten = used ? [] : body.filter(({ owner_gone: ownerGone }) => ownerGone);
    return [...busy, ...forgotten].map(({ id, state, fault }) => `${id} ${state} ${JSON.stringify(fault)}`).join(', ');
  });
  await until('as recorded', () =>
    shapes().then(
      () => '',
      (error: Error) => error.message,
    ),
  );
  await until('clean', async () => {
    const { body } = await daemon.get<AuditReport>('/v1/audit');
    return body.findings.map((finding) => JSON.stringify(finding)).join(', ');
  });
  for (const id of (await shapes()).keys()) {
    await until('without drift', async () => {
      const { body } = await daemon.get(`/v1/containers/${id}`);
      return (body.drift ?? []).map((drift) => `${id} ${JSON.stringify(drift)}`).join(', ');
    });
  }
}

const mtuOf = async (network: string): Promise<string | undefined> =>
  (await daemon.get<NetworkDefinition>(`/v1/networks/${network}`)).body.options.mtu;

async function say(events: Promise<Answer>): Promise<Answer | null> {
  counts.commands++;
  const answer = await events.catch(() => null);
  if (answer !== null && answer.status < 300) counts.succeeded++;
  const code = answer?.body?.error?.code;
  if (code !== undefined && !REFUSALS.has(code)) throw new Error(`answered: ${answer?.text}`);
  return answer;
}

/** Sends all commands at once, kills the daemon where the sequence says so, and judges the result. */
async function play({ commands, kill }: Group): Promise<void> {
  counts.groups++;
  const before = await shapes();
  const shape = (id: string): Shape => before.get(id) ?? null;
  const mtus = new Map(
    await Promise.all(NETWORKS.map(async (name) => [name, [await mtuOf(name)]] as [string, (string | undefined)[]])),
  );
  if (typeof kill === 'string') writeFileSync(order, `SIGKILL ${kill}`);
  const said: Promise<Said | null>[] = commands.map(async (command) => {
    if (command.type !== 'update') {
      const event = eventOf(command, shape(command.id));
      return { event, answer: await say(daemon.event(event)) };
    }
    const { network, mtu } = command;
    const answer = await say(daemon.request('PATCH', `/v1/networks/${network}`, { options: { mtu } }));
    if (answer === null || answer.status === 200) mtus.get(network)?.push(mtu);
    return null;
  });
  const all = Promise.all(said);
  if (typeof kill === 'number') {
    all.catch(() => {}); // waited for below
    await sleep(kill);
    await daemon.kill();
  }
  const heard = (await all).filter((one) => one !== null);
  if (typeof kill === 'string') rmSync(order);
  if (kill !== undefined) {
    if ((await daemon.get('/v1/version').catch(() => null)) === null) counts.kills++;
    await daemon.kill();
    await begin();
  }
  await rest();
  witness.look();
  judge(shape, await shapes(), heard);
  for (const [network, allowed] of mtus) {
    const now = await mtuOf(network);
    if (!allowed.includes(now)) throw new Error(`network ${network} has MTU ${now}, not one of ${allowed.join(' ')}`);
  }
  await unobjected();
}

/** The containers that got at most one command. */
function judge(
  before: (id: string) => Shape,
  now: ReadonlyMap<string, NonNullable<Shape>>,
  heard: readonly Said[],
): void {
  const concerned = new Map<string, number>();
  const concern = (id: string) => concerned.set(id, (concerned.get(id) ?? 0) + 1);
  for (const { event } of heard) {
    concern(event.id);
    if (event.type === 'publish' && event.from !== undefined) concern(event.from);
    // A container that shares a namespace holds its owner, or releases it.
    if (event.type === 'teardown') for (const id of ['a', 's']) if (id !== event.id) concern(id);
  }
  for (const { event, answer } of heard) {
    const { id } = event;
    const was = before(id);
    const is = now.get(id) ?? null;
    const same = (shape: Shape) => isDeepStrictEqual(shape, is);
    const given = event.type === 'publish' ? event.from : undefined;
    if (concerned.get(id) !== 1 || (given !== undefined && concerned.get(given) !== 1)) continue;
    const possible = [
      ...(answer?.status === 200 ? [] : [was]),
      ...(answer === null || answer.status === 200 ? after(was, event) : []),
    ];
    if (!possible.some(same)) {
      const text = answer === null ? 'not answered' : `${answer.status} ${answer.body?.error?.code ?? ''}`;
      throw new Error(`${JSON.stringify(event)} (${text}): was ${text_(was)}, is ${text_(is)}`);
    }
    if (event.type !== 'publish' || given === undefined) continue;
    const giver = before(given);
    const left = giver === null || same(was) ? giver : lessPorts(giver, event.port_mappings);
    const has = now.get(given) ?? null;
    if (!isDeepStrictEqual(left, has))
      throw new Error(`${JSON.stringify(event)}: the giver was ${text_(giver)}, is ${text_(has)}`);
  }
  for (const [id, is] of now) {
    if (!concerned.has(id) && !isDeepStrictEqual(is, before(id)))
      throw new Error(`nobody spoke to ${id}: was ${text_(before(id))}, is ${text_(is)}`);
  }
}

const text_ = (shape: Shape): string => JSON.stringify(shape);

/** Runs a whole sequence, from nothing to nothing. */
async function live(groups: readonly Group[]): Promise<void> {
  for (const one of groups) await play(one);
  await clear(daemon);
  await rest();
  await assertComesBackTo(empty, () => inspectKernel(), PATIENCE_MS);
  await unobjected();
}

/** After a failure, removes whatever is left, so that the next sequence starts clean. */
async function anew(): Promise<void> {
  rmSync(order, { force: true });
  witness.close();
  await daemon.kill();
  await begin();
  await clear(daemon).catch(() => {});
  await assertComesBackTo(empty, () => inspectKernel(), PATIENCE_MS).catch(() => {});
  witness = new Witness(`${daemon.runDir}/containers`);
  hearing.violations.length = 0;
}

const random = suite('random');

random.before(async () => {
  mkdirSync(failpoints);
  daemon.environment = { CLEAT_FAILPOINTS: failpoints };
  await begin();
  await daemon.network({ name: 'front', subnets: [{ subnet: '10.90.0.0/28' }] });
  await daemon.network({ name: 'dual', ipv6_enabled: true });
  await daemon.network({ name: 'inner', internal: true });
  await calm();
  empty = inspectKernel();
  witness = new Witness(`${daemon.runDir}/containers`);
});

random.after(async () => {
  witness.close();
  await daemon.kill(); // a failed test may have left it unable to stop
});

const UP: Group[] = [{ commands: ['a', 'b', 'c', 'u'].map((id) => ({ type: 'go', id })) }];
UP.push(...UP, { commands: [{ type: 'go', id: 's' }] });

/** Always tried first: a few random sequences may have no kill in them. */
const CUT_SHORT: Group[] = [
  { commands: [{ type: 'disconnect', id: 'a', network: 'dual' }], kill: 'removeLink:durable#1' },
  { commands: [{ type: 'teardown', id: 'b' }], kill: 10 },
  { commands: [{ type: 'go', id: 'b' }] },
];

random(
  'random concurrent and interrupted commands leave nothing half done, nothing twice, nothing behind',
  async () => {
    let last: Promise<void> = Promise.resolve();
    const property = fc.asyncProperty(fc.array(group, { minLength: 3, maxLength: 10, size: 'max' }), (groups) => {
      last = live([...UP, ...groups]).catch(async (error: Error & { details?: string }) => {
        console.log(`\n${error.message}\n${error.details ?? ''}\n${JSON.stringify(groups)}`);
        await anew();
        throw error;
      });
      return last;
    });
    const { CLEAT_PROVE_path: path } = process.env;
    const result = await fc.check(property, {
      numRuns: effort('sequences', 2, 100),
      examples: [[CUT_SHORT]],
      seed: seed(),
      ...(path === undefined ? {} : { path }),
      // oxlint-disable-next-line typescript/no-deprecated -- with the plugin in its place the counterexample has no type
      interruptAfterTimeLimit: effort('milliseconds', 60_000, 600_000), // the limit of shrinking, too
    });
    await last.catch(() => {}); // an interrupted one goes on to its end
    const { counterexample, errorInstance } = result;
    if (counterexample !== null)
      console.log(`seed=${result.seed} path=${result.counterexamplePath}\n${JSON.stringify(counterexample[0])}`);
    const { message, details = '' } = (errorInstance ?? {}) as { message?: string; details?: string };
    assert.ok(!result.failed, `${message}\n${details}`);
    const { commands, succeeded, groups, kills } = counts;
    console.log(`${result.numRuns} sequences, ${groups} groups, ${succeeded} of ${commands} commands succeeded`);
    proved('random commands to a daemon on the real kernel, side by side', commands);
    proved('SIGKILLs among them, at a point of an effect or at any moment', kills);
    proved('words told to the specifications of addresses, ports and namespaces', witness.specifications.told);
    proved("notifications of the daemon's own account judged", hearing.heard);
  },
);

random.run();

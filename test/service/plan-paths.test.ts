// slow: 25 s, the ways to every state of every kind of container are found first
/**
 * The path that a plan shows is the path that the machine takes: for each kind of container, in each state that it can be in and
 * for each lifecycle event, the steps of a shadow are the states of a running machine whose effects succeed, and those of what
 * it invokes. A shadow leaves what is real alone.
 */
import {
  createActor,
  fromPromise,
  initialTransition,
  transition,
  type ActorRefFrom,
  type AnyActorRef,
  type InspectionEvent,
} from 'xstate';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { attachmentMachine } from '../../machines/container/attachment.ts';
import { containerMachine } from '../../machines/container/container.ts';
import type { ContainerEvent, LeaseInput } from '../../machines/container/container-inputs.ts';
import { firewallMachine } from '../../machines/firewall.ts';
import { networkMachine, type HoldInput } from '../../machines/network.ts';
import { uplinkMachine } from '../../machines/uplink.ts';
import { portTargets } from '../../plan/ports/ports.ts';
import { stateName } from '../../plan/states.ts';
import { outputOf, Shadow, type Invoked, type Walk } from '../../service/plans/shadow.ts';
import { successOf } from '../../service/plans/successes.ts';
import type { PlanStep } from '../../state/answers/container/plan.ts';
import { NOBODY } from '../../effects/ask.ts';
import { NO_LEASES } from '../../plan/networks/lease.ts';
import { NO_WAY_OUT } from '../../plan/networks/way-out.ts';
import { keyOf, nameOf, walksOf, type Snapshot } from '../harness/container-model.ts';
import { GIVER_ADDRESS, VARIANTS, type Variant } from '../harness/container-variants.ts';
import { definition, FAULT, resolve } from '../harness/fixtures.ts';
import { effort, proved, spread } from '../harness/proof.ts';

const EVENTS = new Set(['configure', 'connect', 'disconnect', 'reload', 'publish', 'unpublish', 'teardown']);
const REQUESTS = new Set(['release', 'name', 'unname', 'verifyFirewall']);

/** Answers for whatever a machine of this variant invokes, here and there. */
function answerOf(variant: Variant, src: string, input: unknown): unknown {
  if (src === 'lease') {
    const { networks, ports, taking } = input as LeaseInput;
    return {
      leases: Object.keys(networks).map(variant.lease),
      ports: ports.map(resolve),
      inside: [],
      given: portTargets(taking?.ports ?? [], [GIVER_ADDRESS]),
    };
  }
  if (src === 'awaitVerdict') return 'taken';
  if (src === 'probeUplink') return { flags: ALL_FLAGS };
  return REQUESTS.has(src) ? undefined : successOf(src, input);
}

const ALL_FLAGS = `--disable-host-loopback --mtu --enable-sandbox --enable-seccomp --cidr --enable-ipv6 --outbound-addr
  --outbound-addr6 --api-socket --netns-type --config-net --tcp-ports --udp-ports --no-map-gw --foreground --runas --quiet
  --ns-ifname --dns-forward --map-guest-addr --map-host-loopback --host-lo-to-ns-lo --fd`.split(/\s+/);

interface Machine {
  implementations: { actors: Record<string, unknown> };
}

/** Returns the actors of a machine, each of which succeeds. `backOff` never ends. */
const succeeding = (variant: Variant, { implementations }: Machine, except: string[] = []) =>
  Object.fromEntries(
    Object.keys(implementations.actors)
      .filter((src) => !except.includes(src))
      .map((src) => [
        src,
        fromPromise(({ input }) =>
          src === 'backOff' ? new Promise(() => {}) : Promise.resolve(answerOf(variant, src, input)),
        ),
      ]),
  );

/** Holds the states that one machine takes, each once as long as it lasts. */
type Run = { machine: string; states: string[] };

const machineOf = (variant: Variant) => {
  const attachment = attachmentMachine.provide({ actors: succeeding(variant, attachmentMachine) });
  const uplink = uplinkMachine.provide({ actors: succeeding(variant, uplinkMachine) });
  const others = succeeding(variant, containerMachine, ['attachment', 'uplink']);
  return containerMachine.provide({ actors: { ...others, attachment, uplink } });
};

const isMachine = (snapshot: object): snapshot is Snapshot => 'value' in snapshot;

/** Returns what a running machine does from here on, and what it invokes. */
async function run(machine: typeof containerMachine, from: Snapshot, event: ContainerEvent): Promise<Run[]> {
  const runs = new Map<string, Run>();
  const last = new Map<string, string>();
  let begun = false;
  const inspect = ({ type, actorRef, ...inspection }: InspectionEvent) => {
    if (!begun || type !== '@xstate.snapshot' || !('snapshot' in inspection) || !isMachine(inspection.snapshot)) return;
    const { id, sessionId } = actorRef as AnyActorRef;
    const state = stateName(inspection.snapshot);
    if (last.get(sessionId) === state) return;
    last.set(sessionId, state);
    const mine = runs.get(sessionId) ?? { machine: actorRef === actor ? 'container' : id, states: [] };
    runs.set(sessionId, { ...mine, states: [...mine.states, state] });
  };
  const snapshot = containerMachine.getPersistedSnapshot(from);
  const actor: ActorRefFrom<typeof containerMachine> = createActor(machine, {
    snapshot: snapshot,
    input: undefined,
    inspect,
  });
  actor.subscribe({ error: () => {} });
  actor.start();
  for (const one of [actor, ...Object.values(actor.getSnapshot().children)] as AnyActorRef[]) {
    const now = one.getSnapshot() as object;
    if (isMachine(now)) last.set(one.sessionId, stateName(now));
  }
  begun = true;
  actor.send(event);
  // Each answer takes a few turns; the longest path takes some dozens of them.
  for (let turn = 0; turn < 400; turn++) await Promise.resolve();
  actor.stop();
  return [...runs.values()].sort(byMachine);
}

/** Returns the same of a shadow. */
async function walk(variant: Variant, from: Snapshot, event: ContainerEvent): Promise<Run[]> {
  const runs: Run[] = [];
  const answer = (invoked: Invoked): unknown =>
    invoked.machine === null ? answerOf(variant, invoked.src, invoked.input) : outputOf(invoked, named(invoked.src));
  const named = (name: string, now?: string): Walk => {
    const run: Run = { machine: name, states: now === undefined ? [] : [now] };
    runs.push(run);
    return { name, step: ({ state }) => void (run.states.at(-1) === state || run.states.push(state)), answer };
  };
  const shadow = Shadow.of(containerMachine, from, named('container', stateName(from)));
  shadow.send(event);
  await shadow.settled();
  runs[0]?.states.shift(); // the state that it was in
  return runs.filter(({ states }) => states.length > 0).sort(byMachine);
}

/** Which of two machines says first that it has moved is of no matter. */
const byMachine = (a: Run, b: Run): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);

/** Returns each state with each lifecycle event that comes there, once. */
function tries(variant: Variant): { before: Snapshot; event: ContainerEvent }[] {
  const all = new Map<string, { before: Snapshot; event: ContainerEvent }>();
  for (const steps of walksOf(variant)) {
    const [before, last] = [steps.at(-2)?.state, steps.at(-1)];
    if (before === undefined || last === undefined || !EVENTS.has(last.event.type)) continue;
    all.set(`${keyOf(before)} ${JSON.stringify(last.event)}`, { before, event: last.event as ContainerEvent });
  }
  return spread([...all.values()], effort('planned-paths', 25, 100_000));
}

const paths = suite('plan-paths');
let tried = 0;

for (const [name, variant] of Object.entries(VARIANTS)) {
  paths(`a container of the kind ${name}, in each state, for each event`, async () => {
    const machine = machineOf(variant);
    for (const { before, event } of tries(variant)) {
      const said = `${nameOf(before)} ${JSON.stringify(event)}`;
      assert.equal(await walk(variant, before, event), await run(machine, before, event), said);
      tried++;
    }
  });
}

paths('enough was tried', () => {
  proved('events planned and run, in each state of each kind of container', tried);
  assert.ok(tried > 200, `${tried}`);
});

paths('a shadow neither touches the machine nor answers those who asked the machine itself', async () => {
  const heard: string[] = [];
  const network = createActor(
    networkMachine.provide({ actors: { holdFirewall: fromPromise<void, HoldInput>(() => new Promise(() => {})) } }),
    {
      input: {
        definition: definition('web', '10.89.0.0/24', '10.89.0.1'),
        previous: null,
        outside: null,
        wayOut: NO_WAY_OUT,
        bridge: null,
        peers: [],
        adopted: NO_LEASES,
        recovering: false,
      },
    },
  ).start();
  const asker = (label: string) => ({ send: ({ type }: { type: string }) => heard.push(`${label} ${type}`) }) as never;
  network.send({ type: 'join', owner: 'c1:1', options: {}, from: asker('real') });
  const before = network.getSnapshot();
  const steps: PlanStep[] = [];
  const shadow = Shadow.of(networkMachine, before, {
    name: 'network web',
    step: (step) => steps.push(step),
    answer: () => null,
  });
  shadow.send({ type: 'join', owner: 'c2:1', options: {}, from: asker('shadow') } as never);
  await shadow.settled();
  assert.equal(heard, ['shadow leased']);
  assert.is(network.getSnapshot(), before);
  assert.equal([...before.context.leases.keys()], ['c1:1']);
  assert.equal(
    steps.map(({ state }) => state),
    ['raising', 'up'],
  );
  network.send({ type: 'leave', owner: 'c1:1', from: NOBODY });
  network.stop();
});

paths('a pause ends for whom nothing else would answer, and a defect is told to who asked', async () => {
  const input = { outside: null, adopted: [], uplinks: ['u:1'], found: { 'net/ipv4/ip_forward': '0' }, recorded: true };
  const refused = { type: 'xstate.error.actor.restoreSwitches', actorId: 'restoreSwitches', error: { fault: FAULT } };
  const [restoring] = initialTransition(firewallMachine, input);
  const [resting] = transition(firewallMachine, restoring, refused as never);
  assert.is(resting.value, 'restoreFailed');
  const heard: string[] = [];
  const asker = { send: ({ type }: { type: string }) => heard.push(type) } as never;
  const paused = Shadow.of(firewallMachine, resting, {
    name: 'firewall',
    step: () => {},
    answer: () => null,
  });
  paused.send({ type: 'hold', owner: 'u:2', uplink: true, from: asker } as never);
  await paused.settled();
  assert.equal(heard, ['held']);

  const [up] = initialTransition(firewallMachine, { ...input, found: null });
  assert.is(up.value, 'up');
  const failing = Shadow.of(firewallMachine, { ...up, context: { ...up.context, holders: null } } as never, {
    name: 'firewall',
    step: () => {},
    answer: () => null,
  });
  const defects: unknown[] = [];
  failing.subscribe({ error: (defect) => defects.push(defect) });
  failing.send({ type: 'hold', owner: 'n', from: asker } as never);
  assert.is(defects.length, 1);
  assert.match(String(defects[0]), /null/);
  assert.is(failing.getSnapshot().status, 'error');
});

paths.run();

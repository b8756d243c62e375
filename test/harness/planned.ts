/**
 * Compares a plan with what then happens: the answer, the states in the journal and in the notifications, what is granted.
 *
 * Guarantees: what is compared is what the daemon and its journal say afterwards, never another plan.
 * Limits: the journal ends with its container, so what a teardown does to attachments and uplinks is seen until it answers.
 */
import { isDeepStrictEqual } from 'node:util';
import * as assert from 'uvu/assert';
import type { JournalEntry } from '../../state/answers/container/history.ts';
import type { Notification } from '../../state/answers/notification.ts';
import type { Plan } from '../../state/answers/container/plan.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import type { Answer, Body, TestDaemon } from './daemon.ts';
import { follow } from './hearing.ts';
import { until } from './native.ts';
import { inspect } from './picture.ts';

type Planned = Plan & { error?: NonNullable<Body['error']> };

export class Planning {
  readonly #daemon: TestDaemon;
  readonly #heard: Notification[] = [];
  /** Counts the plans that were compared, and the refusals. */
  readonly counts = { plans: 0, refusals: 0 };

  private constructor(daemon: TestDaemon) {
    this.#daemon = daemon;
  }

  /** Begins to listen. The counts of `earlier`, of the daemon before, go on. */
  static async of(daemon: TestDaemon, earlier?: Planning): Promise<Planning> {
    const planning = new Planning(daemon);
    Object.assign(planning.counts, earlier?.counts);
    await follow(daemon.socket, (notification) => planning.#heard.push(notification));
    return planning;
  }

  async plan(event: LifecycleEvent): Promise<Answer<Planned>> {
    return this.#daemon.request<Planned>('POST', '/v1/events?dry_run=true', event);
  }

  apply(hash: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.#daemon.request('POST', `/v1/plans/${hash}/apply`, {}, headers);
  }

  /** Plans an event that must be possible. */
  async planned(event: LifecycleEvent): Promise<Plan> {
    const { status, text, body } = await this.plan(event);
    assert.is(status, 200, `the plan of ${JSON.stringify(event)}: ${text}`);
    return body;
  }

  /** Plans an event, and asserts that nothing at all has changed. */
  async plannedWithoutTrace(event: LifecycleEvent): Promise<Answer<Planned>> {
    const [before, notified] = [inspect(this.#daemon), this.#heard.length];
    const answer = await this.plan(event);
    assert.equal(inspect(this.#daemon), before, `the plan of ${JSON.stringify(event)} has changed something`);
    assert.is(this.#heard.length, notified, `somebody was told of the plan of ${JSON.stringify(event)}`);
    return answer;
  }

  /** Plans an event, has it done, and compares. `how`: as the event itself, or as the plan. */
  async assertAsPlanned(event: LifecycleEvent, how: 'event' | 'apply' = 'event'): Promise<void> {
    const { status, body: plan, text } = await this.plan(event);
    const refused = status !== 200;
    const history = await this.#history(event.id);
    const before = await this.#daemon.get(`/v1/containers/${event.id}`);
    const notified = this.#heard.length;
    const real = how === 'event' || refused ? await this.#daemon.event(event) : await this.apply(plan.hash);
    const said = `${JSON.stringify(event)}\nplanned ${text}\nanswered ${real.text}`;
    assert.equal([status, plan.error?.code], [real.status, real.body.error?.code], said);
    if (refused) {
      this.counts.refusals++;
      assert.equal(plan.error, real.body.error, said);
      return;
    }
    this.counts.plans++;
    await this.#assertStates(plan, notified, said);
    if (plan.to === 'gone') return this.#daemon.gone(plan.id);
    const after = await this.#daemon.get(`/v1/containers/${event.id}`);
    assert.is(after.body.state, plan.to, said);
    assert.equal(runsOf((await this.#history(event.id)).slice(history.length)), runsIn(plan), said);
    assert.equal(granted(before.body, after.body), plan.grants, said);
  }

  async #history(id: string): Promise<JournalEntry[]> {
    const { status, body } = await this.#daemon.get<JournalEntry[]>(`/v1/containers/${id}/history`);
    return status === 200 ? body : [];
  }

  /** Compares the states of the container itself, to the last one, with those that the daemon has told. */
  async #assertStates({ id, from, to, steps }: Plan, since: number, said: string): Promise<void> {
    const wanted = steps.filter(({ machine }) => machine === 'container').map(({ state }) => state);
    const told = () =>
      this.#heard.slice(since).flatMap((one) => (one.type === 'state' && one.id === id ? [one.to] : []));
    const states = wanted.filter((state, i) => state !== (wanted[i - 1] ?? from));
    assert.is(states.at(-1) ?? from, to, said);
    await until(`the states ${states.join(' ')} of ${said}`, () => told().length >= states.length);
    assert.equal(told(), states, said);
  }
}

/** Holds the states of one attachment or uplink after another. */
interface Run {
  machine: string;
  states: string[];
}

/** Entries of two machines may be in either order; each begins with the state that its machine was in. */
function runsOf(history: readonly JournalEntry[]): Run[] {
  const runs: Run[] = [];
  for (const { machine, from, to } of history) {
    if (machine === 'container') continue;
    const mine = runs.findLast((run) => run.machine === machine && run.states.at(-1) === from);
    if (from === '' || mine === undefined) runs.push({ machine, states: [to] });
    else mine.states.push(to);
  }
  return runs;
}

const LAST = new Set(['attached', 'detached', 'stuck', 'ready', 'stopped']);

function runsIn({ steps }: Plan): Run[] {
  const runs: Run[] = [];
  for (const { machine, state } of steps) {
    if (machine !== 'attachment' && machine !== 'uplink') continue;
    const mine = runs.at(-1);
    const over = mine === undefined || mine.machine !== machine || LAST.has(mine.states.at(-1) ?? '');
    if (over) runs.push({ machine, states: [state] });
    else mine.states.push(state);
  }
  return runs;
}

function granted(before: Body, after: Body): Plan['grants'] {
  const had = new Set(Object.keys(before.networks ?? {}));
  const old = before.ports ?? [];
  return {
    networks: Object.fromEntries(Object.entries(after.networks ?? {}).filter(([network]) => !had.has(network))),
    ports: (after.ports ?? []).filter((port) => !old.some((other) => isDeepStrictEqual(port, other))),
  };
}

/**
 * Random lives of every kind of container, with ends of effects and events in any order, restarts and files that are full: at each
 * line, what the journal says is what the machine shows, and a replay goes the same way. A line that is left out or changed is
 * noticed, wherever it is.
 */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AnyActorRef } from 'xstate';
import { moments } from '../../plan/journal/moments.ts';
import { passages } from '../../service/records/passages.ts';
import { replay } from '../../service/replay/replay.ts';
import { stage, type Stage } from '../../service/replay/stand-ins.ts';
import type { JournalLine } from '../../state/answers/container/history.ts';
import { FaultError } from '../../state/faults.ts';
import { eventsIn, MADE, nameOf, type ModelEvent } from '../harness/container-model.ts';
import { VARIANTS, type Variant } from '../harness/container-variants.ts';
import { FAULT } from '../harness/fixtures.ts';

const walks = suite('replay of random lives');

const through = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
const FEATURES = {
  flags: ['--api-socket', '--cidr', '--disable-host-loopback', '--mtu', '--netns-type', '--config-net', '--foreground'],
};
const OUTPUTS: Record<string, unknown> = { probeUplink: FEATURES, verifyUplink: MADE };

class Life {
  readonly lines: JournalLine[] = [];
  readonly #variant: Variant;
  #on!: Stage;
  #record!: ReturnType<typeof passages>;

  constructor(variant: Variant) {
    this.#variant = variant;
    this.#begin({ input: variant.input });
  }

  get snapshot() {
    return this.#on.actor.getSnapshot();
  }

  #begin(how: { input: object } | { snapshot: unknown }): void {
    const record = passages((line) => void this.lines.push(through(typeof line === 'function' ? line() : line)));
    this.#record = record;
    record.starts(how);
    let over = false;
    this.#on = stage(how, (inspection) => {
      if (!over) record.of(inspection);
    });
    this.#on.actor.subscribe({ complete: () => (over = true), error: () => (over = true) });
    this.#on.actor.start();
  }

  restart(): void {
    if (this.snapshot.status !== 'active') return;
    const snapshot = through(this.#on.actor.getPersistedSnapshot());
    this.#on.actor.stop();
    this.#begin({ snapshot });
  }

  turn(): void {
    if (this.snapshot.status !== 'active') return;
    this.lines.push(through(this.#record.whole(this.#on.actor.getPersistedSnapshot(), () => this.lines)));
  }

  /** Takes the n-th of everything that can happen now. */
  step(n: number): void {
    const { snapshot } = this;
    if (snapshot.status !== 'active') return;
    const children = snapshot.children as Record<string, AnyActorRef>;
    const machine = Object.values(children).find((child) => 'value' in (child.getSnapshot() as object));
    const happens: (() => unknown)[] = [];
    if (machine !== undefined) {
      const inner = (machine.getSnapshot() as { children: Record<string, AnyActorRef> }).children;
      for (const name of Object.keys(inner)) {
        happens.push(() => this.#on.end(machine.id, name, { output: OUTPUTS[name] }));
        happens.push(() => this.#on.end(machine.id, name, { error: FaultError.of(FAULT) }));
      }
    }
    for (const event of eventsIn(snapshot, this.#variant)) {
      const [, how, name = ''] = /^xstate\.(done|error)\.actor\.(.*)$/.exec(event.type) ?? [];
      if (how === undefined) happens.push(() => this.#on.actor.send(event as never));
      else if (name !== machine?.id) happens.push(() => this.#end(name, how, event));
    }
    happens[n % happens.length]?.();
  }

  #end(name: string, how: string, { output, error }: ModelEvent): void {
    this.#on.end('container', name, how === 'done' ? { output } : { error });
  }

  /** Returns what the journal says of the present otherwise than the machine. */
  objection(): string | null {
    const last = moments(this.lines).at(-1)!;
    const { status, context } = this.snapshot;
    // The last change of state is no line.
    if (status !== 'active') return null;
    const children = Object.entries(this.snapshot.children as Record<string, AnyActorRef>).flatMap(([id, child]) => {
      const now = child.getSnapshot() as { value?: unknown };
      return now.value === undefined ? [] : [[id, now.value]];
    });
    const real = {
      state: nameOf(this.snapshot),
      context: through(context),
      children: Object.fromEntries(children) as object,
    };
    const said = { state: last.state, context: last.context, children: last.children };
    return JSON.stringify(sorted(said)) === JSON.stringify(sorted(real))
      ? null
      : `the journal says ${JSON.stringify(said)}, it is ${JSON.stringify(real)}`;
  }
}

const sorted = (value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(
        Object.entries(value)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([key, one]) => [key, sorted(one)]),
      )
    : Array.isArray(value)
      ? value.map(sorted)
      : value;

function live(name: string, steps: readonly number[]): Life {
  const life = new Life(VARIANTS[name]!);
  for (const n of steps) {
    if (n % 17 === 16) life.restart();
    else if (n % 17 === 15) life.turn();
    else life.step(n);
    const objection = life.objection();
    if (objection !== null) throw new Error(objection);
  }
  return life;
}

const replayOf = (lines: readonly JournalLine[], id: string) =>
  replay({
    header: { journal: 1, cleat: '', machine: '4', id, exported_at: 0, kernel: '', node: '', truncated: false },
    lines: lines.map((line, i) => ({ line, n: i + 2 })),
    cutOff: false,
  });

const names = fc.constantFrom(...Object.keys(VARIANTS));
const steps = fc.array(fc.nat(10_000), { minLength: 1, maxLength: 40 });

walks('at each line the journal says what the machine shows, and a replay goes the same way', () => {
  fc.assert(
    fc.property(names, steps, (name, numbers) => {
      const { lines } = live(name, numbers);
      assert.is(replayOf(lines, VARIANTS[name]!.input.id).difference, null);
    }),
    { numRuns: 200 },
  );
});

walks('a replay that begins at any start that continues goes the same way from there', () => {
  fc.assert(
    fc.property(names, steps, (name, numbers) => {
      const { lines } = live(
        name,
        numbers.flatMap((n, i) => (i === numbers.length >> 1 ? [15, n] : [n])),
      );
      const at = lines.findIndex((line) => line.kind === 'start' && line.how === 'continued');
      if (at === -1) return;
      const rest = lines.slice(at);
      assert.is(replayOf(rest, VARIANTS[name]!.input.id).difference, null);
      // All that is known later is known without what came before.
      const [whole, part] = [moments(lines).at(-1)!, moments(rest).at(-1)!];
      assert.equal(part, whole);
    }),
    { numRuns: 100 },
  );
});

walks('a change of state that is left out, or another, is noticed at its line', () => {
  fc.assert(
    fc.property(names, steps, fc.nat(), (name, numbers, n) => {
      // What comes just before a restart may have been lost in it.
      const { lines } = live(
        name,
        numbers.filter((number) => number % 17 !== 16),
      );
      const passed = lines.flatMap((line, i) => (line.kind === 'passage' ? [i] : []));
      const at = passed[n % passed.length]!;
      const edited = lines.map((line, i) => (i === at ? ({ ...line, to: 'elsewhere' } as JournalLine) : line));
      const { id } = VARIANTS[name]!.input;
      assert.is(replayOf(edited, id).difference?.line, at + 2);
      assert.is.not(replayOf(lines.toSpliced(at, 1), id).difference, null);
    }),
    { numRuns: 60 },
  );
});

walks.run();

/**
 * Kills the daemon at every failpoint that a scenario passes, one run of the scenario per point.
 *
 * Guarantees: the points are learnt by running the scenario, so a new effect is included automatically. After each kill
 * and start: within a second, or as long as the start itself took, in one of three tries, the containers are at rest, and everything is exactly as it was
 * before the step in which the daemon died, or exactly as after it (sight.ts), nothing in between; the audit finds
 * nothing; the witness has not lost a byte; and when the scenario's containers are torn down the kernel is byte for
 * byte what it was.
 * Limits: points behind a timer (the journal, a state at rest) are passed more or less often as events come closer
 * together; a run that passes one less often than the first is not counted.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'uvu';
import { Life, stepName, type Scenario } from './life.ts';
import { effort, proved, spread } from './proof.ts';

/** Points behind a timer. */
const LOOSE = /^(containers\.write|journal)/;
const REST_MS = 1000;
const TRIES = 3;
const FEW = 4;

/** A test file of its own for one scenario: FEW kills in npm test, evenly spread; every one in npm run prove. */
export function surviveKills(name: string, scenario: Scenario): void {
  test(`${name}: killed at any point, the state is exactly that before or after the step`, async () => {
    const life = await Life.start(scenario);
    try {
      const crash = new CrashTest(life);
      const points = await crash.learn();
      const kills = await crash.survive(spread(points, effort('kills', FEW, Infinity)));
      const bytes = await life.end();
      if (scenario.witness) console.log(`  ${bytes} bytes transferred beside it`);
      proved(`kill -9 at ${new Set(points.map(kindOf)).size} kinds of point: ${name}`, kills);
    } catch (error) {
      await life.abandon();
      throw error;
    }
  });
  test.run();
}

const kindOf = (point: string): string => point.replace(/#\d+$/, '');

export class CrashTest {
  readonly #life: Life;
  /** The state after each step, without a kill; the first is before all of them. */
  #shapes: string[] = [];

  constructor(life: Life) {
    this.#life = life;
  }

  /**
   * Every point that was passed, with its number: "ensureLink:durable#2". Played twice: repeated attempts, which happen
   * by chance on a busy machine, are in only one of them.
   */
  async learn(): Promise<string[]> {
    const once = await this.pass();
    const again = new Set(await this.pass());
    return once.filter((point) => again.has(point));
  }

  /** The points that one run passes. */
  async pass(): Promise<string[]> {
    const life = this.#life;
    this.#passed();
    this.#shapes = [(await life.see()).shape];
    const { reached } = await life.play((_, { shape }) => this.#shapes.push(shape));
    if (reached < life.scenario.steps.length) throw new Error(`without a kill: the daemon died\n${life.daemon.log()}`);
    const passed = this.#passed();
    await life.clear();
    const counts = new Map<string, number>();
    return passed.map((name) => {
      const count = (counts.get(name) ?? 0) + 1;
      counts.set(name, count);
      return `${name}#${count}`;
    });
  }

  /** Returns the number of kills; rejects at the first that was not survived. */
  async survive(points: readonly string[]): Promise<number> {
    let kills = 0;
    for (const point of points) {
      try {
        if (await this.#restsAfter(point)) kills++;
      } catch (error) {
        const { message, details = '' } = error as Error & { details?: string };
        throw new Error(`killed at ${point}: ${message}\n${details}`, { cause: error });
      }
    }
    return kills;
  }

  /**
   * A machine with other work is late at times, and then its starts take long, too; a wait in the code is late every time.
   */
  async #restsAfter(point: string): Promise<boolean> {
    const late: number[] = [];
    while (late.length < TRIES) {
      const took = await this.#survive(point);
      await this.#life.clear();
      if (took === null || took.rest <= Math.max(REST_MS, took.start)) return took !== null;
      late.push(took.rest);
    }
    throw new Error(`came to rest only after ${late.map(Math.round).join(', ')} ms`);
  }

  /** The times of the start, and from then until everything was at rest, in ms; null when the daemon was not killed. */
  async #survive(point: string): Promise<{ start: number; rest: number } | null> {
    const life = this.#life;
    writeFileSync(`${life.failpoints}/order`, `SIGKILL ${point}`);
    const { reached, before } = await life.play();
    const killed = !(await life.alive());
    rmSync(`${life.failpoints}/order`);
    if (!killed) {
      // Points after the last answer are passed while the containers are removed.
      if (LOOSE.test(point)) return null;
      throw new Error('the point was not reached');
    }
    await life.daemon.kill(); // it is dead already: this reaps it
    const began = performance.now();
    await life.daemon.start();
    const start = performance.now() - began;
    const rest = await life.rest();
    await life.whole();
    await this.#compare(reached, before);
    return { start, rest };
  }

  /** Checks that all is exactly as before the step in which it died, or as after it. */
  async #compare(reached: number, before: { exact: string; shape: string } | null): Promise<void> {
    const steps = this.#life.scenario.steps;
    const [was = '', is] = [this.#shapes[reached], this.#shapes[reached + 1]];
    const now = await this.#life.see();
    if (now.shape === is) return;
    if (now.shape === was && (before === null || before.shape !== was || now.exact === before.exact)) return;
    const step = steps[reached];
    const where = step === undefined ? 'after the last step' : `in ${stepName(step)}`;
    const details = [
      ...lost('before', was, now.shape),
      ...lost('after', is ?? '', now.shape),
      ...(now.shape === was ? lost('exactly before', before?.exact ?? '', now.exact) : []),
    ];
    throw new Error(`it died ${where}, and is neither before nor after:\n${details.join('\n')}`);
  }

  /** The points passed since the last call. */
  #passed(): string[] {
    const log = `${this.#life.failpoints}/log`;
    const names = readFileSync(log, 'utf8').split('\n');
    writeFileSync(log, '');
    return names.filter((name) => name !== '');
  }
}

/** Lines that differ, and from which state. */
function lost(from: string, was: string, is: string): string[] {
  const [a, b] = [new Set(was.split('\n')), new Set(is.split('\n'))];
  return [
    ...[...a].filter((line) => !b.has(line)).map((line) => `- ${from}: ${line}`),
    ...[...b].filter((line) => !a.has(line)).map((line) => `+ not ${from}: ${line}`),
  ];
}

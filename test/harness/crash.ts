/**
 * Kill the daemon at every failpoint that a scenario passes, one run of the scenario per point.
 *
 * Guarantees: the points are learnt by running the scenario once, so a new effect joins without being asked. After each
 * kill and start: the containers come to rest (absent, created or up, nothing in between) within a second, the audit
 * finds nothing, and when they are torn down the kernel is byte for byte what it was.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AuditReport } from '../../service/audit.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import { TestDaemon } from './daemon.ts';
import { comesBackTo, inspectKernel } from './picture.ts';

const PATIENCE_MS = 5000;

export class CrashTest {
  readonly daemon = new TestDaemon();
  readonly #events: readonly LifecycleEvent[];
  readonly #failpoints: string;
  readonly #ids: readonly string[];
  readonly #only: RegExp;

  /** Lives of containers, from create to teardown; `only` narrows the points (all unless given). */
  constructor(events: readonly LifecycleEvent[], only = /^/) {
    this.#events = events;
    this.#only = only;
    this.#ids = [...new Set(events.map(({ id }) => id))];
    this.#failpoints = `${this.daemon.directory}/failpoints`;
    mkdirSync(this.#failpoints);
    this.daemon.environment = { CLEAT_FAILPOINTS: this.#failpoints };
  }

  /** Resolves with how many kills were survived, at how many kinds of point; rejects at the first that was not. */
  async run(): Promise<{ kills: number; failpoints: number }> {
    const before = inspectKernel();
    this.#passed();
    if (!(await this.#live())) throw new Error(`the scenario without a kill: the daemon died\n${this.daemon.log()}`);
    await comesBackTo(before, () => inspectKernel());
    const counts = new Map<string, number>();
    const points = this.#passed()
      .filter((name) => this.#only.test(name))
      .map((name) => {
        const count = (counts.get(name) ?? 0) + 1;
        counts.set(name, count);
        return `${name}#${count}`;
      });
    let kills = 0;
    for (const point of points) {
      try {
        if (await this.#survive(point)) kills++;
        await comesBackTo(before, () => inspectKernel());
      } catch (error) {
        const { message, details = '' } = error as Error & { details?: string };
        throw new Error(`killed at ${point}: ${message}\n${details}`, { cause: error });
      }
    }
    return { kills, failpoints: counts.size };
  }

  /** False when the daemon was not killed. */
  async #survive(point: string): Promise<boolean> {
    writeFileSync(`${this.#failpoints}/kill`, point);
    const lived = await this.#live();
    rmSync(`${this.#failpoints}/kill`);
    if (lived) {
      // How many writes there are depends on how close together the events come: see REST_WRITE_MS.
      if (point.startsWith('store.write:')) return false;
      throw new Error('the point was not reached');
    }
    await this.daemon.kill(); // it is dead already: this reaps it
    await this.daemon.start();
    const began = performance.now();
    await this.#until('at rest', async () => {
      for (const id of this.#ids) {
        const { status, body, text } = await this.daemon.get(`/v1/containers/${id}`);
        if (status !== 404 && !['created', 'up'].includes(body.state ?? '')) return text;
      }
      return null;
    });
    const took = performance.now() - began;
    if (took > 1000) throw new Error(`came to rest only after ${took} ms`);
    await this.#clean();
    const { body: all } = await this.daemon.get<{ id: string; leftovers: unknown[] }[]>('/v1/containers');
    const left = all.filter(({ id }) => this.#ids.includes(id));
    for (const { id, leftovers } of left) {
      if (leftovers.length > 0) throw new Error(`leftovers of ${id}: ${JSON.stringify(leftovers)}`);
    }
    await this.daemon.down(...left.map(({ id }) => id));
    return true;
  }

  /** True when the scenario went to its end, false when the daemon died on the way. */
  async #live(): Promise<boolean> {
    for (const event of this.#events) {
      const answer = await this.daemon.event(event).catch(() => null);
      if (answer === null) return false;
      if (answer.status !== 200) throw new Error(`${event.type}: ${answer.text}`);
    }
    try {
      for (const id of this.#ids) await this.daemon.gone(id);
      await this.#clean();
      await sleep(100); // networks are lowered behind the last answer
      await this.#clean();
      return true;
    } catch {
      if (await this.daemon.get('/v1/version').catch(() => null))
        throw new Error('the scenario does not come to an end');
      return false;
    }
  }

  #clean(): Promise<void> {
    return this.#until('clean', async () => {
      const { body } = await this.daemon.get<AuditReport>('/v1/audit');
      return body.clean ? null : JSON.stringify(body.findings);
    });
  }

  async #until(what: string, missing: () => Promise<string | null>): Promise<void> {
    const limit = performance.now() + PATIENCE_MS;
    for (;;) {
      const still = await missing();
      if (still === null) return;
      if (performance.now() > limit)
        throw new Error(`not ${what} within ${PATIENCE_MS} ms: ${still}\n${this.daemon.log()}`);
      await sleep(10);
    }
  }

  /** The points passed since this was last asked. */
  #passed(): string[] {
    const log = `${this.#failpoints}/log`;
    const names = readFileSync(log, 'utf8').split('\n');
    writeFileSync(log, '');
    return names.filter((name) => name !== '');
  }
}

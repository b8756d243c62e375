/**
 * Plays a scenario step by step, with one failing call: once for every call, and every way to fail.
 *
 * Guarantees: the calls of a step are found by going on until none is hit any more. After each fault:
 * - the answer came within the deadline of an effect, and is success or a fault with a code that says what it is; a
 *   refusal of the kernel has errno and step;
 * - the containers come to rest in a state with a name, and the audit finds nothing;
 * - a refused request can be sent again, and succeeds;
 * - attached networks have their addresses and routes; a torn-down container has left nothing, in the kernel (byte for
 *   byte) and in the files of the daemon.
 * A daemon that ended by itself is started again, and has then finished or undone the step; `mayEnd` says for which
 * calls that is allowed.
 * Limits: the history (journal) is not checked: it may lose lines.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AuditReport } from '../../state/answers/audit.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import { FAULTS } from '../../state/faults.ts';
import type { Answer, TestDaemon } from './daemon.ts';
import type { Faults, Kind, Outcome, Strike } from './faults.ts';
import { commandLines, pauseAfter } from './native.ts';
import { assertComesBackTo, inspect, unlessGone, type Picture } from './picture.ts';

/** One request, and the answers that mean success. */
export interface Step {
  name: string;
  method: string;
  path: string;
  body?: unknown;
  /** Codes of faults that, on repetition, mean that nothing is left to do. */
  moot: string[];
  /** True for a step that reverts changes by others, from any state. */
  undoes?: boolean;
}

export function event(body: LifecycleEvent, ...moot: string[]): Step {
  const undoes = body.type === 'teardown';
  return { name: body.type, method: 'POST', path: '/v1/events', body, moot, undoes };
}

/** Names of states in which a container may rest (machines/container/container.ts). */
const RESTS = ['created', 'up', 'degraded', 'failed', 'teardownFailed', 'draining', 'releasing'];
/** An effect has 10 s, and is undone after it. */
const ANSWER_MS = 15_000;
const PATIENCE_MS = 10_000;
/** Without a call for this long, nothing goes on after the answer. */
const QUIET_MS = 25;
/** The deadline for a call that is to be held. */
const HELD_MS = 400;
const CALLS = 400;
/** The number of failures that are reported at once; one that cannot be recovered from is the last. */
const FAILURES = 12;

/** The result of a run. */
export interface Tally {
  runs: number;
  /** How often the answer was a fault, by code. */
  refused: Map<string, number>;
  /** How often the daemon ended. */
  ended: number;
}

export class FaultTest {
  readonly #daemon: TestDaemon;
  readonly #faults: Faults;
  readonly #id: string;
  readonly #before: Picture;
  #steps: readonly Step[] = [];
  #mayEnd = /^$/;
  #tally: Tally = { runs: 0, refused: new Map(), ended: 0 };

  /** For a daemon with everything started except the container `id`. */
  constructor(daemon: TestDaemon, faults: Faults, id: string) {
    this.#daemon = daemon;
    this.#faults = faults;
    this.#id = id;
    this.#before = this.#look();
  }

  /**
   * Lets every `stride`-th call of all steps fail, in each of these ways, one run for each failure. With a stride of 1 every
   * call fails once. Before and after the steps nothing of the container exists.
   */
  async run(steps: readonly Step[], strikes: readonly Strike[], stride: number, mayEnd = /^$/): Promise<Tally> {
    this.#steps = steps;
    this.#mayEnd = mayEnd;
    this.#tally = { runs: 0, refused: new Map(), ended: 0 };
    const failures: string[] = [];
    const counts = new Map<Kind, number[]>();
    let n = Math.ceil(stride / 2);
    for (const strike of strikes) {
      const counted = counts.get(strike.kind) ?? (await this.#count(strike));
      counts.set(strike.kind, counted);
      for (const [at, count] of counted.entries()) {
        // The number of calls differs a little from time to time: when all are tried, the loop goes on until none is
        // hit.
        for (; n <= count || stride === 1; n += stride) {
          const outcome = await this.#try(at, strike, n).catch(async (error: unknown) => {
            failures.push(error instanceof Error ? error.message : String(error));
            if (failures.length === FAILURES || !(await this.#recovered())) throw new Error(failures.join('\n\n'));
            return null;
          });
          if (outcome?.struck === true) this.#tally.runs++;
          if (outcome?.struck === false || n === CALLS) break;
        }
        n = stride === 1 ? 1 : Math.max(1, n - count);
      }
    }
    if (failures.length > 0) throw new Error(failures.join('\n\n'));
    if (this.#tally.runs === 0) throw new Error('no call was struck');
    return this.#tally;
  }

  /** How many calls of the kind each step makes. */
  async #count(strike: Strike): Promise<number[]> {
    const counts: number[] = [];
    for (const step of this.#steps) {
      this.#faults.order({ ...strike, action: 'delay', ms: 0 }, 0);
      await this.#mustSucceed(step);
      await this.#quiet();
      counts.push(this.#faults.revoke().count);
    }
    await this.#daemon.gone(this.#id);
    await assertComesBackTo(this.#before, () => this.#look());
    return counts;
  }

  /** True if all is as before, so that the next failure can be told from this one. */
  async #recovered(): Promise<boolean> {
    try {
      if (!(await this.#serves())) await this.#restart();
      await this.#undo();
      await assertComesBackTo(this.#before, () => this.#look());
      return true;
    } catch {
      return false;
    }
  }

  async #try(at: number, strike: Strike, n: number): Promise<Outcome> {
    const step = this.#steps[at];
    if (step === undefined) throw new Error('there is no such step');
    if (strike.fresh === true) await this.#restart();
    const logged = this.#daemon.log().length;
    for (const earlier of this.#steps.slice(0, at)) await this.#mustSucceed(earlier);
    this.#faults.order(strike, n);
    let outcome: Outcome | undefined;
    try {
      const [answer] = await Promise.all([this.#send(step), this.#meanwhile(strike)]);
      await this.#quiet();
      outcome = this.#faults.revoke();
      strike.mend?.();
      const ended = !(await this.#serves());
      if (ended) await this.#revive(outcome);
      else if (answer === null && strike.kind !== 'descriptors') throw new Error('a connection without an answer');
      if (!ended && strike.kill === true) await this.#restart();
      if (answer !== null && !succeeded(answer)) {
        if (strike.harmless === true) throw new Error(`it is nobody's concern: ${answer.text}`);
        this.#judge(answer);
      }
      await this.#named();
      await this.#clean();
      // After a start the step has been finished or undone: a refused request may be done by now.
      const settled = ended || (answer !== null && succeeded(answer)) || strike.kill === true;
      if (!settled) await this.#again(step);
      await this.#clean();
      await this.#whole();
      await this.#undo();
      await assertComesBackTo(this.#before, () => this.#look());
      return outcome;
    } catch (error) {
      if (outcome === undefined) strike.mend?.();
      const { message, details = '' } = error as Error & { details?: string };
      const { action, kind, errno = '' } = strike;
      const where = `${step.name}: ${action} ${errno} ${kind} ${n} (${(outcome ?? this.#faults.revoke()).what})`;
      const log = this.#daemon.log().slice(logged, logged + 2000);
      throw new Error(`${where}: ${message.slice(0, 2000)}\n${details.slice(0, 2000)}\n${log}`, { cause: error });
    }
  }

  /** Null when the daemon ended. */
  async #send({ method, path, body }: Step): Promise<Answer | null> {
    const late = new AbortController();
    try {
      return await Promise.race([
        this.#daemon.request(method, path, body).catch(() => null),
        sleep(ANSWER_MS, undefined, { signal: late.signal }).then(() => {
          throw new Error(`no answer within ${ANSWER_MS} ms`);
        }),
      ]);
    } finally {
      late.abort();
    }
  }

  async #mustSucceed(step: Step): Promise<void> {
    const answer = await this.#send(step);
    if (answer === null || !succeeded(answer)) throw new Error(`${step.name}, undisturbed: ${answer?.text ?? 'ended'}`);
  }

  /** Waits for a call to be held, no longer than one may be late after its answer. */
  async #meanwhile({ meanwhile }: Strike): Promise<void> {
    if (meanwhile === undefined) return;
    const limit = performance.now() + HELD_MS;
    while (this.#faults.look().struck === false && performance.now() < limit) await sleep(1);
    if (this.#faults.look().struck === true) meanwhile();
    this.#faults.release();
  }

  #judge({ status, body, text }: Answer): void {
    const { error } = body as { error?: { code: string; errno?: string; step?: string; syscall?: string } };
    if (error === undefined || !(error.code in FAULTS)) throw new Error(`an answer without a fault: ${status} ${text}`);
    if (error.code === 'INTERNAL') throw new Error(`a fault that says nothing: ${text}`);
    if (error.code === 'KERNEL' && (error.errno === undefined || error.step === undefined)) {
      throw new Error(`the kernel refused, and it is not said what: ${text}`);
    }
    const { refused } = this.#tally;
    refused.set(error.code, (refused.get(error.code) ?? 0) + 1);
  }

  async #quiet(): Promise<void> {
    const limit = performance.now() + 500;
    let last = -1;
    for (let now = this.#faults.look().count; now !== last && performance.now() < limit;) {
      last = now;
      await sleep(QUIET_MS);
      now = this.#faults.look().count;
    }
  }

  async #revive({ what }: Outcome): Promise<void> {
    if (!this.#mayEnd.test(what)) throw new Error('the daemon has ended');
    this.#tally.ended++;
    await this.#restart();
  }

  async #serves(): Promise<boolean> {
    return (await this.#daemon.get('/v1/version').catch(() => null)) !== null;
  }

  async #restart(): Promise<void> {
    await this.#daemon.kill();
    await this.#daemon.start();
  }

  #named(): Promise<void> {
    return this.#until('at rest', async () => {
      const { status, body, text } = await this.#daemon.get(`/v1/containers/${this.#id}`);
      return status === 404 || (status === 200 && RESTS.includes(body.state ?? '')) ? null : text;
    });
  }

  #clean(): Promise<void> {
    return this.#until('clean', async () => {
      const { status, body, text } = await this.#daemon.get<AuditReport>('/v1/audit');
      return status === 200 && body.clean ? null : text;
    });
  }

  /** An illegal event becomes legal later, because the daemon itself tries failed work again. */
  #again(step: Step): Promise<void> {
    return this.#until(`${step.name} again`, async () => {
      const answer = await this.#send(step);
      if (answer === null) throw new Error('the daemon has ended');
      const code = (answer.body as { error?: { code: string } } | null)?.error?.code ?? '';
      return succeeded(answer) || step.moot.includes(code) ? null : answer.text;
    });
  }

  /** In the container's own namespace: every address, and a default route for each family. */
  #whole(): Promise<void> {
    return this.#until('whole', async () => {
      const { status, body, text } = await this.#daemon.get(`/v1/containers/${this.#id}`);
      if (status === 404 || !['created', 'up'].includes(body.state ?? '')) return status === 404 ? null : text;
      const path = body.netns?.path ?? '';
      const nets = Object.values(body.networks ?? {}).flatMap(({ interfaces }) => Object.values(interfaces));
      const leased = nets.flatMap((one) => one.subnets ?? []).map(({ ipnet }) => ipnet);
      const led = (body.uplink?.addresses ?? []).map(({ address, prefix }) => `${address}/${prefix}`);
      const subnets = body.state === 'up' ? [...leased, ...led] : [];
      const script = 'ip -o address show scope global; ip -4 route; ip -6 route';
      const seen = execFileSync('nsenter', [`--net=${path}`, '--', 'sh', '-c', script], { encoding: 'utf8' });
      const missing = subnets.filter((ipnet) => !seen.includes(` ${ipnet} `));
      const ways = led.length > 0 || nets.some((one) => one.subnets?.some(({ gateway }) => gateway !== undefined));
      if (subnets.length > 0 && ways && !/^default via [\d.]+ /m.test(seen)) missing.push('a default route');
      if (missing.length > 0) return `${missing.join(', ')} missing: ${seen}`;
      const count = seen.match(/ scope global/g)?.length ?? 0;
      return count === subnets.length ? null : `more than ${subnets.join(' ')}: ${seen}`;
    });
  }

  /** The steps that lead back, from any state. */
  async #undo(): Promise<void> {
    for (const step of this.#steps.filter(({ undoes }) => undoes)) await this.#again(step);
    await this.#daemon.gone(this.#id);
  }

  async #until(what: string, missing: () => Promise<string | null>): Promise<void> {
    const limit = performance.now() + PATIENCE_MS;
    for (;;) {
      const began = performance.now();
      const still = await missing();
      if (still === null) return;
      if (performance.now() > limit) throw new Error(`not ${what} within ${PATIENCE_MS} ms: ${still}`);
      await pauseAfter(began);
    }
  }

  #look(): Picture {
    const { files = [], ...kernel } = inspect(this.#daemon);
    const helpers = processes(this.#daemon.runDir);
    const steady = files.filter((line) => !line.startsWith('faults ') && !isHistory(line, files));
    // A helper that had to be started again is another process.
    const named = steady.map((line) => line.replace(/(\.pid|\/(?:networks|containers)\/.*\.json) (\d+) .*/, '$1 $2'));
    const { runDir, stateDir } = this.#daemon;
    return {
      ...kernel,
      helpers,
      files: named,
      networks: definitions(`${stateDir}/networks`),
      containers: snapshots(`${runDir}/containers`),
    };
  }
}

/** For a container that exists. */
function isHistory(line: string, files: readonly string[]): boolean {
  const id = /^run\/journal\/(.*)\.ndjson/.exec(line)?.[1];
  return id !== undefined && files.some((other) => other.startsWith(`run/containers/${id}.json `));
}

/** The content of the files: after a start the same is written in another order. */
function definitions(directory: string): string[] {
  return contents(directory).map((text) => {
    const fields = JSON.parse(text) as object;
    return JSON.stringify(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

/** A container that lost what a killed program did for it has had it restored: that was one more operation. */
function snapshots(directory: string): string[] {
  return contents(directory).map((text) => text.replace(/"operation":\s*\{[^}]*\}/, ''));
}

function contents(directory: string): string[] {
  return readdirSync(directory).flatMap((name) => unlessGone(() => [readFileSync(join(directory, name), 'utf8')]));
}

/**
 * Command lines that name a directory below this one, of all processes except the daemon, in any order of their start.
 */
function processes(directory: string): string[] {
  return [...commandLines().values()]
    .filter((words) => words.slice(1).some((word) => word.startsWith(`${directory}/`)))
    .map((words) => words.join(' '))
    .sort();
}

const succeeded = ({ status }: Answer): boolean => status >= 200 && status < 300;

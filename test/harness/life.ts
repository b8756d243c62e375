/**
 * A scenario as a daemon lives it: the objects that exist before, and steps that change them; played as often as a test
 * wants, with whatever the test does to the daemon meanwhile.
 *
 * Guarantees: after `clear()` nothing is left but the witness: kernel, files, DNS servers and forwards of the outer
 * publisher are what they were before the first step. After `end()` the kernel is byte for byte what it was. The
 * witness is a container that no step touches, with a transfer under way from start to end, of which not one byte may
 * be lost.
 * Limits: steps come one after the other; each waits for the answer to the one before.
 */
import { mkdtempSync } from 'node:fs';
import type { AuditReport } from '../../state/answers/audit.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import type { NetworkRequest, NetworkUpdate } from '../../state/network.ts';
import { on, port, TestDaemon, type Answer } from './daemon.ts';
import { resolversIn } from './dns.ts';
import { Etcd, GROUND_ADDRESS } from './etcd.ts';
import { Firewalld } from './firewalld.ts';
import { FakeGvproxy } from './gvproxy.ts';
import { isRootless } from './host.ts';
import { pauseAfter } from './native.ts';
import { assertComesBackTo, calm, inspect, inspectKernel, type Picture } from './picture.ts';
import { see, type Sight } from './sight.ts';
import { Transfer } from './transfer.ts';

/** A change of a network; `refused`: containers cannot follow it, and everything is rolled back. */
interface Update {
  type: 'update';
  network: string;
  change: NetworkUpdate;
  refused?: boolean;
}

/** A change of the host by others; the step is over when everything is whole again. */
interface Damage {
  type: 'damage';
  what: string;
  act: (daemon: TestDaemon, life: Life) => Promise<void> | void;
}

export type Step = LifecycleEvent | Update | Damage;

export interface Scenario {
  networks: NetworkRequest[];
  /** A container with a transfer lives beside it, on the first network: if any has IPv6, that one has. */
  witness: boolean;
  /** Ports are exposed at an outer publisher. */
  publisher?: boolean;
  /** There is an etcd, which the daemon is told of. It is there before everything else, and stays. */
  etcd?: boolean;
  /** Networks that steps make. */
  made?: string[];
  /** The host has firewalld. */
  firewalld?: boolean;
  /** Called before the daemon starts: what the scenario needs of the host. */
  prepare?: (daemon: TestDaemon) => void;
  steps: Step[];
}

/** How far a run came: to `steps.length`, or to the step in which the daemon died (0 for the first). */
export interface Played {
  reached: number;
  /** The picture before the step in which it died; null: it died before any picture was taken. */
  before: Sight | null;
}

/** The time after which a test calls an operation stuck. */
const PATIENCE_MS = 10_000;

/** States in which nothing is under way and nothing is wrong. */
const RESTS = ['created', 'up'];

export const stepName = (step: Step): string =>
  step.type === 'damage'
    ? step.what
    : step.type === 'update'
      ? `update of ${step.network}`
      : `${step.type} of ${step.id}`;

export class Life {
  readonly daemon = new TestDaemon();
  readonly scenario: Scenario;
  readonly ids: readonly string[];
  readonly failpoints = mkdtempSync('/run/failpoints-');
  /** The kernel with the witness and nothing else. */
  #alone: Picture = {};
  readonly #empty = inspectKernel();
  #transfer: Transfer | null = null;
  #gvproxy: FakeGvproxy | null = null;
  #firewalld: Firewalld | null = null;
  etcd: Etcd | null = null;

  private constructor(scenario: Scenario) {
    this.scenario = scenario;
    this.ids = [...new Set(scenario.steps.flatMap((step) => ('id' in step ? [step.id] : [])))];
    this.daemon.environment = { CLEAT_FAILPOINTS: this.failpoints };
  }

  static async start(scenario: Scenario): Promise<Life> {
    const etcd = scenario.etcd === true ? await Etcd.alone() : null;
    if (etcd !== null) await calm();
    const life = new Life(scenario);
    const { daemon } = life;
    if (etcd !== null) {
      life.etcd = etcd;
      daemon.etcd = { etcd: etcd.endpoints, advertise: GROUND_ADDRESS, etcdTtl: '5' };
    }
    if (scenario.publisher === true) {
      // On the host's loopback a user's daemon would look elsewhere than where we listen.
      life.#gvproxy = await new FakeGvproxy(isRootless ? `${life.failpoints}/publisher` : null).start();
      daemon.publisher = life.#gvproxy.url;
    }
    if (scenario.firewalld === true) {
      life.#firewalld = new Firewalld('drop');
      await life.#firewalld.start();
      // firewalld makes the chains of a zone for the first interface in it, and keeps them.
      for (const verb of ['add', 'remove'] as const) life.#firewalld.change(verb, 'Interface', 'trusted', 'nobody');
    }
    scenario.prepare?.(daemon);
    await daemon.start();
    for (const network of scenario.networks) await daemon.network(network);
    if (scenario.witness) {
      const networks = on(scenario.networks[0]?.name ?? '');
      const { netns } = await daemon.up('witness', { networks, port_mappings: [port(9090, 80)] });
      life.#transfer = await Transfer.start(netns.path ?? '', 80, '127.0.0.1', 9090);
    }
    await calm();
    life.#alone = life.#look();
    return life;
  }

  #look(): Picture {
    const { files = [], ...kernel } = inspect(this.daemon);
    return {
      ...kernel,
      // The id of the host is made when it is first needed, and kept.
      files: files.map((line) => line.split(' ')[0] ?? '').filter((file) => file !== 'state/host.json'),
      forwards: this.#gvproxy?.forwards ?? [],
      resolvers: resolversIn(this.daemon.directory).map(() => 'aardvark-dns'),
    };
  }

  /** Plays the steps. `watch` gets the picture after each. Rejects when a step has a forbidden answer. */
  async play(watch: (step: number, sight: Sight) => void = () => {}): Promise<Played> {
    let before: Sight | null = await this.see();
    for (const [reached, step] of this.scenario.steps.entries()) {
      if (!(await this.#take(step))) return { reached, before };
      try {
        await this.rest();
        await this.clean(); // networks are lowered after the last answer
        before = await this.see();
      } catch (error) {
        if (await this.alive()) throw new Error(`after ${stepName(step)}: ${String(error)}`, { cause: error });
        return { reached: reached + 1, before: null };
      }
      watch(reached, before);
    }
    return { reached: this.scenario.steps.length, before };
  }

  see(): Promise<Sight> {
    const networks = this.scenario.networks.map(({ name }) => name);
    return see(this.daemon, this.ids, networks);
  }

  async alive(): Promise<boolean> {
    return (await this.daemon.get('/v1/version').catch(() => null)) !== null;
  }

  /** Returns false if the daemon died before it answered. */
  async #take(step: Step): Promise<boolean> {
    if (step.type === 'damage') {
      await step.act(this.daemon, this);
      // After a death here, nothing else is whole either.
      return this.whole().then(
        () => true,
        async (error: unknown) => {
          if (await this.alive()) throw error;
          return false;
        },
      );
    }
    const answer = await this.ask(step).catch(() => null);
    if (answer === null) return false;
    const { status, text } = answer;
    const refused = step.type === 'update' && step.refused === true;
    if (refused ? status < 400 || status >= 500 : status !== 200)
      throw new Error(`${stepName(step)}: ${status} ${text}`);
    return true;
  }

  /** Returns the answer, whatever it is; rejects when the daemon died before it answered. */
  ask(step: LifecycleEvent | Update): Promise<Answer> {
    if (step.type !== 'update') return this.daemon.event(step);
    return this.daemon.request('PATCH', `/v1/networks/${step.network}`, step.change);
  }

  /**
   * Waits until every container of the scenario is absent, created or up, and no network is under way; returns how long
   * that took in ms.
   */
  async rest(): Promise<number> {
    const began = performance.now();
    await this.until('at rest', async () => {
      for (const id of this.ids) {
        const { status, body, text } = await this.daemon.get(`/v1/containers/${id}`);
        if (status !== 404 && !RESTS.includes(body.state ?? '')) return text;
      }
      return null;
    });
    return performance.now() - began;
  }

  /** Waits until the audit finds nothing. */
  clean(): Promise<void> {
    return this.until('clean', async () => {
      const { body } = await this.daemon.get<AuditReport>('/v1/audit');
      return body.clean ? null : JSON.stringify(body.findings);
    });
  }

  /** Waits until the audit is clean, and no container shows anything missing or wrong. */
  async whole(): Promise<void> {
    await this.until('whole', async () => {
      for (const id of this.ids) {
        const { status, body, text } = await this.daemon.get(`/v1/containers/${id}`);
        if (status !== 404 && (body.drift?.length !== 0 || !RESTS.includes(body.state ?? ''))) return text;
      }
      const { body } = await this.daemon.get<{ checks: { name: string; ok: boolean }[] }>('/v1/doctor');
      const ill = body.checks.filter(({ ok, name }) => !ok && ['drift', 'unfinished'].includes(name));
      return ill.length === 0 ? null : JSON.stringify(ill);
    });
    await this.clean();
  }

  /** Tears down what the scenario has made, and restores the networks it changed: the witness is alone again. */
  async clear(): Promise<void> {
    for (const id of this.ids) {
      const { status, body } = await this.daemon.get(`/v1/containers/${id}`);
      if (status === 404) continue;
      if (body.leftovers !== undefined && body.leftovers.length > 0) {
        throw new Error(`leftovers of ${id}: ${JSON.stringify(body.leftovers)}`);
      }
      await this.daemon.done({ type: 'teardown', id });
    }
    await Promise.all(this.ids.map((id) => this.daemon.gone(id)));
    for (const name of this.scenario.made ?? []) {
      await this.until(`${name} removed`, async () => {
        const { status, text } = await this.daemon.request('DELETE', `/v1/networks/${name}`);
        return status === 204 || status === 404 ? null : text;
      });
    }
    const changed = new Set(this.scenario.steps.flatMap((step) => (step.type === 'update' ? [step.network] : [])));
    for (const network of this.scenario.networks.filter(({ name }) => changed.has(name))) {
      const path = `/v1/networks/${network.name}`;
      await this.until(`${network.name} unused`, async () => {
        const { status, text } = await this.daemon.request('DELETE', path);
        return status === 204 ? null : text;
      });
      await this.daemon.network(network);
    }
    await assertComesBackTo(this.#alone, () => this.#look());
  }

  /** The number of bytes that the witness has received, every one of them right; 0 without one. */
  async end(): Promise<number> {
    const bytes = (await this.#transfer?.stop()) ?? 0;
    if (this.scenario.witness) await this.daemon.down('witness');
    await this.daemon.stop();
    await this.etcd?.stop();
    await this.#gvproxy?.stop();
    await this.#firewalld?.end();
    await assertComesBackTo(this.#empty, () => inspectKernel());
    return bytes;
  }

  /** For a failed test, whose process would not end otherwise. */
  async abandon(): Promise<void> {
    await Promise.allSettled([
      this.#transfer?.stop(),
      this.daemon.kill(),
      this.#gvproxy?.stop(),
      this.#firewalld?.end(),
      this.etcd?.stop(),
    ]);
  }

  async until(what: string, missing: () => Promise<string | null>): Promise<void> {
    const limit = performance.now() + PATIENCE_MS;
    for (;;) {
      const began = performance.now();
      const still = await missing();
      if (still === null) return;
      if (performance.now() > limit)
        throw new Error(`not ${what} within ${PATIENCE_MS} ms: ${still}\n${this.daemon.log()}`);
      await pauseAfter(began);
    }
  }
}

/**
 * A resolver as the daemon wires it, with networks and containers that use it: bridges and namespaces made by hand.
 *
 * Guarantees: `forget` drops everything in the daemon's memory and leaves the processes and the files.
 * Limits: for tests started by the test runner, in network and mount namespaces of their own.
 */
import { NO_SCOPES } from './effects.ts';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { createActor, fromCallback, waitFor, type ActorRefFrom, type AnyActorRef, type EventObject } from 'xstate';
import { backOff } from '../../effects/ask.ts';
import { defineEffect, ROOT } from '../../effects/effect.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { resolverEffects } from '../../effects/names/resolver.ts';
import type { NameEntry, Names } from '../../plan/names/names.ts';
import { resolverMachine, type ResolverAnswer, type ResolverEvent } from '../../machines/resolver.ts';
import { openOutside, type Outside } from '../../native/index.ts';
import { addNetns } from './inside.ts';

export const ip = (commands: string): void => void execFileSync('ip', ['-batch', '-'], { input: commands });

export interface TestNetwork {
  name: string;
  bridge: string;
  /** 10.89.7 */
  prefix: string;
  prefix6: string | null;
  internal: boolean;
  servers: string[];
}

let bridges = 0;
export function addNetwork(name: string, more: Partial<TestNetwork> = {}): TestNetwork {
  const n = bridges++;
  const made = { name, bridge: `br${n}`, prefix: `10.89.${n}`, prefix6: null, internal: false, servers: [], ...more };
  ip(
    `link add ${made.bridge} type bridge\nlink set ${made.bridge} up\naddr add ${made.prefix}.1/24 dev ${made.bridge}\n`,
  );
  if (made.prefix6 !== null) ip(`addr add ${made.prefix6}::1/64 dev ${made.bridge} nodad\n`);
  return made;
}

/** A namespace on these networks, with the same host number on each; returns its entries for the resolver. */
export function addContainer(id: string, host: number, names: string[], networks: TestNetwork[]): NameEntry[] {
  const netns = existsSync(`/run/netns/${id}`) ? `/run/netns/${id}` : addNetns(id);
  return networks.map(({ name, bridge, prefix, prefix6, internal, servers }, n) => {
    const link = `${id}.${bridge}`.slice(-15);
    ip(`link add ${link} master ${bridge} up type veth peer name eth${n} netns ${id}\n`);
    const addresses = [`${prefix}.${host}`, ...(prefix6 === null ? [] : [`${prefix6}::${host}`])];
    const commands = [`addr add ${prefix}.${host}/24 dev eth${n}`, `link set eth${n} up`];
    if (prefix6 !== null) commands.push(`addr add ${prefix6}::${host}/64 dev eth${n} nodad`);
    execFileSync('ip', ['-n', id, '-batch', '-'], { input: `${commands.join('\n')}\n` });
    const listen = [`${prefix}.1`, ...(prefix6 === null ? [] : [`${prefix6}::1`])];
    return { network: name, internal, listen, servers, addresses, names, netns };
  });
}

export class TestResolver {
  readonly runDir = mkdtempSync('/run/resolver-');
  outside: Outside;
  actor: ActorRefFrom<typeof resolverMachine>;
  readonly #places: readonly string[] | undefined;

  constructor(places?: readonly string[]) {
    chmodSync(this.runDir, 0o711); // like the daemon's: users can enter it, but not list it
    this.#places = places;
    this.outside = openOutside();
    this.actor = this.#start({}, false);
  }

  get directory(): string {
    return `${this.runDir}/dns/own`;
  }

  register(owner: string, networks: NameEntry[]): Promise<ResolverAnswer> {
    return this.#ask((from) => ({ type: 'register', owner, networks, from }));
  }
  unregister(owner: string, networks: string[]): Promise<ResolverAnswer> {
    return this.#ask((from) => ({ type: 'unregister', owner, networks, from }));
  }
  revise(network: TestNetwork, servers: string[]): Promise<ResolverAnswer> {
    const listen = [`${network.prefix}.1`];
    return this.#ask((from) => ({ type: 'revise', owner: 'test', network: network.name, listen, servers, from }));
  }

  async until(...states: string[]): Promise<void> {
    await waitFor(this.actor, (state) => states.includes(state.value), { timeout: 10_000 });
  }

  /** The state that a killed daemon leaves behind, with a new daemon on it. */
  forget(adopted: Names): void {
    this.actor.stop();
    this.outside = openOutside();
    this.actor = this.#start(adopted, true);
  }

  /** Processes that read our directories, by command line. */
  processes(): number[] {
    return readdirSync('/proc')
      .filter((pid) => /^\d+$/.test(pid))
      .map(Number)
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`\0${this.runDir}/`);
        } catch {
          return false;
        }
      });
  }

  async end(): Promise<void> {
    for (const owner of Object.keys(this.actor.getSnapshot().context.names)) {
      const networks = (this.actor.getSnapshot().context.names[owner] ?? []).map(({ network }) => network);
      await this.unregister(owner, networks);
    }
    await this.until('idle');
    this.actor.stop();
  }

  #ask(event: (from: AnyActorRef) => ResolverEvent): Promise<ResolverAnswer> {
    return new Promise((resolve) => {
      const asker = createActor(
        fromCallback<EventObject>(({ receive }) => receive((answer) => resolve(answer as ResolverAnswer))),
      );
      asker.start();
      this.actor.send(event(asker as AnyActorRef));
    });
  }

  #start(adopted: Names, recovering: boolean) {
    const runner = { failpoint: () => {}, commit: () => Promise.resolve() };
    const { outside, runDir } = this;
    // A real one watches links too, and keeps the test from ending.
    const kernel = {
      outside: () => ({ kernel: outside }),
      entered: (path: string | null) => path,
    } as unknown as Kernel;
    const exited = () => {
      if (actor === this.actor) actor.send({ type: 'resolver.exited' });
    };
    const places = this.#places === undefined ? {} : { places: this.#places };
    const effects = resolverEffects({ kernel, runDir, exited, scopes: NO_SCOPES, ...places });
    const machine = resolverMachine.provide({
      actors: {
        writeZones: defineEffect(runner, 'add', 'writeZones', effects.writeZones),
        ensureResolver: defineEffect(runner, 'add', 'ensureResolver', effects.ensureResolver),
        askNames: defineEffect(runner, 'add', 'askNames', effects.askNames),
        stopResolver: defineEffect(runner, 'remove', 'stopResolver', effects.stopResolver),
        backOff: backOff(),
      },
    });
    const actor: ActorRefFrom<typeof resolverMachine> = createActor(machine, {
      systemId: ROOT,
      input: { outside: null, adopted, recovering },
    });
    actor.subscribe({ error: () => {} });
    actor.start();
    return actor;
  }
}

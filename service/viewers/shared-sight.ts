/**
 * Watches what containers share while somebody looks, and finds the views that have changed.
 *
 * Guarantees: a view is told of when it differs from the one that was told last; one that is no more is told once more, with the
 * state "gone".
 * Limits: forwarders and uplinks have no machine of their own here. Their views follow from the containers.
 */
import type { AnyActorRef, Subscription } from 'xstate';
import { containerIdOf } from '../../plan/owner.ts';
import type { SharedView } from '../../state/answers/inspector.ts';
import type { Roster } from '../containers/roster.ts';
import type { Definitions } from '../networks/definitions.ts';
import type { Shared, SharedMachine } from '../outsides/shared.ts';
import { forwarderViews, machineView, uplinkKey, uplinkView } from './shared-views.ts';

export interface SharedSightParts {
  roster: Pick<Roster, 'get' | 'all' | 'neighbours'>;
  shared: Pick<Shared, 'all'>;
  definitions: Pick<Definitions, 'byName'>;
}

/**
 * The pause between two looks at the machines. Each change of any container changes some of them, and the view of each has all of
 * its users.
 */
const PAUSE_MS = 500;

/** Holds the kinds whose views follow from the containers alone. */
const DERIVED = new Set<SharedView['kind']>(['forwarder', 'uplink']);

/** Holds a view as it was told last. */
interface Told {
  view: SharedView;
  json: string;
}

export class SharedSight {
  readonly #parts: SharedSightParts;
  readonly #wake: () => void;
  readonly #told = new Map<string, Told>();
  readonly #machines = new Map<AnyActorRef, { machine: SharedMachine; subscription: Subscription }>();
  readonly #changedMachines = new Set<AnyActorRef>();
  /** Says when the machines may be looked at again, in ms of performance.now(). */
  #next = 0;

  /** `wake` is called when `changes` may return something. */
  constructor(parts: SharedSightParts, wake: () => void) {
    this.#parts = parts;
    this.#wake = wake;
    this.machinesChanged();
    this.changes(parts.roster.all().map(({ context }) => context.id));
  }

  all(): SharedView[] {
    return [...this.#told.values()].map(({ view }) => view);
  }

  /** Listens to machines that have been made, and no longer to those that are no more. */
  machinesChanged(): void {
    const present = new Map<AnyActorRef, SharedMachine>(
      this.#parts.shared.all().map((machine) => [machine.actor as AnyActorRef, machine]),
    );
    for (const [actor, { subscription }] of this.#machines) {
      if (present.has(actor)) continue;
      subscription.unsubscribe();
      this.#machines.delete(actor);
      this.#changedMachines.add(actor);
    }
    for (const [actor, machine] of present) {
      if (this.#machines.has(actor)) continue;
      const changed = () => {
        this.#changedMachines.add(actor);
        this.#wake();
      };
      const subscription = actor.subscribe({ next: changed, error: changed });
      this.#machines.set(actor, { machine, subscription });
      this.#changedMachines.add(actor);
    }
  }

  /** Returns the views that have changed since this was asked last, as JSON. `containers`: those that have changed or are gone. */
  changes(containers: Iterable<string>): string[] {
    const told: string[] = [];
    this.#machineChanges(told);
    this.#containerChanges(containers, told);
    return told;
  }

  #machineChanges(told: string[]): void {
    if (this.#changedMachines.size === 0) return;
    if (performance.now() < this.#next) return this.#wake(); // later
    this.#next = performance.now() + PAUSE_MS;
    const { byName } = this.#parts.definitions;
    const lost = [...this.#changedMachines].some((actor) => !this.#machines.has(actor));
    const present = new Set<string>();
    for (const [actor, { machine }] of this.#machines) {
      if (!lost && !this.#changedMachines.has(actor)) continue;
      const view = machineView(machine, byName);
      present.add(view.key);
      this.#tell(view, told);
    }
    this.#changedMachines.clear();
    if (!lost) return;
    for (const { view } of this.#told.values())
      if (!DERIVED.has(view.kind) && !present.has(view.key)) this.#forget(view.key, told);
  }

  #containerChanges(containers: Iterable<string>, told: string[]): void {
    const { roster } = this.#parts;
    const concerned = new Set<string>();
    const derived = [...this.#told.values()].filter(({ view }) => DERIVED.has(view.kind));
    let forwarded = false;
    for (const id of containers) {
      const context = roster.get(id)?.context;
      if (context?.uplink !== undefined) concerned.add(id);
      // The uplink of the container whose namespace it is in has one user more.
      if (typeof context?.netns?.of === 'string') concerned.add(containerIdOf(context.netns.of));
      if (context?.portHandler === 'forwarder') forwarded = true;
      for (const { view } of derived) {
        if (!view.users.includes(id)) continue;
        if (view.kind === 'forwarder') forwarded = true;
        else concerned.add(view.users[0] ?? id);
      }
    }
    for (const id of concerned) {
      const context = roster.get(id)?.context;
      const view = context === undefined ? null : uplinkView(context, () => roster.neighbours.usersOf(context.owner));
      if (view === null) this.#forget(uplinkKey(id), told);
      else this.#tell(view, told);
    }
    if (!forwarded) return;
    const forwarders = forwarderViews(roster.all().map(({ context }) => context));
    for (const view of forwarders) this.#tell(view, told);
    for (const { view } of derived)
      if (view.kind === 'forwarder' && !forwarders.some(({ key }) => key === view.key)) this.#forget(view.key, told);
  }

  #tell(view: SharedView, told: string[]): void {
    const json = JSON.stringify(view);
    if (this.#told.get(view.key)?.json === json) return;
    this.#told.set(view.key, { view, json });
    told.push(json);
  }

  #forget(key: string, told: string[]): void {
    const last = this.#told.get(key);
    if (last === undefined) return;
    this.#told.delete(key);
    told.push(JSON.stringify({ ...last.view, state: 'gone', users: [] } satisfies SharedView));
  }

  end(): void {
    for (const { subscription } of this.#machines.values()) subscription.unsubscribe();
    this.#machines.clear();
  }
}

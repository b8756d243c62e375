/**
 * The state of the page, as signals: what the daemon says, and what the person at the page has chosen.
 *
 * Guarantees: the signals of the model change once per batch, and only those whose part has changed. What is computed from them is
 * computed when it is looked at.
 */
import { batch, computed, signal } from '@preact/signals';
import type { Charts } from '../charts/chart.ts';
import { restStates } from '../charts/lit.ts';
import { EMPTY, reduce, type Model } from '../model/model.ts';
import { fragmentOf, parseRoute, type Route } from '../model/routes.ts';
import { found } from '../model/search.ts';
import { countKinds, type Kind } from '../model/standing.ts';
import type { Message } from '../model/wire.ts';
import type { Source } from './api.ts';
import type { Standing } from './connection.ts';

let model: Model = EMPTY;

export const hello = signal(model.hello);
export const containers = signal(model.containers);
export const shared = signal(model.shared);
export const networks = signal(model.networks);
export const trails = signal(model.trails);
export const notifications = signal(model.notifications);
export const gone = signal(model.gone);

export const standing = signal<Standing>({ is: 'connecting' });
export const source = signal<Source | null>(null);
export const charts = signal<Charts>({});
/** Why the page cannot be shown at all; null: it can. */
export const failure = signal<string | null>(null);

export const route = signal<Route>(parseRoute(''));
export const search = signal('');
export const kind = signal<Kind | null>(null);
/** What a screen reader is told. */
export const announcement = signal('');

export const list = computed(() => found(containers.value, search.value, kind.value));
export const counts = computed(() => countKinds(containers.value.values()));
export const chosen = computed(() => (route.value.place === 'containers' ? route.value.id : null));
const rest = computed(() =>
  charts.value.container === undefined ? new Set<string>() : restStates(charts.value.container),
);
export const isRest = (state: string): boolean => rest.value.has(state);
export const maySend = computed(() => hello.value?.may_send === true && standing.value.is === 'live');

/** Changes the signals of the parts that these messages concern. */
export function receive(messages: readonly Message[]): void {
  model = reduce(model, messages);
  batch(() => {
    hello.value = model.hello;
    containers.value = model.containers;
    shared.value = model.shared;
    networks.value = model.networks;
    trails.value = model.trails;
    notifications.value = model.notifications;
    gone.value = model.gone;
  });
}

/** Leads there at once: the browser tells of a new address only later, and a key may be pressed again by then. */
export function go(to: Route): void {
  route.value = to;
  location.hash = fragmentOf(to);
}

export const choose = (id: string): void => go({ place: 'containers', id });

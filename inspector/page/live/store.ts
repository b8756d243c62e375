/**
 * Holds the state of the page, as signals: what the daemon says, and what the person at the page has chosen.
 *
 * Guarantees: the parts of the model change once per batch of messages, and only those that the batch concerns. What is computed is
 * computed when it is looked at.
 */
import { computed, signal } from '@preact/signals';
import type { Charts } from '../charts/chart.ts';
import { restStates } from '../charts/lit.ts';
import { EMPTY, reduce, type Model } from '../model/model.ts';
import { fragmentOf, parseRoute, type Route } from '../model/routes.ts';
import { found } from '../model/search.ts';
import { countKinds, type Kind } from '../model/standing.ts';
import type { Message } from '../model/wire.ts';
import type { Source } from './api.ts';
import type { Standing } from './connection.ts';

const model = signal<Model>(EMPTY);

export const hello = computed(() => model.value.hello);
export const containers = computed(() => model.value.containers);
export const shared = computed(() => model.value.shared);
export const networks = computed(() => model.value.networks);
export const trails = computed(() => model.value.trails);
export const notifications = computed(() => model.value.notifications);
export const gone = computed(() => model.value.gone);

export const standing = signal<Standing>({ is: 'connecting' });
export const source = signal<Source | null>(null);
export const charts = signal<Charts>({});
/** Says why the page cannot be shown at all; null: it can. */
export const failure = signal<string | null>(null);

export const route = signal<Route>(parseRoute(''));
export const search = signal('');
export const kind = signal<Kind | null>(null);
/** Holds the words that a screen reader speaks next. */
export const announcement = signal('');

export const list = computed(() => found(containers.value, search.value, kind.value));
export const counts = computed(() => countKinds(containers.value.values()));
export const chosen = computed(() => (route.value.place === 'containers' ? route.value.id : null));
const rest = computed(() =>
  charts.value.container === undefined ? new Set<string>() : restStates(charts.value.container),
);
export const isRest = (state: string): boolean => rest.value.has(state);
export const maySend = computed(() => hello.value?.may_send === true && standing.value.is === 'live');

export function receive(messages: readonly Message[]): void {
  model.value = reduce(model.value, messages);
}

/**
 * Leads there at once: the browser tells of a new address only later, and a key may be pressed again by then. A file is one
 * container and nothing else, so there is nowhere to go.
 */
export function go(to: Route): void {
  if (source.value?.kind === 'file') return;
  route.value = to;
  location.hash = fragmentOf(to);
}

export const choose = (id: string): void => go({ place: 'containers', id });

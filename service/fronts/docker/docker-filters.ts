/**
 * The filters of Docker's lists: {"name":{"web":true}}, or as older clients write it {"name":["web"]}.
 *
 * Guarantees: pure. A filter that a list does not have, or a value that it cannot have, is refused by name. Values of one filter are
 * alternatives, different filters are conditions; each label is a condition, as in Docker.
 * Limits: Docker takes regular expressions for names and ids. A part of one, with ^ and $ at its ends, is what cleat takes: an
 * expression of others may take for ever.
 */
import { z } from 'zod';
import type { DockerContainer, DockerEvent, DockerNetwork } from '../../../state/answers/docker.ts';
import { FaultError } from '../../../state/faults.ts';
import { DEFAULT_NETWORK, type NetworkDefinition } from '../../../state/network.ts';

export type Filters = ReadonlyMap<string, readonly string[]>;

const Values = z.union([z.array(z.string()), z.record(z.string(), z.boolean())]);

const invalid = (message: string): FaultError => new FaultError('BAD_REQUEST', message);
const invalidFilter = (name: string, value?: string): FaultError =>
  invalid(`invalid filter '${value === undefined ? name : `${name}=${value}`}'`);

/** Reads the parameter. `known`: the filters of the list. */
export function filtersOf(text: string | undefined, known: readonly string[]): Filters {
  if (text === undefined || text === '') return new Map();
  const json = jsonOf(text);
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw invalid('invalid filter: no object');
  const filters = Object.entries(json).map(([name, given]): [string, readonly string[]] => {
    if (!known.includes(name)) throw invalid(`invalid filter '${name}': cleat has ${known.join(', ')}`);
    const { data: values, success } = Values.safeParse(given);
    if (!success) throw invalid(`invalid filter '${name}': it has a list of values`);
    // Zod leaves out a key __proto__, and a filter that is left out chooses everything.
    return [name, Array.isArray(values) ? values : Object.keys(given as object)];
  });
  return new Map(filters);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw invalid('invalid filter: no JSON');
  }
}

/** Returns true if there is no such filter, or one of its values fits. */
const some = (filters: Filters, name: string, fits: (value: string) => boolean): boolean => {
  const values = filters.get(name) ?? [];
  return values.length === 0 || values.some(fits);
};

/** Returns a function that says whether a text has this part: anywhere, or at its beginning (^) or end ($). */
function partOf(name: string, pattern: string): (text: string) => boolean {
  const [, begins, part = '', ends] = /^(\^?)\/?([\w.:-]*)(\$?)$/.exec(pattern) ?? [];
  if (begins === undefined) throw invalidFilter(name, pattern);
  return (text) => {
    if (begins !== '' && ends !== '') return text === part;
    return begins !== '' ? text.startsWith(part) : ends !== '' ? text.endsWith(part) : text.includes(part);
  };
}

const parts = (filters: Filters, name: string, text: string): boolean =>
  some(filters, name, (pattern) => partOf(name, pattern)(text));

function oneOf<Word extends string>(filters: Filters, name: string, words: readonly Word[]): readonly Word[] {
  const values = filters.get(name) ?? [];
  return values.map((value) => {
    const word = words.find((one) => one === value);
    if (word === undefined) throw invalidFilter(name, value);
    return word;
  });
}

/** key, or key=value. */
function hasLabel(labels: Readonly<Record<string, string>>, wish: string): boolean {
  const [, key = '', value] = /^([^=]*)(?:=(.*))?$/s.exec(wish) ?? [];
  return Object.hasOwn(labels, key) && (value === undefined || labels[key] === value);
}

const hasLabels = (filters: Filters, labels: Readonly<Record<string, string>>): boolean =>
  (filters.get('label') ?? []).every((wish) => hasLabel(labels, wish)) &&
  !(filters.get('label!') ?? []).some((wish) => hasLabel(labels, wish));

export const NETWORK_FILTERS = ['driver', 'id', 'label', 'name', 'scope', 'type', 'dangling'];

/** Returns a function that chooses networks. `isUsed`: a container is on it, or is to be. */
export function choosesNetworks(filters: Filters, isUsed: (network: string) => boolean) {
  const types = oneOf(filters, 'type', ['custom', 'builtin']);
  const scopes = oneOf(filters, 'scope', ['local', 'global', 'swarm']);
  const dangling = oneOf(filters, 'dangling', ['true', '1', 'false', '0']);
  checkParts(filters, ['id', 'name']);
  return ({ Name, Id, Driver, Labels }: DockerNetwork): boolean =>
    some(filters, 'driver', (value) => value === Driver) &&
    parts(filters, 'id', Id) &&
    parts(filters, 'name', Name) &&
    hasLabels(filters, Labels) &&
    (types.length === 0 || types.includes(Name === DEFAULT_NETWORK ? 'builtin' : 'custom')) &&
    (scopes.length === 0 || scopes.includes('local')) &&
    (dangling.length === 0 || dangling.some((value) => ['true', '1'].includes(value) !== isUsed(Name)));
}

/** Refuses a pattern even if there is nothing that it could be compared with. */
function checkParts(filters: Filters, names: readonly string[]): void {
  for (const name of names) for (const pattern of filters.get(name) ?? []) partOf(name, pattern);
}

export const CONTAINER_FILTERS = ['id', 'label', 'name', 'network', 'status'];
const STATES = ['created', 'restarting', 'running', 'removing', 'paused', 'exited', 'dead'] as const;

/** Returns a function that chooses containers. Without a choice of states, `all` says whether it takes more than those that run. */
export function choosesContainers(filters: Filters, all: boolean) {
  const states = oneOf(filters, 'status', STATES);
  checkParts(filters, ['id', 'name']);
  return ({ Id, Names: [name = ''], Labels, State, NetworkSettings: { Networks } }: DockerContainer): boolean =>
    parts(filters, 'id', Id) &&
    parts(filters, 'name', name.slice(1)) &&
    hasLabels(filters, Labels) &&
    some(filters, 'network', (value) =>
      Object.entries(Networks).some(([network, { NetworkID }]) => network === value || NetworkID === value),
    ) &&
    (states.length === 0 ? all || State === 'running' : states.includes(State));
}

export const EVENT_FILTERS = ['type', 'event', 'network', 'container', 'label', 'scope'];
const ACTIONS = ['create', 'connect', 'disconnect', 'update', 'destroy'] as const;

/** Returns a function that chooses events: cleat tells of networks alone. */
export function choosesEvents(filters: Filters) {
  oneOf(filters, 'type', ['network']);
  const actions = oneOf(filters, 'event', ACTIONS);
  const scopes = oneOf(filters, 'scope', ['local', 'swarm']);
  return ({ Action, Actor: { ID, Attributes } }: DockerEvent): boolean =>
    (actions.length === 0 || actions.includes(Action)) &&
    (scopes.length === 0 || scopes.includes('local')) &&
    some(filters, 'network', (value) => value === Attributes.name || ID.startsWith(value)) &&
    some(filters, 'container', (value) => value === Attributes.container) &&
    hasLabels(filters, Attributes);
}

export const PRUNE_FILTERS = ['label', 'label!', 'until'];

/** Returns a function that chooses networks to be removed, among those that nobody uses. `now`: milliseconds since the epoch. */
export function choosesPrunable(filters: Filters, now: number) {
  const until = (filters.get('until') ?? []).map((text) => momentOf(text, now));
  if (until.length > 1) throw invalid('more than one until filter specified');
  return ({ created, labels }: Pick<NetworkDefinition, 'created' | 'labels'>): boolean =>
    until.every((moment) => Date.parse(created) < moment) && hasLabels(filters, labels);
}

const UNITS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** Reads a moment as Docker does: seconds since the epoch, RFC 3339, or how long ago (1h30m). Returns milliseconds. */
export function momentOf(text: string, now: number): number {
  if (/^\d{1,12}(\.\d{1,9})?$/.test(text)) return Number(text) * 1000;
  if (/^(\d{1,9}(\.\d{1,9})?(h|ms|m|s)){1,4}$/.test(text)) {
    const steps = [...text.matchAll(/([\d.]+)(h|ms|m|s)/g)];
    return now - steps.reduce((sum, [, count, unit = '']) => sum + Number(count) * (UNITS[unit] ?? 0), 0);
  }
  const { success } = z.iso.datetime({ offset: true }).safeParse(text);
  if (success) return Date.parse(text);
  throw invalid(
    `invalid moment '${text}': it is seconds since the epoch, 2006-01-02T15:04:05Z, or a time such as 1h30m`,
  );
}

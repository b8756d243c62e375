/**
 * Finds the containers that a person sees: searched by words, filtered by kind of state, in a steady order.
 *
 * Guarantees: pure. Each word has to occur in the id, the name, the state, a network, an address, a port or the uplink. Numbers
 * in ids sort as numbers, so c2 comes before c10, and a change of state moves nobody.
 */
import { kindOf, type Kind } from './standing.ts';
import type { ContainerView } from './wire.ts';

/** Sorts numbers in names as numbers. */
export const ORDER = new Intl.Collator('en', { numeric: true });

/** Keeps the text that a search looks at. A view never changes, because another one comes in its place. */
const TEXTS = new WeakMap<ContainerView, string>();

/** Returns all addresses of a container, without prefixes. */
export function addressesOf({ networks, uplink }: Pick<ContainerView, 'networks' | 'uplink'>): string[] {
  const leased = Object.values(networks)
    .flatMap(({ interfaces }) => Object.values(interfaces))
    .flatMap(({ subnets }) => subnets.map(({ ipnet }) => ipnet.replace(/\/\d+$/, '')));
  return [...leased, ...(uplink?.addresses ?? []).map(({ address }) => address)];
}

/** Returns the names of its networks: those that it is on, and those that it asked for. */
export const networksOf = ({ networks, requested_networks }: ContainerView): string[] => [
  ...new Set([...Object.keys(networks), ...Object.keys(requested_networks)]),
];

/** Returns in words how a container reaches the outside: networks, a program, or the namespace of another. */
export function outsOf(view: ContainerView): string[] {
  const { netns, uplink } = view;
  if (uplink !== null) return [uplink.program];
  if (netns.mode === 'container') return [`in the namespace of ${netns.id}`];
  if (netns.mode === 'host') return ['in the namespace of the host'];
  const networks = networksOf(view);
  return networks.length === 0 ? ['no network'] : networks;
}

function textOf(view: ContainerView): string {
  const known = TEXTS.get(view);
  if (known !== undefined) return known;
  const ports = view.ports.map(({ host_port, container_port }) => `${host_port}:${container_port}`);
  const parts = [view.id, view.name, view.state, view.outside ?? ''];
  const text = [...parts, ...outsOf(view), ...networksOf(view), ...addressesOf(view), ...ports]
    .join('\n')
    .toLowerCase();
  TEXTS.set(view, text);
  return text;
}

/** Returns the containers that a search finds, in order. */
export function found(
  containers: ReadonlyMap<string, ContainerView>,
  search: string,
  kind: Kind | null,
): readonly ContainerView[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const list = [...containers.values()].filter(
    (view) => (kind === null || kindOf(view.state) === kind) && words.every((word) => textOf(view).includes(word)),
  );
  return list.sort((a, b) => ORDER.compare(a.id, b.id));
}

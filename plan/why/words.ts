/**
 * Makes the words that the sentences about a container are made of.
 *
 * Guarantees: pure. A list reads "a, b and c". A fault is followed by its code, by which docs/errors.md has it.
 */
import { portText } from '../ports/port-text.ts';
import type { Difference, Drift, PortRequest, ResolvedPort } from '../../state/container.ts';
import type { DriftKind, DriftPolicies } from '../../state/drift.ts';
import type { Fault } from '../../state/faults.ts';

/** A sentence names this many things, and counts the rest. */
const NAMED = 4;

/** Returns "a, b and c", or "a, b, c, d and 7 more". */
export function listOf(things: readonly string[]): string {
  const rest = things.length - NAMED;
  const named = rest > 1 ? [...things.slice(0, NAMED), `${rest} more`] : [...things];
  const last = named.pop() ?? '';
  return named.length === 0 ? last : `${named.join(', ')} and ${last}`;
}

/** Returns the verb that a list of these things has. */
export const are = (things: readonly unknown[]): string => (things.length === 1 ? 'is' : 'are');

export const faultText = ({ message, code }: Fault): string => `${message.replace(/\.$/, '')} (${code})`;

/** Returns "8 s", "3 min" or "2 h". */
export function spanText(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

export const portsText = (ports: readonly ResolvedPort[]): string =>
  listOf(
    ports.map(({ protocol, hostIp, outerIp, hostPort, range }) =>
      portText(protocol, outerIp ?? hostIp, hostPort, range),
    ),
  );

/**
 * Returns ports that were requested and are not claimed yet. One whose host port is still to be chosen is named by the other end.
 */
export const wishesText = (ports: readonly PortRequest[]): string =>
  listOf(
    ports.map(({ protocol = 'tcp', outer_ip, host_ip = '', host_port = 0, container_port, range }) =>
      host_port === 0
        ? `one for ${portText(protocol, '', container_port, range)}`
        : portText(protocol, outer_ip ?? host_ip, host_port, range),
    ),
  );

/** Says what an object of drift is called before its own text. */
const KIND: Record<Drift['kind'], string> = {
  link: 'link ',
  address: 'address ',
  route: 'route ',
  neighbour: 'neighbour ',
  switch: 'switch ',
  table: 'table ',
  rule: 'rule ',
  port: 'port ',
  dns: 'name server ',
  uplink: 'uplink ',
};

/** Pairs what may be wrong with a link, as differences name it, with how a sentence names it. */
const OF_LINKS: readonly [RegExp, (value: string, link: string) => string][] = [
  [/^master (\S+) on (\S+)$/, (bridge, link) => `link ${link} on bridge ${bridge}`],
  [/^mac (\S+) on (\S+)$/, (mac, link) => `MAC address ${mac} of link ${link}`],
  [/^mtu (\S+) on (\S+)$/, (mtu, link) => `MTU ${mtu} of link ${link}`],
  [/^alias (\S+) on (\S+)$/, (alias, link) => `alias ${alias} of link ${link}`],
  [/^(up) on (\S+)$/, (_up, link) => `link ${link}, which is to be up,`],
];

export function objectText({ kind, object }: Drift): string {
  if (kind === 'link') {
    for (const [form, words] of OF_LINKS) {
      const [, value = '', link = ''] = form.exec(object) ?? [];
      if (link !== '') return words(value, link);
    }
  }
  return object.startsWith(KIND[kind]) ? object : `${KIND[kind]}${object}`;
}

/** Returns "address 10.0.0.2/24 on eth0 and route default on eth0 are missing and MTU 1400 of link eth0 is not as it was made". */
export function differencesText(differences: readonly Difference[]): string {
  const problems = [...new Set(differences.map(({ problem }) => problem))];
  const texts = problems.map((problem) => {
    const objects = differences.filter((one) => one.problem === problem).map(objectText);
    return `${listOf(objects)} ${PROBLEM[problem][objects.length === 1 ? 0 : 1]}`;
  });
  return listOf(texts);
}

/** Returns ", and are left so (--drift route=alert)"; nothing if each of these kinds is put back. */
export function leftText(policies: DriftPolicies, drift: readonly Drift[]): string {
  const kinds = [...new Set(drift.map(({ kind }) => kind))].filter((kind) => policies[kind] !== 'repair');
  if (kinds.length === 0) return '';
  return `, and ${are(drift)} left so (--drift ${kinds.map((kind) => `${kind}=${policies[kind]}`).join(', ')})`;
}

/** Returns " (not watched: --drift port=ignore)"; nothing if each of these kinds is watched. */
export function unwatchedText(policies: DriftPolicies, kinds: readonly DriftKind[]): string {
  const ignored = kinds.filter((kind) => policies[kind] === 'ignore');
  return ignored.length === 0 ? '' : ` (not watched: --drift ${ignored.map((kind) => `${kind}=ignore`).join(', ')})`;
}

const PROBLEM: Record<Difference['problem'], readonly [one: string, many: string]> = {
  missing: ['is missing', 'are missing'],
  changed: ['is not as it was made', 'are not as they were made'],
  unreadable: ['cannot be read', 'cannot be read'],
};

/** Returns a text with a full stop, unless it ends already. */
export const stopped = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);

/** Returns a sentence: with a capital letter, unless it begins with a command, and a full stop. */
export const sentence = (text: string): string => stopped(text.charAt(0).toUpperCase() + text.slice(1));

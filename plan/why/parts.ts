/**
 * Says how each part of a container is: its namespace, its attachments, its uplink, its names, its ports, what it was granted.
 *
 * Guarantees: pure. A part that the container does not have, and was not to have, is not listed.
 * Limits: shared.ts has the machines that it shares with others.
 */
import { changeOf, leadsTo } from '../containers/change.ts';
import { carrierOf } from '../external/external.ts';
import { nameEntries } from '../names/names.ts';
import { isLeaving } from '../states.ts';
import type { Condition, WhyPart } from '../../state/answers/container/why.ts';
import type { Difference } from '../../state/container.ts';
import type { External } from '../../state/external.ts';
import type { Facts } from './facts.ts';
import { underWay } from './states.ts';
import { are, differencesText, leftText, listOf, portsText, unwatchedText, wishesText } from './words.ts';

export const part = (part: WhyPart['part'], object: string | null, condition: Condition, text: string): WhyPart => ({
  part,
  object,
  condition,
  text,
});

/** Has the kinds of drift that a link has, or an object on it. */
const ON_LINKS: ReadonlySet<Difference['kind']> = new Set(['link', 'address', 'route', 'neighbour', 'switch', 'rule']);

const leaving = ({ state }: Facts): boolean => isLeaving({ value: state });
const lead = (ports: readonly { range: number }[]): string =>
  ports.length === 1 && ports[0]?.range === 1 ? 'leads' : 'lead';
const atWork = ({ state }: Facts): boolean => underWay(state) !== undefined;

/** Returns "X and Y are missing, and are left so (--drift route=alert)". */
const driftText = ({ policies }: Facts, differences: readonly Difference[]): string =>
  `${differencesText(differences)}${leftText(policies, differences)}`;

/** Returns the differences of the namespace itself, or of the outside's. */
const ofNamespace = ({ differences, context: { netns, outside } }: Facts): Difference[] =>
  differences.filter(({ network, object }) => network === null && [netns?.path, outside ?? 'outside'].includes(object));

function namespacePart(facts: Facts): WhyPart {
  const { context, owner } = facts;
  const { netns, identity, request } = context;
  const is = (condition: Condition, text: string) => part('namespace', null, condition, text);
  if (netns === null) return is('ok', "is the host's own, in which nothing is made for it");
  if (request.netns.mode === 'container') {
    const its = `is that of ${owner?.name ?? request.netns.id}`;
    if (owner === null) return is('wrong', `${its}, which is gone`);
    if (!owner.whole) return is('wrong', `${its}, which is not well`);
    const gone = owner.gone ? ', which was torn down: its network stays until its last user has gone' : '';
    return is(leaving(facts) ? 'waiting' : 'ok', `${its}${gone}`);
  }
  const [lost] = ofNamespace(facts);
  if (lost !== undefined) {
    const what = { missing: 'is no longer at', changed: 'is not the one at', unreadable: 'cannot be read at' };
    return is('wrong', `${what[lost.problem]} ${lost.object}`);
  }
  if (leaving(facts)) return is('waiting', identity === null ? 'was never made' : `at ${netns.path} is being removed`);
  if (identity === null) return is('waiting', 'is not made yet');
  return is('ok', `is at ${netns.path}`);
}

const programText = ({ terms }: External): string =>
  terms.driver === 'cni' ? `the plugins of conflist ${terms.list.name}` : terms.driver;

function attachmentParts(facts: Facts): WhyPart[] {
  const { context, differences, state } = facts;
  const change = changeOf(context);
  const attached = context.attachments.map((attachment) => {
    const { network, link, bridge, addresses, child, external } = attachment;
    const has = addresses.map(({ address, prefix }) => `${address}/${prefix}`);
    const what = `${link} with ${has.length === 0 ? 'no address' : listOf(has)}`;
    const on =
      external !== undefined
        ? `made by ${programText(external)}`
        : child === undefined
          ? `on bridge ${bridge}`
          : `a ${child.kind} on ${bridge}`;
    const is = (condition: Condition, text: string) => part('attachment', network, condition, text);
    if (leaving(facts)) return is('waiting', `${what} is being removed`);
    const found = differences.filter((one) => one.network === network && ON_LINKS.has(one.kind));
    if (found.length > 0) return is('wrong', driftText(facts, found));
    const busy = Object.hasOwn(change.networks, network) || change.todo.includes(network);
    if (state === 'failed' && busy) return is('wrong', `${what} may exist in part`);
    return busy ? is('waiting', `${what} is being made or changed`) : is('ok', `${what} is ${on}`);
  });
  if (leaving(facts)) return attached;
  const known = new Set(context.attachments.map(({ network }) => network));
  const wanted = Object.keys({ ...context.request.networks, ...change.networks }).filter((name) => !known.has(name));
  const asked = atWork(facts) ? 'is not made yet' : 'is made by `configure`';
  return [...attached, ...wanted.map((network) => part('attachment', network, 'waiting', asked))];
}

function uplinkParts(facts: Facts): WhyPart[] {
  const { context, process, differences, policies } = facts;
  const { uplink } = context;
  if (uplink === undefined) return [];
  const { program } = uplink.settings;
  const is = (condition: Condition, text: string) => [part('uplink', program, condition, text)];
  if (leaving(facts))
    return is('waiting', process === null || process.state === 'none' ? 'has ended' : 'is being ended');
  if (atWork(facts)) return is('waiting', 'is being started, ended or told of ports');
  if (!context.configured) return is('waiting', 'is started by `configure`');
  if (process?.state !== 'ready') {
    const since = process?.down_since ?? null;
    const left = policies.uplink === 'repair' ? '' : `, and is not started again (--drift uplink=${policies.uplink})`;
    return is('wrong', `does not run${since === null ? '' : `, since ${since}`}${left}`);
  }
  const namespace = ofNamespace(facts);
  const found = differences.filter((one) => one.network === null && one.kind !== 'port' && !namespace.includes(one));
  if (found.length > 0) return is('wrong', driftText(facts, found));
  const link = uplink.made;
  const has =
    link === null
      ? ''
      : `, and has ${listOf(link.addresses.map(({ address, prefix }) => `${address}/${prefix}`))} on ${link.name}`;
  return is('ok', `runs (pid ${process.pid ?? 'unknown'})${has}`);
}

function nameParts(facts: Facts): WhyPart[] {
  const { context, resolver } = facts;
  const entries = nameEntries(context, context.attachments);
  if (entries.length === 0) return [];
  const is = (condition: Condition, text: string) => [part('names', null, condition, text)];
  const all = [...new Set(entries.flatMap((entry) => entry.names))];
  const names = listOf(all);
  if (leaving(facts)) return is('waiting', `${names} ${are(all)} being removed`);
  const named = new Set(resolver?.named);
  const missing = entries.map(({ network }) => network).filter((network) => !named.has(network));
  if (missing.length === 0)
    return is('ok', `${names} ${are(all)} known on ${listOf(entries.map(({ network }) => network))}`);
  return is(atWork(facts) ? 'waiting' : 'wrong', `${names} ${are(all)} not known on ${listOf(missing)}`);
}

function portParts(facts: Facts): WhyPart[] {
  const { context, differences, policies, process, state } = facts;
  const { ports, request, configured, portHandler = 'firewall', uplink } = context;
  const is = (condition: Condition, text: string) => [part('ports', null, condition, text)];
  if (leaving(facts)) return ports.length === 0 ? [] : is('waiting', `${portsText(ports)} ${are(ports)} being removed`);
  if (!configured) {
    const when = atWork(facts) ? 'not published yet' : 'published by `configure`';
    return request.ports.length === 0
      ? []
      : is('waiting', `${wishesText(request.ports)} ${are(request.ports)} ${when}`);
  }
  if (ports.length === 0) return [];
  const text = portsText(ports);
  const found = differences.filter(({ kind }) => kind === 'port');
  if (found.length > 0) return is('wrong', driftText(facts, found));
  if (uplink !== undefined && process?.state !== 'ready')
    return is('wrong', `${text} ${lead(ports)} nowhere while ${uplink.settings.program} does not run`);
  const carrier = carrierOf(context.attachments);
  if (carrier !== undefined) {
    if (atWork(facts)) return is('waiting', `${text} ${are(ports)} being made sure of`);
    return is('ok', `${text} ${are(ports)} published by the program of network ${carrier.network}`);
  }
  const targets = leadsTo(context);
  if (targets.length === 0 && portHandler !== 'pasta')
    return is('waiting', `${text} ${lead(ports)} nowhere, because it is on no network that takes ports`);
  if (atWork(facts)) return is('waiting', `${text} ${are(ports)} being made sure of`);
  if (state === 'degraded' || state === 'failed')
    return is('waiting', `${text} ${are(ports)} made sure of when the repair succeeds`);
  const doubt = unwatchedText(policies, ['port']);
  return is(
    'ok',
    `${text} ${lead(ports)} to ${listOf(targets.length === 0 ? ['it'] : targets)}, by the ${HANDLER[portHandler]}${doubt}`,
  );
}

const HANDLER = { firewall: 'firewall', forwarder: 'forwarder', slirp4netns: 'uplink', pasta: 'uplink' } as const;

function publisherParts({ context, publisher }: Facts): WhyPart[] {
  const { publisher: url, ports, request } = context;
  if (url === null || ports.length + request.ports.length === 0) return [];
  const is = (condition: Condition, text: string) => [part('publisher', null, condition, text)];
  return publisher === null
    ? is('ok', `at ${url} answers`)
    : is('wrong', `at ${url} does not answer: ${publisher.message}`);
}

function leaseParts(facts: Facts): WhyPart[] {
  const { context, leased } = facts;
  const { attachments, ports } = context;
  const held = [
    ...attachments.flatMap(({ network, addresses }) => addresses.map(({ address }) => `${address} of ${network}`)),
    ...(ports.length === 0 ? [] : [`host port ${portsText(ports)}`]),
  ];
  if (held.length === 0) return [];
  const is = (condition: Condition, text: string) => [part('leases', null, condition, text)];
  if (leaving(facts))
    return is(
      'waiting',
      `${listOf(held)} ${are(held)} kept until nothing uses ${held.length === 1 ? 'it' : 'them'} any more`,
    );
  const lost = attachments.map(({ network }) => network).filter((network) => !leased.includes(network));
  if (lost.length > 0 && !atWork(facts)) return is('wrong', `it has no address of ${listOf(lost)}`);
  return is('ok', `it holds ${listOf(held)}`);
}

export const ownParts = (facts: Facts): WhyPart[] => [
  namespacePart(facts),
  ...attachmentParts(facts),
  ...uplinkParts(facts),
  ...nameParts(facts),
  ...portParts(facts),
  ...publisherParts(facts),
  ...leaseParts(facts),
];

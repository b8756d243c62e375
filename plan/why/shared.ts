/**
 * Says how the machines are that a container shares with others, and depends on.
 *
 * Guarantees: pure. Only machines that this container needs, or will need when it is configured, are listed. One that tries
 * again by itself says within which time.
 */
import { pauseAfter } from '../pauses.ts';
import { isLeaving } from '../states.ts';
import { changeOf } from '../containers/change.ts';
import type { WhyPart } from '../../state/answers/container/why.ts';
import type { Drift } from '../../state/container.ts';
import type { Facts, NetworkFact, OverlayFact, SharedFact } from './facts.ts';
import { part } from './parts.ts';
import { FIREWALL, FIREWALLD, NETWORK, OVERLAY, RESOLVER, ROOTLESS, UNUSED, type Meanings } from './states.ts';
import { are, faultText, leftText, listOf, objectText, spanText, unwatchedText } from './words.ts';

/** Has the kinds of drift that a bridge has, or an object on it. */
const ON_BRIDGES: ReadonlySet<Drift['kind']> = new Set(['link', 'address', 'neighbour', 'switch', 'route']);

/** Returns how a machine is, with its fault and its next attempt, and the drift of its objects that is left. */
function partOf(
  name: WhyPart['part'],
  object: string | null,
  { state, fault, attempts }: SharedFact,
  meanings: Meanings,
  drift: Facts['left'],
  policies: Facts['policies'],
): WhyPart {
  const { condition, text } = meanings[state] ?? { condition: 'waiting', text: `is ${state}` };
  const failing = condition === 'wrong' || attempts > 0 ? fault : null;
  const why = failing === null ? '' : `: ${faultText(failing)}`;
  const again =
    condition === 'wrong' && attempts > 0 ? `; it is tried again within ${spanText(pauseAfter(attempts))}` : '';
  if (condition === 'wrong' || drift.length === 0) return part(name, object, condition, `${text}${why}${again}`);
  const missing = `${listOf(drift.map(objectText))} ${are(drift)} missing or changed`;
  return part(name, object, 'wrong', `${missing}${leftText(policies, drift)}`);
}

function networkPart(facts: Facts, network: string): WhyPart {
  const { networks, left, defined, context, policies } = facts;
  const machine = networks.find((one) => one.network === network);
  if (machine === undefined) {
    return defined.has(network)
      ? part('network', network, UNUSED.condition, UNUSED.text)
      : part('network', network, 'wrong', 'does not exist');
  }
  const drift = left.filter((one) => one.network === network && ON_BRIDGES.has(one.kind));
  const found = partOf('network', network, machine, NETWORK, drift, policies);
  const used = context.attachments.some((one) => one.network === network);
  if (machine.state === 'down' && used) return { ...found, condition: 'wrong', text: 'is down' };
  if (machine.state === 'down' && machine.driver !== undefined)
    return { ...found, text: `has no link on ${machine.bridge} now, because no container is on it` };
  return found.condition === 'ok' && machine.state === 'up' ? { ...found, text: upText(machine) } : found;
}

const upText = ({ bridge, unmanaged, driver, external }: NetworkFact): string => {
  if (external === true) return 'is in use: its program makes whatever there is';
  if (driver !== undefined) return `is up, with ${driver} links on ${bridge}`;
  return `is up, on bridge ${bridge}${unmanaged ? ', which others manage' : ''}`;
};

/** Says since when an overlay is as it is, what each member of etcd has answered, and when it ends. */
function overlayPart({ network, state, fault, ...fact }: OverlayFact, now: number): WhyPart {
  const { shares, closedAt, leaseEnds, outage, renumbered } = fact;
  const { condition, text } = OVERLAY[state] ?? { condition: 'waiting', text: `is ${state}` };
  const ago = (time: number): string => `${spanText(now - time)} ago`;
  const said: string[] = [];
  if (condition === 'ok') {
    said.push(text, `has ${listOf(shares)} for this host`);
  } else {
    said.push(fault === null ? text : `${text}: ${faultText(fault)}`);
    if (closedAt !== null) said.push(`nothing was attached since ${ago(closedAt)}`);
  }
  if (outage !== null) {
    // The fault of a claim is what etcd has answered.
    const why = fault?.code === 'STORE_UNREACHABLE' ? '' : ` (${outage.why})`;
    said.push(
      `etcd began not to answer ${ago(outage.since)}${why}, and the other hosts are those that were known then`,
    );
  }
  if (condition !== 'ok' && leaseEnds !== null) {
    said.push(
      leaseEnds > now
        ? `the lease of its share ends in ${spanText(leaseEnds - now)} if it is not renewed, and the share is claimed again then`
        : 'the lease of its share has ended, and the share is claimed again',
    );
  }
  if (renumbered !== null) {
    const [to, from] = [listOf(renumbered.to), listOf(renumbered.from)];
    said.push(`its containers got addresses of ${to} in place of ${from} ${ago(renumbered.at)}`);
  }
  return part('overlay', network, condition, said.join('; '));
}

export function sharedParts(facts: Facts): WhyPart[] {
  const { context, state, left, policies } = facts;
  if (context.netns === null || context.request.netns.mode === 'container') return [];
  const names = Object.keys({
    ...(isLeaving({ value: state }) ? {} : context.request.networks),
    ...changeOf(context).networks,
    ...Object.fromEntries(context.attachments.map(({ network }) => [network, {}])),
  });
  const networks = names.map((network) => networkPart(facts, network));
  const managed = names.some((name) => facts.networks.find(({ network }) => network === name)?.unmanaged !== true);
  const external = names.some((name) => facts.networks.find(({ network }) => network === name)?.external === true);
  const behind = managed || external || context.uplink !== undefined;
  const parts = [...networks, ...facts.overlays.map((fact) => overlayPart(fact, facts.now))];
  if (facts.firewall !== null && behind) {
    const drift = left.filter(({ kind }) => kind === 'table' || kind === 'rule');
    const one = partOf('firewall', null, facts.firewall, FIREWALL, drift, policies);
    const doubt = one.condition === 'ok' ? unwatchedText(policies, ['table', 'rule']) : '';
    parts.push({ ...one, text: `${one.text}${doubt}` });
  }
  if (facts.rootless !== null && names.length > 0)
    parts.push(partOf('rootless', null, facts.rootless, ROOTLESS, [], policies));
  if (facts.firewalld !== null && managed && facts.firewalld.fault !== null)
    parts.push(partOf('firewalld', null, facts.firewalld, FIREWALLD, [], policies));
  if (facts.resolver !== null && context.attachments.some(({ dns }) => dns !== null))
    parts.push(
      partOf(
        'resolver',
        null,
        facts.resolver,
        RESOLVER,
        left.filter(({ kind }) => kind === 'dns'),
        policies,
      ),
    );
  return [...parts, ...forwarderParts(facts)];
}

function forwarderParts({ context, forwarder, state }: Facts): WhyPart[] {
  if (context.portHandler !== 'forwarder' || context.ports.length === 0 || !context.configured) return [];
  const is = (condition: WhyPart['condition'], text: string) => [part('forwarder', null, condition, text)];
  if (isLeaving({ value: state })) return [];
  if (forwarder === null) return is('wrong', 'does not run');
  if ('fault' in forwarder) return is('wrong', `does not answer: ${faultText(forwarder.fault)}`);
  return forwarder.carried === 0
    ? is('wrong', 'runs, but carries none of its ports')
    : is('ok', 'runs, and carries its ports');
}

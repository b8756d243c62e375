/**
 * Says what can be done about what blocks a container.
 *
 * Guarantees: pure. Each remedy is said once. One that is an event is an event that the machine accepts now.
 */
import type { WhyPart } from '../../state/answers/container/why.ts';
import type { Drift } from '../../state/container.ts';
import { causes, sharedFaults } from './causes.ts';
import type { Facts } from './facts.ts';
import { sentence } from './words.ts';

/** A reload puts back drift that policy leaves: what is in the firewall, and with `--full` the links, too. */
const BY_RELOAD: ReadonlySet<Drift['kind']> = new Set(['table', 'rule', 'port']);
const BY_FULL_RELOAD: ReadonlySet<Drift['kind']> = new Set(['link', 'address', 'route', 'neighbour']);

function driftRemedies({ context, differences, left, policies, state, legal }: Facts): string[] {
  if (!legal.includes('reload') || state !== 'up') return [];
  const isLeft = ({ kind }: Drift) => policies[kind] !== 'repair';
  const own = differences.filter((one) => isLeft(one) && (one.network !== null || one.kind !== 'link'));
  const kinds = new Set([...own, ...left.filter(isLeft)].map(({ kind }) => kind));
  const some = (those: ReadonlySet<string>) => [...kinds].some((kind) => those.has(kind));
  const { name } = context;
  const policy = [...kinds].map((kind) => `--drift ${kind}=repair`).join(' ');
  const whole = own.some(({ kind }) => BY_FULL_RELOAD.has(kind)) && context.attachments.length > 0;
  return [
    ...(whole ? [`\`cleat reload --full ${name}\` makes its links, addresses and routes anew`] : []),
    ...(!whole && some(BY_RELOAD) ? [`\`cleat reload ${name}\` puts back what is missing in the firewall`] : []),
    ...(kinds.has('uplink') ? [`\`cleat reload ${name}\` starts its uplink again`] : []),
    ...(kinds.size === 0 ? [] : [`a daemon that is started with ${policy} puts it back by itself`]),
  ];
}

/** Returns the event that tries at once what is blocked, in the states that have one. */
function eventRemedy({ context, state, legal, defect }: Facts): string[] {
  const { name, ownerGone } = context;
  const can = (type: string, text: string) => (legal.includes(type) ? [`\`cleat ${type} ${name}\` ${text}`] : []);
  if (defect !== null) return can('reload', 'starts its machine again from its snapshot on disk, as any event does');
  if (ownerGone)
    return [`tear down those who use its namespace, or \`cleat create ${name}\` again, with the same settings`];
  switch (state) {
    case 'created':
      return can('configure', 'makes what was requested');
    case 'degraded':
      return can('reload', 'tries again at once');
    case 'failed':
      return can('teardown', 'removes all of it');
    case 'teardownFailed':
      return can('teardown', 'tries again at once');
    default:
      return [];
  }
}

export function remediesOf(facts: Facts, parts: readonly WhyPart[]): string[] {
  const { context, hintOf, forwarder, publisher, owner } = facts;
  const others = [
    ...(forwarder !== null && 'fault' in forwarder ? [forwarder.fault] : []),
    ...(publisher === null ? [] : [publisher]),
  ];
  const faults = [...sharedFaults(facts, parts), ...causes(facts), ...others];
  // The hint of an error of the kernel is to read the message, which the reader has done.
  const hints = faults
    .filter(({ code }) => code !== 'KERNEL')
    .map(({ code, owner }) => `${hintOf(code)}${owner === undefined ? '' : ` Its owner is ${owner}.`}`);
  const pin = facts.differences.some(
    ({ network, object, problem }) => network === null && object === context.netns?.path && problem !== 'unreadable',
  );
  const again = pin
    ? ['a namespace that is gone does not come back: tear the container down, and create it again']
    : [];
  const idle =
    facts.state === 'up' && parts.some(({ part, condition }) => part === 'ports' && condition === 'waiting')
      ? [`\`cleat connect NETWORK ${context.name}\` gives its ports a network to lead to`]
      : [];
  const theirs = owner !== null && !owner.whole ? [`\`cleat why ${owner.name}\` says more`] : [];
  return [...new Set([...hints, ...theirs, ...again, ...idle, ...driftRemedies(facts), ...eventRemedy(facts)])].map(
    sentence,
  );
}

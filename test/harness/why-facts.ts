/**
 * Makes facts about a container that is up and well, for tests of the judgement: a test changes what it is about. Returns what is
 * said about them, as lines.
 */
import type { Facts } from '../../plan/why/facts.ts';
import { judge } from '../../plan/why/why.ts';
import type { WhyPart } from '../../state/answers/container/why.ts';
import type { Attachment, ContainerContext, ResolvedPort } from '../../state/container.ts';
import { driftPolicies } from '../../state/drift.ts';
import { FAULTS } from '../../state/faults.ts';
import { containerInput, leaseOf } from './fixtures.ts';

export const NOW = 1_700_000_100_000;

export const PORT: ResolvedPort = {
  protocol: 'tcp',
  hostIp: '',
  hostPort: 8080,
  containerPort: 80,
  range: 1,
  outerIp: null,
};

export const attachmentTo = (network: string, ordinal = 0): Attachment => ({
  ...leaseOf(network),
  ordinal,
  hostLink: `ve${ordinal}`,
  link: `eth${ordinal}`,
  alias: `cleat:main:c1:7:${network}`,
  aliases: [],
  gatewayPriority: 0,
});

export const contextWith = (more: Partial<ContainerContext> = {}): ContainerContext => ({
  ...containerInput(),
  identity: { dev: 4, ino: 7 },
  request: { netns: { mode: 'new' }, networks: { web: {} }, ports: [] },
  attachments: [attachmentTo('web')],
  ports: [],
  nextOrdinal: 1,
  configured: true,
  ownerGone: false,
  change: null,
  operation: { n: 2, type: 'configure', network: null },
  drift: [],
  fault: null,
  leftovers: [],
  attempts: 0,
  lastFault: null,
  ...more,
});

export type Changed = Partial<Omit<Facts, 'context'>> & { context?: Partial<ContainerContext> };

export const factsWith = ({ context, ...more }: Changed = {}): Facts => ({
  now: NOW,
  context: contextWith(context),
  state: 'up',
  defect: null,
  legal: ['configure', 'connect', 'disconnect', 'reload', 'publish', 'unpublish', 'teardown'],
  overlays: [],
  history: [
    { t: NOW - 9000, machine: 'container', event: 'xstate.init', from: '', to: 'creating', ms: 0 },
    { t: NOW - 8000, machine: 'container', event: 'configure', from: 'created', to: 'configuring.leasing', ms: 1 },
    {
      t: NOW - 7990,
      machine: 'container',
      event: 'xstate.done.actor.attachment',
      from: 'configuring.attaching',
      to: 'up',
      ms: 1,
    },
  ],
  differences: [],
  policies: driftPolicies([]),
  left: [],
  networks: [{ network: 'web', bridge: 'cl-web', unmanaged: false, state: 'up', fault: null, attempts: 0 }],
  defined: new Set(['web', 'back']),
  firewall: { state: 'up', fault: null, attempts: 0 },
  firewalld: null,
  rootless: null,
  resolver: { state: 'idle', fault: null, attempts: 0, named: [] },
  leased: ['web'],
  process: null,
  forwarder: null,
  publisher: null,
  owner: null,
  users: [],
  others: [],
  hintOf: (code) => FAULTS[code][1],
  ...more,
});

/** Returns the verdict, what blocks, and what helps: a fault's hint is its code, so that its wording is not tested here. */
export const saidOf = (changed: Changed): string[] => {
  const { verdict, blocks, unblocks } = judge(factsWith({ hintOf: (code) => `see ${code}.`, ...changed }));
  return [verdict, ...blocks.map((text) => `blocks: ${text}`), ...unblocks.map((text) => `helps: ${text}`)];
};

/** Returns the parts of this kind: "web, ok: is up". */
export const partsOf = (kind: WhyPart['part'], changed: Changed): string[] =>
  judge(factsWith(changed))
    .parts.filter(({ part }) => part === kind)
    .map(({ object, condition, text }) => `${object === null ? '' : `${object}, `}${condition}: ${text}`);

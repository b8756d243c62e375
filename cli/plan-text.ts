/**
 * Says a plan in words: what happens, step by step, and what the container gets.
 *
 * Guarantees: pure. Each effect that a machine of cleat names has words (test/cli/plan-text.test.ts).
 * Limits: the effect of a newer daemon is shown by its name.
 */
import type { Plan, PlanStep } from '../state/answers/container/plan.ts';
import type { Attachment, PortTarget } from '../state/container.ts';
import { portText } from './text.ts';

/** Describes what the inputs of effects have that a person wants to know. */
interface Shown {
  attachment?: Attachment;
  directory?: string;
  path?: string;
  targets?: PortTarget[];
  replacing?: PortTarget[];
  entries?: { network: string; names: string[] }[];
  ports?: unknown[];
  uplink?: boolean;
  networks?: Record<string, unknown> | string[];
  definition?: { driver?: string; network_interface: string; subnets: { subnet: string }[] };
  bridge?: string;
  file?: string;
  program?: string;
}

/** More than so many of a kind are counted. */
const MOST = 3;

const some = (all: readonly string[]): string =>
  all.length <= MOST ? all.join(', ') : `${all.slice(0, MOST).join(', ')} and ${all.length - MOST} more`;

const target = ({ hostIp, hostPort, protocol, address, containerPort }: PortTarget): string => {
  const bracketed = (ip: string) => (ip.includes(':') ? `[${ip}]` : ip);
  return `${hostIp === '' ? '*' : bracketed(hostIp)}:${hostPort}/${protocol} to ${bracketed(address)}:${containerPort}`;
};

const moved = ({ targets = [], replacing = [] }: Shown): string =>
  [
    ...(targets.length === 0 ? [] : [`lead ${some(targets.map(target))}`]),
    ...(replacing.length === 0 ? [] : [`no longer lead ${some(replacing.map(target))}`]),
  ].join('; ') || 'lead the published ports';

const link = ({ attachment }: Shown): string =>
  attachment === undefined
    ? 'a link'
    : attachment.child === undefined
      ? `${attachment.hostLink} to ${attachment.link} on ${attachment.bridge}`
      : `${attachment.link}, a ${attachment.child.kind} on ${attachment.bridge}`;

/** Names what an external network is made by. */
const program = ({ attachment }: Shown): string => {
  const terms = attachment?.external?.terms;
  if (terms === undefined) return 'its program';
  return terms.driver === 'cni' ? `the plugins of conflist ${terms.list.name}` : terms.driver;
};

const inside = ({ attachment }: Shown): string =>
  attachment === undefined ? 'the attachment' : `${attachment.link} on ${attachment.network}`;

const addresses = ({ attachment }: Shown): string =>
  some((attachment?.addresses ?? []).map(({ address, prefix }) => `${address}/${prefix}`));

const bridge = ({ definition, bridge: name }: Shown): string => name ?? definition?.network_interface ?? 'the bridge';

const onParent = ({ definition }: Shown): boolean => (definition?.driver ?? 'bridge') !== 'bridge';

const parent = (input: Shown): string => `look at the parent ${bridge(input)}`;

const namesOf = ({ networks = {} }: Shown): string => some(Array.isArray(networks) ? networks : Object.keys(networks));

/** Says what is leased: addresses, host ports, the firewall's table. */
function leased(input: Shown): string {
  const networks = namesOf(input);
  const parts = [
    ...(networks === '' ? [] : [`addresses on ${networks}`]),
    ...((input.ports ?? []).length === 0 ? [] : ['host ports']),
    ...(input.uplink === true ? ['the table that restricts the uplink'] : []),
  ];
  return parts.join(' and ') || 'addresses and host ports';
}

const names = ({ entries = [] }: Shown): string =>
  some(entries.map(({ network, names }) => `${names.join(', ')} on ${network}`)) || 'names';

/** Says, by effect, what it does. */
export const WORDS: Readonly<Record<string, (input: Shown) => string>> = {
  ensureNamespace: ({ path }) => `pin the network namespace at ${path ?? '?'}`,
  removeNamespace: ({ path }) => `unpin the network namespace at ${path ?? '?'}`,
  lease: (input) => `request ${leased(input)}`,
  release: (input) => `give back ${leased(input)}`,
  expose: () => 'have the outer publisher listen',
  unexpose: () => 'have the outer publisher stop listening',
  name: (input) => `register ${names(input)}`,
  unname: (input) => `remove the names on ${namesOf(input) || 'its networks'}`,
  publish: moved,
  unpublish: moved,
  ensureFiles: () => 'write resolv.conf and hosts',
  removeFiles: () => 'remove resolv.conf and hosts',
  verifyFirewall: () => 'have the firewall compare its rules, and restore what is missing',
  awaitVerdict: () => 'wait until the other container has the ports',
  awaitLinksGone: () => 'wait until the kernel has removed the links',
  backOff: () => 'wait before the next attempt',
  ensureLink: (input) => `make the link ${link(input)}`,
  ensureAddresses: (input) => `add ${addresses(input) || 'addresses'} and routes`,
  replaceLink: (input) => `replace the link ${link(input)}, with its addresses`,
  reviseLink: (input) => `change addresses, routes and MTU of ${link(input)}`,
  removeLink: (input) => `remove the link ${link(input)}`,
  addExternal: (input) => `have ${program(input)} make ${inside(input)}`,
  recordAnswer: () => 'write down what it has answered',
  checkExternal: (input) => `have ${program(input)} check ${inside(input)}`,
  removeExternal: (input) => `have ${program(input)} remove ${inside(input)}`,
  probeUplink: ({ program, file }) => `read what ${file ?? program ?? 'the program'} can do`,
  startUplink: ({ program }) => `start ${program ?? 'the program'}`,
  verifyUplink: ({ program }) => `look for the link of ${program ?? 'the program'}`,
  stopUplink: () => 'end the program and its keeper',
  raiseNetwork: (input) => (onParent(input) ? parent(input) : `make the bridge ${bridge(input)} and its rules`),
  lowerNetwork: (input) => (onParent(input) ? 'make no change' : `remove the bridge ${bridge(input)} and its rules`),
  reviseNetwork: (input) => (onParent(input) ? parent(input) : `change the bridge ${bridge(input)}`),
  repairNetwork: (input) => (onParent(input) ? parent(input) : `restore the bridge ${bridge(input)}`),
  programPeers: (input) => `give ${bridge(input)} the other hosts of its overlay`,
  recordDefinition: () => 'write the definition',
  holdFirewall: (input) => `ask the firewall for its table, and firewalld for ${bridge(input)}`,
  releaseFirewall: (input) => `release the firewall, and ${bridge(input)} from firewalld`,
  fanOut: () => 'pass the leases on to its containers',
  readSwitches: () => 'read the forwarding switches',
  raiseFirewall: () => 'make the table, then turn forwarding on if networks need it',
  restoreSwitches: () => 'restore the forwarding switches',
  lowerFirewall: () => 'restore the forwarding switches, then remove the table',
  repairRuleset: () => 'compare the table with what it should be, and repair it',
  lookAtZones: () => 'look whether firewalld runs',
  changeZones: () => 'change the zone of firewalld',
  writeZones: () => 'write the zone files',
  ensureResolver: () => 'start the name server, or have it read its files again',
  askNames: () => 'ask for each new name until it is answered',
  stopResolver: () => 'end the name server',
};

const said = ({ machine, state, effect, input }: PlanStep): string => {
  const where = `${machine} ${state}`;
  if (effect === undefined) return where;
  return `${where}: ${WORDS[effect]?.(input ?? {}) ?? effect}`;
};

/** Returns the lines of a plan. */
export function planText({ hash, id, event, from, to, steps, grants, notes }: Plan): string[] {
  const width = String(steps.length).length;
  const got = Object.entries(grants.networks).flatMap(([network, { interfaces }]) =>
    Object.entries(interfaces).map(
      ([name, { mac_address: mac, subnets }]) =>
        `${name} on ${network}: ${subnets.map(({ ipnet }) => ipnet).join(', ')}, MAC ${mac}`,
    ),
  );
  return [
    `${event.type} ${id}: ${from ?? 'no container'} -> ${to}`,
    ...steps.map((step, i) => `${String(i + 1).padStart(width + 2)}. ${said(step)}`),
    ...(steps.length === 0 ? ['  no effect runs'] : []),
    ...[...got, ...grants.ports.map(portText)].map((line) => `It gets ${line}`),
    ...notes.map((note) => `Note: ${note}`),
    `Nothing was done. This does it: cleat apply --plan ${hash}`,
  ];
}

/**
 * The protocol of CNI plugins (SPEC.md 0.3.1 to 1.1.0): a conflist is a chain of plugins, each of which gets the result of the
 * one before it.
 *
 * Guarantees: pure. DEL is in reverse order, gets the configuration and the result of ADD (of one that nobody has the answer of: what
 * its last plugin was given), and goes on after a plugin that fails, so that one plugin does not keep what the others have made; the first fault is reported. CHECK is asked where the
 * version has it and the conflist does not turn it off. A plugin gets those capabilities that it declares, and no other.
 * Limits: STATUS and GC (1.1.0) are not asked. An address or a MAC that no plugin has a capability for is passed in CNI_ARGS,
 * as the plugins of the specification's authors read it.
 */
import ipaddr from 'ipaddr.js';
import type { CniPlugin, ExternalPort, ExternalTerms } from '../../state/external.ts';
import type { Fault } from '../../state/faults.ts';
import {
  endOf,
  failed,
  isRecord,
  MARK,
  PATH,
  textIn,
  type Answer,
  type Call,
  type Conversation,
  type Failed,
  type Json,
  type Protocol,
  type Subject,
} from './conversation.ts';

type Command = 'ADD' | 'CHECK' | 'DEL';
type Terms = Extract<ExternalTerms, { driver: 'cni' }>;

export const cni: Protocol = { add, check, remove, sweep, needsLink: false };

function* add(subject: Subject): Conversation<{ result: Json }> {
  let result: Json | null = null;
  for (const plugin of termsOf(subject).list.plugins) {
    const call = { ...callOf(subject, 'ADD', plugin, result), ...(result === null ? {} : { given: result }) };
    const answer: Answer = yield call;
    const problem = problemOf(call, answer);
    if (problem !== null) return problem;
    if (!isRecord(answer.json)) return failed(call, answer, notJson(answer));
    result = answer.json;
  }
  return { result: result ?? {} };
}

function* check(subject: Subject): Conversation<null> {
  const { list } = termsOf(subject);
  const { result } = subject.attachment.external;
  if (!remembers(list) || list.disableCheck === true) return null;
  for (const plugin of list.plugins) {
    const call = callOf(subject, 'CHECK', plugin, result);
    const problem = problemOf(call, yield call);
    if (problem !== null) return problem;
  }
  return null;
}

function* remove(subject: Subject): Conversation<null> {
  const { list } = termsOf(subject);
  // Earlier versions do not know it for DEL.
  const result = remembers(list) ? (subject.attachment.external.result ?? subject.given) : null;
  let first: Failed | null = null;
  for (const plugin of list.plugins.toReversed()) {
    const call = callOf(subject, 'DEL', plugin, result);
    const answer: Answer = yield call;
    first ??= problemOf(call, answer);
  }
  return first;
}

/** The plugins bridge and ptp find their masquerading rules by the addresses of the link, and forget them without it. */
function* sweep(subject: Subject): Conversation<null> {
  for (const plugin of termsOf(subject).list.plugins)
    if (plugin['ipMasq'] === true) yield callOf(subject, 'DEL', plugin, subject.attachment.external.result);
  return null;
}

const termsOf = ({ attachment: { external } }: Subject): Terms => external.terms as Terms;

function callOf(subject: Subject, command: Command, plugin: CniPlugin, result: Json | null): Call {
  const { attachment, netns } = subject;
  const { list, path } = termsOf(subject);
  const { capabilities = {}, ...config } = plugin;
  const runtime = Object.fromEntries(
    Object.entries(runtimeOf(subject)).filter(([name]) => capabilities[name] === true),
  );
  const stdin = {
    ...config,
    cniVersion: list.cniVersion,
    name: list.name,
    ...(Object.keys(runtime).length === 0 ? {} : { runtimeConfig: runtime }),
    ...(result === null ? {} : { prevResult: result }),
  };
  return {
    programs: path.map((directory) => `${directory}/${plugin.type}`),
    args: [],
    env: {
      PATH,
      [MARK]: attachment.alias,
      CNI_COMMAND: command,
      CNI_CONTAINERID: attachment.external.container.id,
      CNI_NETNS: netns,
      CNI_IFNAME: attachment.link,
      CNI_ARGS: argsOf(subject),
      CNI_PATH: path.join(':'),
    },
    stdin: JSON.stringify(stdin),
    doing: `plugin ${plugin.type} of conflist ${list.name} (${command})`,
    object: plugin.type,
  };
}

const declares = ({ list }: Terms, capability: string): boolean =>
  list.plugins.some(({ capabilities }) => capabilities?.[capability] === true);

/** Returns true if a plugin of the conflist publishes ports. */
export const carriesPorts = (terms: Terms): boolean => declares(terms, 'portMappings');

/** The values of all capabilities that have one (CONVENTIONS.md). */
function runtimeOf(subject: Subject): Json {
  const { external, aliases } = subject.attachment;
  const { ips, mac, ports } = external;
  return {
    ...(ports.length === 0 ? {} : { portMappings: ports.flatMap(portMappings) }),
    ...(ips.length === 0 ? {} : { ips: ips.map((ip) => withPrefix(termsOf(subject), ip)) }),
    ...(mac === null ? {} : { mac }),
    ...(aliases.length === 0 ? {} : { aliases }),
  };
}

const portMappings = ({ protocol, hostIp, hostPort, containerPort, range }: ExternalPort): Json[] =>
  Array.from({ length: range }, (_, i) => ({
    hostPort: hostPort + i,
    containerPort: containerPort + i,
    protocol,
    ...(hostIp === '' ? {} : { hostIP: hostIp }),
  }));

/** CNI_ARGS has no lists: one address. */
function argsOf(subject: Subject): string {
  const terms = termsOf(subject);
  const { ips, mac } = subject.attachment.external;
  const [ip] = ips;
  return [
    'IgnoreUnknown=1',
    ...(ip === undefined || declares(terms, 'ips') ? [] : [`IP=${ip}`]),
    ...(mac === null || declares(terms, 'mac') ? [] : [`MAC=${mac}`]),
  ].join(';');
}

/** Adds the prefix of the subnet that an address is in, which a plugin may want to know, if a plugin's `ipam` names it. */
function withPrefix({ list }: Terms, ip: string): string {
  const subnet = list.plugins.flatMap((plugin) => subnetsIn(plugin['ipam'])).find((one) => isIn(ip, one));
  return subnet === undefined ? ip : `${ip}/${subnet.split('/')[1]}`;
}

/** Returns the subnets of an `ipam`: of host-local, `subnet` or `ranges`, which is a list of lists. */
function subnetsIn(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(subnetsIn);
  if (!isRecord(value)) return [];
  const own = textIn(value, 'subnet');
  return [...(own === '' ? [] : [own]), ...subnetsIn(value['ranges'])];
}

function isIn(ip: string, subnet: string): boolean {
  if (!ipaddr.isValidCIDR(subnet)) return false;
  const [address, range] = [ipaddr.parse(ip), ipaddr.parseCIDR(subnet)];
  return address.kind() === range[0].kind() && address.match(range);
}

/** True from 0.4.0 on: plugins know CHECK, and the result of ADD for DEL. */
const remembers = ({ cniVersion }: Terms['list']): boolean => !cniVersion.startsWith('0.3.');

/** Returns the fault of a plugin that failed: its own words, if it has said them as the specification asks. */
function problemOf(call: Call, answer: Answer): Failed | null {
  const { status, json } = answer;
  if (status === 0) return null;
  if (!isRecord(json) || textIn(json, 'msg') === '') return failed(call, answer, endOf(answer));
  const details = textIn(json, 'details');
  const code = typeof json['code'] === 'number' ? ` (code ${json['code']})` : '';
  return failed(call, answer, `${textIn(json, 'msg')}${details === '' ? '' : `; ${details}`}${code}`);
}

const notJson = ({ stdout }: Answer): string =>
  stdout.trim() === '' ? 'it printed no result' : `it printed no result, but ${JSON.stringify(stdout.slice(0, 200))}`;

/** Returns a fault if the plugins gave something else than was asked for. */
export function otherThanAsked(subject: Subject, found: { ips: readonly string[]; mac: string }): Fault | null {
  const { ips, mac } = subject.attachment.external;
  const missing = ips.find((ip) => !found.ips.includes(ip));
  const refuse = (what: string): Fault => ({
    code: 'EXTERNAL_FAILED',
    message: `conflist ${termsOf(subject).list.name} did not give ${what}: no plugin of it takes the request`,
  });
  if (missing !== undefined) return refuse(`the address ${missing}`);
  return mac === null || mac === found.mac ? null : refuse(`the MAC ${mac}`);
}

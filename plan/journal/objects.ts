/**
 * What an effect that has ended without a fault has made in the kernel, and what it has removed.
 *
 * Guarantees: pure; from the effect's name, input and output alone. An object that ends with another one names it in `of`.
 * Limits: the objects of one container. Bridges, tables and servers belong to networks and outsides. Routes, neighbours and
 * switches come and go with addresses, and are not listed. A failed effect may have done a part of its work, which nobody knows.
 */
import type { KernelObject } from '../../state/answers/container/history.ts';
import type { Attachment, ResolvedPort } from '../../state/container.ts';
import type { UplinkLink } from '../../state/uplink.ts';
import type { OwnedTarget, PublishInput } from '../containers/change.ts';
import { portText } from '../ports/port-text.ts';

export interface Outcome {
  made?: KernelObject[] | undefined;
  gone?: KernelObject[] | undefined;
}

/** Holds the members of the effects' inputs (machines/container) that matter here. */
interface Inputs {
  path: string;
  attachment: Attachment;
  predecessor: Attachment | null;
  netns: string;
  links: string[];
  program: string;
  directory: string;
  /** An uplink has those that its program listens on itself. */
  ports: ResolvedPort[];
  id: string;
}

type Read = (input: Inputs & PublishInput, output: unknown) => Outcome;

const namespace = (path: string, output: unknown): KernelObject => {
  const { dev = 0, ino = 0 } = (output ?? {}) as { dev?: number; ino?: number };
  return { kind: 'namespace', name: path, detail: `${dev}:${ino}` };
};

const linksOf = ({ hostLink, link, bridge, mac, child }: Attachment, netns: string): KernelObject[] =>
  child === undefined
    ? [
        { kind: 'link', name: hostLink, detail: `on ${bridge}` },
        { kind: 'link', name: link, detail: mac, of: netns },
      ]
    : [{ kind: 'link', name: link, detail: `${child.kind} on ${bridge}, ${mac}`, of: netns }];

/** Holds what both forms of answers have: that of CNI plugins, and libnetwork's. */
interface Answer {
  ips?: unknown;
  interfaces?: Record<string, { subnets?: unknown }>;
}

/** What a program of others has made in the container, which ends with its link. What it has made outside is not known. */
function ofProgram({ link, mac }: Attachment, netns: string, answer: unknown): KernelObject[] {
  const { ips, interfaces } = (answer ?? {}) as Answer;
  const all = (list: unknown) => (Array.isArray(list) ? (list as { address?: unknown; ipnet?: unknown }[]) : []);
  const texts = [...all(ips), ...all(interfaces?.[link]?.subnets)].flatMap(({ address, ipnet }) => {
    const text = address ?? ipnet;
    return typeof text === 'string' ? [text] : [];
  });
  return [
    { kind: 'link', name: link, detail: mac, of: netns },
    ...texts.map((name): KernelObject => ({ kind: 'address', name, detail: `on ${link}`, of: link })),
  ];
}

const addressesOf = ({ addresses, link }: Pick<Attachment, 'addresses' | 'link'>, of: string): KernelObject[] =>
  addresses.map(({ address, prefix }) => ({
    kind: 'address',
    name: `${address}/${prefix}`,
    detail: `on ${link}`,
    of,
  }));

const allOf = (attachment: Attachment | null, netns: string): KernelObject[] =>
  attachment === null ? [] : [...linksOf(attachment, netns), ...addressesOf(attachment, netns)];

const less = (some: readonly KernelObject[], others: readonly KernelObject[]): KernelObject[] => {
  const keys = new Set(others.map(keyOf));
  return some.filter((object) => !keys.has(keyOf(object)));
};

const uplink = (directory: string, program: string): KernelObject => ({
  kind: 'uplink',
  name: `uplinks/${directory}`,
  detail: program,
});

const tapOf = ({ name, mac, addresses }: UplinkLink, directory: string): KernelObject[] => {
  const of = `uplinks/${directory}`;
  return [{ kind: 'link', name, detail: mac, of }, ...addressesOf({ addresses, link: name }, of)];
};

const files = (id: string): KernelObject => ({ kind: 'files', name: `etc/${id}`, detail: 'resolv.conf, hosts' });

/** Returns the ports as objects; those that continue each other on both sides become one with a range. */
function portsOf(targets: readonly OwnedTarget[], through: PublishInput['through']): KernelObject[] {
  const spans: { first: OwnedTarget; range: number }[] = [];
  for (const target of targets) {
    const last = spans.at(-1);
    if (last !== undefined && continues(last.first, last.range, target)) last.range++;
    else spans.push({ first: target, range: 1 });
  }
  const of = through?.handler === 'slirp4netns' ? { of: `uplinks/${through.directory}` } : {};
  return spans.map(({ first, range }) => ({
    kind: 'port',
    name: portName(first),
    detail: through?.handler ?? 'firewall',
    ...of,
    ...(range > 1 ? { range } : {}),
  }));
}

const continues = (first: OwnedTarget, range: number, next: OwnedTarget): boolean =>
  first.protocol === next.protocol &&
  first.hostIp === next.hostIp &&
  first.address === next.address &&
  first.owner === next.owner &&
  first.hostPort + range === next.hostPort &&
  first.containerPort + range === next.containerPort;

/** Returns "127.0.0.1:8080/tcp -> 10.89.0.2 80", for example. */
const portName = ({ protocol, hostIp, hostPort, address, containerPort }: OwnedTarget): string =>
  `${portText(protocol, hostIp, hostPort)} -> ${address} ${containerPort}`;

const PORT_NAME = /(\d{1,5})(\/\w+ -> \S* )(\d{1,5})$/;

/** Returns an object of a range as single ports, and any other as it is. */
export function single({ range = 1, ...object }: KernelObject): KernelObject[] {
  if (range === 1 || !PORT_NAME.test(object.name)) return [object];
  const nth = (i: number) => (_name: string, host: string, between: string, inside: string) =>
    `${Number(host) + i}${between}${Number(inside) + i}`;
  return Array.from({ length: range }, (_, i) => ({ ...object, name: object.name.replace(PORT_NAME, nth(i)) }));
}

const changePorts: Read = ({ targets, replacing, through }) => ({
  made: portsOf(targets, through),
  gone: portsOf(replacing, through),
});

/** Says of each effect that makes or removes something what that is. */
export const EFFECTS: Readonly<Record<string, Read>> = {
  ensureNamespace: ({ path }, output) => ({ made: [namespace(path, output)] }),
  removeNamespace: ({ path }) => ({ gone: [namespace(path, null)] }),
  ensureLink: ({ attachment, netns }) => ({ made: linksOf(attachment, netns) }),
  ensureAddresses: ({ attachment, netns }) => ({ made: addressesOf(attachment, netns) }),
  replaceLink: ({ attachment, predecessor, netns }) => {
    const made = allOf(attachment, netns);
    return { made, gone: less(allOf(predecessor, netns), made) };
  },
  reviseLink: ({ attachment, predecessor, netns }) => {
    const made = addressesOf(attachment, netns);
    return { made, gone: less(predecessor === null ? [] : addressesOf(predecessor, netns), made) };
  },
  removeLink: ({ attachment, netns }) => ({ gone: allOf(attachment, netns) }),
  addExternal: ({ attachment, netns }, output) => ({ made: ofProgram(attachment, netns, output) }),
  removeExternal: ({ attachment, netns }) => ({ gone: ofProgram(attachment, netns, null) }),
  awaitLinksGone: ({ links }) => ({ gone: links.map((name) => ({ kind: 'link', name, detail: '' })) }),
  startUplink: ({ directory, program }) => ({ made: [uplink(directory, program)] }),
  verifyUplink: ({ directory, program, ports }, output) => {
    const link = output as UplinkLink;
    const own = ports.map(({ protocol, hostIp, hostPort, containerPort, range }): KernelObject => ({
      kind: 'port',
      name: `${portText(protocol, hostIp, hostPort)} -> ${link.name} ${containerPort}`,
      detail: program,
      of: `uplinks/${directory}`,
      ...(range > 1 ? { range } : {}),
    }));
    return { made: [...tapOf(link, directory), ...own] };
  },
  stopUplink: ({ directory }) => ({ gone: [uplink(directory, '')] }),
  publish: changePorts,
  unpublish: changePorts,
  ensureFiles: ({ id }) => ({ made: [files(id)] }),
  removeFiles: ({ id }) => ({ gone: [files(id)] }),
};

/** Returns what an effect has done; nothing for an effect that does nothing to the kernel. */
export function outcomeOf(effect: string, input: unknown, output: unknown): Outcome {
  const read = EFFECTS[effect];
  if (read === undefined || input === undefined) return {};
  const { made = [], gone = [] } = read(input as Inputs & PublishInput, output);
  return { ...(made.length > 0 ? { made } : {}), ...(gone.length > 0 ? { gone } : {}) };
}

/** Returns the objects after an effect. What ends with an object that is gone, is gone too. */
export function after(objects: readonly KernelObject[], { made = [], gone = [] }: Outcome): readonly KernelObject[] {
  if (made.length === 0 && gone.length === 0) return objects;
  const now = new Map(objects.map((object) => [keyOf(object), object]));
  const ended = new Set<string>();
  for (const object of gone.flatMap(single)) {
    now.delete(keyOf(object));
    ended.add(object.name);
  }
  for (const [key, { of }] of now) if (of !== undefined && ended.has(of)) now.delete(key);
  for (const object of made.flatMap(single)) now.set(keyOf(object), object);
  return [...now.values()];
}

const keyOf = ({ kind, name }: KernelObject): string => `${kind} ${name}`;

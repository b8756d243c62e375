/**
 * Does what a CNI plugin is asked for: ADD, DEL, CHECK, GC and STATUS become lifecycle events, the same that the socket takes.
 *
 * An attachment is made under the container's id, on one network, with the interface name of the runtime. It remembers the name of
 * the configuration that asked for it and its ports (`cni` of AttachmentOptions): DEL, CHECK and GC find it by that, whatever the
 * configuration says by then, and nobody else's attachment is ever taken away.
 *
 * Guarantees: the commands for one container take turns. An ADD for an interface that exists is an error, as the specification
 * demands; it is not idempotent, because the runtime would share one interface between two attachments and lose it with the first
 * DEL. DEL of what is gone is done. GC goes on after a failure, and then says what failed.
 * docs/decisions/0060 says why.
 * Limits: a container is on one network once, by one interface. A change of MAC or MTU by a later plugin is undone as drift; both
 * are given here.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { toFault } from '../../../effects/effect.ts';
import { inTurn } from '../../../effects/turns.ts';
import type { Kernel } from '../../../effects/kernel.ts';
import { stateName } from '../../../plan/states.ts';
import type { CniResult } from '../../../state/answers/cni.ts';
import type { Inspection } from '../../../state/answers/container/inspection.ts';
import type { Attachment, ContainerContext } from '../../../state/container.ts';
import type { AttachmentOptions, PortMapping } from '../../../state/event.ts';
import { FaultError } from '../../../state/faults.ts';
import {
  CniAttachmentVariables,
  CniCollection,
  CniConfiguration,
  CniDelVariables,
  CniNamed,
  type CniPrevious,
} from '../../../state/fronts/cni.ts';
import type { Containers } from '../../containers/containers.ts';
import { noSuchContainer } from '../../events/events.ts';
import type { DescribedNetwork } from '../../networks/described.ts';
import type { Networks } from '../../networks/networks.ts';
import type { Shared } from '../../outsides/shared.ts';
import { isIn, isPublished, type Attachments, type Send } from '../attachments.ts';
import { containerIdFor, readArgs } from './cni-names.ts';
import { networkOf, type CniDescription } from './cni-network.ts';
import { read, type Raw } from './cni-request.ts';
import { resultOf, type HostLink } from './cni-result.ts';
import { whyNoRoom } from './cni-status.ts';

/** What others have changed is put back within this time, or it stays so. */
const CHECKS = 10;
const CHECK_PAUSE_MS = 100;

export interface CniParts {
  containers: Pick<Containers, 'get' | 'all'>;
  networks: Pick<Networks, 'get' | 'all' | 'foresee'>;
  shared: Pick<Shared, 'networksIn' | 'troubles'>;
  attachments: Attachments;
  kernel: Kernel;
  inspect(id: string): Promise<Inspection | null>;
}

export class Cni {
  readonly #parts: CniParts;
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(parts: CniParts) {
    this.#parts = parts;
  }

  add(raw: Raw, send: Send): Promise<CniResult> {
    const env = read(CniAttachmentVariables, 'env', raw);
    const config = read(CniConfiguration, 'config', raw);
    const id = containerIdFor(env.CNI_CONTAINERID);
    return inTurn(this.#turns, id, () => this.#add(id, env, config, send));
  }

  del(raw: Raw, send: Send): Promise<void> {
    const { CNI_CONTAINERID: runtimeId, CNI_IFNAME: link } = read(CniDelVariables, 'env', raw);
    const { name } = read(CniNamed, 'config', raw);
    return this.#remove(containerIdFor(runtimeId), name, (own) => own === link, send);
  }

  async check(raw: Raw): Promise<void> {
    const env = read(CniAttachmentVariables, 'env', raw);
    const config = read(CniConfiguration, 'config', raw);
    const { prevResult } = config;
    if (prevResult === undefined || prevResult === null) throw missing('prevResult');
    const id = containerIdFor(env.CNI_CONTAINERID);
    for (let checks = 1; ; checks++) {
      const wrong = await inTurn(this.#turns, id, () => this.#whatIsWrong(id, env, config.name, prevResult));
      if (wrong === null) return;
      if (checks === CHECKS) throw new FaultError('NOT_CONNECTED', `container ${id}, ${env.CNI_IFNAME}: ${wrong}`);
      await sleep(CHECK_PAUSE_MS);
    }
  }

  async gc(raw: Raw, send: Send): Promise<void> {
    const other = raw.config['cni.dev/attachments'];
    const config = { 'cni.dev/valid-attachments': other, ...raw.config };
    const { name, 'cni.dev/valid-attachments': valid } = read(CniCollection, 'config', { ...raw, config });
    const kept = new Set(valid.map(({ containerID, ifname }) => `${containerIdFor(containerID)} ${ifname}`));
    const isStale = (id: string) => (link: string) => !kept.has(`${id} ${link}`);
    const stale = this.#parts.containers.all().filter(({ context }) => {
      const { id } = context;
      return madeBy(context, name).some(([, link]) => isStale(id)(link));
    });
    const ends = await Promise.allSettled(
      stale.map(({ context: { id } }) => this.#remove(id, name, isStale(id), send)),
    );
    const failed = ends.flatMap((end) => (end.status === 'rejected' ? [toFault(end.reason, 'gc')] : []));
    const [first] = failed;
    if (first === undefined) return;
    const message = `${failed.length} of ${stale.length} containers could not be collected: ${first.message}`;
    throw FaultError.of({ ...first, message });
  }

  async status(raw: Raw): Promise<void> {
    const config = read(CniConfiguration, 'config', raw);
    const network = networkOf(config);
    if ('described' in network) await this.#parts.networks.foresee(this.#described(network.described));
    const name = 'own' in network ? this.#parts.networks.get(network.own).name : config.name;
    const fault = whyNoRoom(this.#parts.shared, name);
    if (fault !== null) throw FaultError.of(fault);
  }

  /** Returns what an engine hands over: the definition is its own, with the time at which cleat first heard of it. */
  #described({ id, request }: CniDescription): DescribedNetwork {
    const known = this.#parts.networks.all().find(({ name }) => name === request.name);
    return { engine: 'cni', id, request, created: known?.created ?? new Date().toISOString() };
  }

  async #add(
    id: string,
    { CNI_NETNS: netns, CNI_IFNAME: link, CNI_ARGS }: CniAttachmentVariables,
    config: CniConfiguration,
    send: Send,
  ): Promise<CniResult> {
    const { networks, containers } = this.#parts;
    const { mac, ips, name, hostname } = readArgs(CNI_ARGS);
    const found = networkOf(config);
    const network = 'own' in found ? networks.get(found.own).name : config.name;
    const before = containers.get(id)?.context;
    if (before !== undefined && isIn(before, netns)) refuseTwice(before, network, link);
    const { runtimeConfig = {}, args } = config;
    const ports = (runtimeConfig.portMappings ?? []).map(portOf);
    const static_ips = [runtimeConfig.ips, args?.cni?.ips, ips].find((list) => (list?.length ?? 0) > 0) ?? [];
    const static_mac = runtimeConfig.mac ?? args?.cni?.mac ?? mac;
    const aliases = aliasesOf(runtimeConfig.aliases, config.name);
    const options: AttachmentOptions = {
      interface_name: link,
      ...(static_ips.length === 0 ? {} : { static_ips }),
      ...(static_mac === undefined ? {} : { static_mac }),
      ...(aliases.length === 0 ? {} : { aliases }),
      cni: { configuration: config.name, port_mappings: ports },
    };
    const { attachments } = await this.#parts.attachments.attach(
      {
        id,
        name,
        hostname,
        netns,
        networks: { [network]: options },
        ports,
        described: 'own' in found ? [] : [this.#described(found.described)],
      },
      send,
    );
    const attachment = attachments.find((one) => one.network === network);
    if (attachment?.link !== link) throw new FaultError('SUPERSEDED', `container ${id} has left ${network} meanwhile`);
    return resultOf(config, { attachment, sandbox: netns, ...(await this.#hostLinks(attachment)) });
  }

  async #hostLinks({ bridge, hostLink }: Attachment): Promise<{ bridge: HostLink; host: HostLink }> {
    const { kernel } = this.#parts.kernel.outside(null);
    const [of, host] = await Promise.all([bridge, hostLink].map((name) => kernel.link(name)));
    return { bridge: of ?? null, host: host ?? null };
  }

  /** Takes away what this configuration has made in a container, if the interface is one of these. */
  #remove(id: string, configuration: string, isOne: (link: string) => boolean, send: Send): Promise<void> {
    return inTurn(this.#turns, id, async () => {
      const { containers, attachments } = this.#parts;
      const context = containers.get(id)?.context;
      if (context === undefined) return;
      const leaving = madeBy(context, configuration).flatMap(([network, link]) => (isOne(link) ? [network] : []));
      if (leaving.length === 0) return;
      const closing = portsOf(context, leaving);
      if (closing.length > 0) await send({ type: 'unpublish', id, port_mappings: closing });
      await attachments.detach(id, leaving, send);
    });
  }

  async #whatIsWrong(
    id: string,
    { CNI_NETNS: netns, CNI_IFNAME: link }: CniAttachmentVariables,
    configuration: string,
    previous: CniPrevious,
  ): Promise<string | null> {
    const snapshot = this.#parts.containers.get(id);
    if (snapshot === undefined) throw noSuchContainer(id);
    const { context } = snapshot;
    const [network] = madeBy(context, configuration).find(([, own]) => own === link) ?? [];
    const attachment = context.attachments.find((one) => one.network === network);
    if (attachment === undefined) return `nothing was added by the configuration ${configuration}`;
    if (!isIn(context, netns)) return `it is in another namespace than ${netns}`;
    const other = otherThan(attachment, netns, previous);
    if (other !== null) return other;
    const inspection = await this.#parts.inspect(id);
    if (inspection === null) throw noSuchContainer(id);
    const drift = inspection.drift.find((one) => one.network === null || one.network === network);
    if (drift !== undefined) return `${drift.object} is ${drift.problem}`;
    return stateName(snapshot) === 'up' ? null : `it is ${stateName(snapshot)}`;
  }
}

const missing = (field: string): FaultError =>
  new FaultError('BAD_REQUEST', `${field} is missing`, { issues: [{ path: `config.${field}`, message: 'missing' }] });

function refuseTwice({ id, request, attachments }: ContainerContext, network: string, link: string): void {
  const same = attachments.find((one) => one.link === link);
  if (same !== undefined) {
    const message = `interface ${link} exists already in container ${id}: it is on network ${same.network}`;
    throw new FaultError('INTERFACE_TAKEN', message, { object: link });
  }
  if (!Object.hasOwn(request.networks, network)) return;
  const as = attachments.find((one) => one.network === network)?.link;
  const message = `container ${id} is on network ${network} already${as === undefined ? '' : `, as ${as}`}: cleat attaches it once`;
  throw new FaultError('ALREADY_CONNECTED', message);
}

/** Returns the networks that a configuration has put a container on, each with the name of the interface. */
function madeBy(
  { request }: Pick<ContainerContext, 'request'>,
  configuration: string,
): [network: string, link: string][] {
  return Object.entries(request.networks).flatMap(([network, { cni, interface_name: link }]) =>
    cni?.configuration === configuration && link !== undefined ? [[network, link]] : [],
  );
}

/** Returns the published ports that only the networks asked for which the container leaves, while it stays on others. */
function portsOf(context: ContainerContext, leaving: readonly string[]): PortMapping[] {
  const all = Object.entries(context.request.networks);
  const staying = all.filter(([network]) => !leaving.includes(network));
  if (staying.length === 0) return [];
  const asked = (networks: typeof all) => networks.flatMap(([, { cni }]) => cni?.port_mappings ?? []);
  const kept = new Set(asked(staying).map((port) => JSON.stringify(port)));
  const mine = asked(all.filter(([network]) => leaving.includes(network)));
  return mine.filter((port) => !kept.has(JSON.stringify(port)) && isPublished(context, port));
}

type RuntimeConfig = NonNullable<CniConfiguration['runtimeConfig']>;

function portOf({
  hostPort,
  containerPort,
  protocol,
  hostIP = '',
}: NonNullable<RuntimeConfig['portMappings']>[number]): PortMapping {
  return {
    host_port: hostPort,
    container_port: containerPort,
    ...(protocol === undefined ? {} : { protocol }),
    ...(hostIP === '' ? {} : { host_ip: hostIP }),
  };
}

function aliasesOf(aliases: RuntimeConfig['aliases'], configuration: string): string[] {
  if (aliases === null || aliases === undefined) return [];
  return Array.isArray(aliases) ? aliases : (aliases[configuration] ?? []);
}

/** Says where the result of an ADD names something else for an attachment than it has. */
function otherThan({ link, addresses }: Attachment, netns: string, { interfaces, ips }: CniPrevious): string | null {
  const at = (interfaces ?? []).findIndex(({ name, sandbox = '' }) => name === link && sandbox === netns);
  if (at < 0) return `the result of the ADD has no interface ${link} in ${netns}`;
  const named = (ips ?? []).filter((ip) => ip.interface === at).map(({ address }) => address);
  const has = addresses.map(({ address, prefix }) => `${address}/${prefix}`);
  const absent = named.find((address) => !has.includes(address));
  if (absent !== undefined) return `the result of the ADD has ${absent}, the container has ${has.join(', ')}`;
  const unknown = has.find((address) => !named.includes(address));
  return unknown === undefined ? null : `the container has ${unknown}, which the result of the ADD has not`;
}

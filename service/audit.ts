/**
 * An independent look: what the kernel, the mount table and the snapshot files each say, and where they differ.
 *
 * Guarantees: reads everything anew from its source (files, mountinfo, kernel dumps), nothing from the daemon's memory;
 * changes nothing. Both ways: what is there without a snapshot naming it (leaked), and what a snapshot at rest names
 * that is not there (missing).
 * Limits: containers in the middle of an operation are not judged for what is missing; whoever asks waits first until
 * bridges and tables that are on their way out, after the last container was answered, have gone. Looks at the outsides that
 * snapshots name and the daemon's own.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { bridgeAlias } from '../effects/bridge.ts';
import type { Kernel } from '../effects/kernel.ts';
import { portElements, PORT_MAPS } from '../effects/ruleset.ts';
import { publishAddresses } from '../machines/plan/attachment.ts';
import { knownOutside, PERMANENT, type Known } from '../machines/plan/neighbours.ts';
import { portTargets } from '../machines/plan/ports.ts';
import { isKernelError, type Link, type Neighbour, type NftElement, type Outside } from '../native/index.ts';
import { ContainerContext, type Attachment } from '../state/container.ts';
import { NetworkDefinition } from '../state/network.ts';
import { auditCarried, auditResolvers, auditUplinks, type Judged } from './audit-processes.ts';
import type { Finding } from './finding.ts';

export interface AuditReport {
  clean: boolean;
  containers: number;
  links: number;
  namespaces: number;
  ports: number;
  findings: Finding[];
}

interface Directories {
  runDir: string;
  stateDir: string;
  netnsDir: string;
}

interface Snapshot {
  state: string;
  context: ContainerContext;
}

/** States in which everything a snapshot names has been made, and nothing been taken away. */
const STEADY = new Set(['created', 'up', 'degraded']);

const judged = ({ state, context }: Snapshot): Judged => ({ context, steady: STEADY.has(state) });

export async function audit(kernel: Kernel, directories: Directories): Promise<AuditReport> {
  const { instance } = kernel;
  const findings: Finding[] = [];
  const snapshots = readSnapshots(join(directories.runDir, 'containers'), findings);
  const definitions = readJson(join(directories.stateDir, 'networks')).flatMap(({ json }) => {
    const parsed = NetworkDefinition.safeParse(json);
    return parsed.success ? [parsed.data] : [];
  });

  const addresses = new Map<string, string>();
  for (const { context } of snapshots) {
    for (const { network, addresses: leased } of context.attachments) {
      for (const { address } of leased) {
        const key = `${context.outside ?? ''} ${network} ${address}`;
        const other = addresses.get(key);
        if (other !== undefined)
          findings.push({ kind: 'address', object: address, problem: 'owned twice', owner: other });
        addresses.set(key, context.owner);
      }
    }
  }

  const pins = new Map(
    snapshots.flatMap(({ context, state }) =>
      context.netns === null ? [] : [[context.netns.path, { context, state }] as const],
    ),
  );
  const mounted = new Set(mountPoints().filter((path) => path.startsWith(`${directories.netnsDir}/netns-`)));
  // Several daemons may share the directory: a pin of ours is known by its snapshot only, so a stray one is reported
  // when no snapshot names it and none of the other instances' could.
  for (const path of mounted)
    if (!pins.has(path)) findings.push({ kind: 'namespace', object: path, problem: 'leaked' });
  for (const [path, { state, context }] of pins) {
    if (STEADY.has(state) && !mounted.has(path)) {
      findings.push({ kind: 'namespace', object: path, problem: 'missing', owner: context.id });
    }
  }

  let links = 0;
  let ports = 0;
  for (const outside of new Set([null, ...snapshots.map(({ context }) => context.outside)])) {
    const { kernel: native } = kernel.outside(outside);
    const mine = snapshots.filter(({ context }) => context.outside === outside);
    const named = new Map(
      mine.flatMap(({ context, state }) =>
        // Also links that are being replaced.
        [...(context.change?.before ?? []), ...context.attachments].map(
          (attachment) => [attachment.hostLink, { alias: attachment.alias, state, id: context.id }] as const,
        ),
      ),
    );
    const used = new Set(mine.flatMap(({ context }) => context.attachments.map(({ bridge }) => bridge)));
    const bridges = new Map(
      definitions.map((network) => [network.network_interface, bridgeAlias(instance.name, network.name)]),
    );
    const all = await native.links();
    const present = new Map(all.map((link) => [link.name, link]));
    for (const link of all) {
      const ours =
        link.alias.startsWith(`cleat:${instance.name}:`) ||
        link.group === instance.group ||
        link.group === instance.doomedGroup;
      if (!ours) continue;
      links++;
      const owner = named.get(link.name)?.alias ?? (used.has(link.name) ? bridges.get(link.name) : undefined);
      if (owner !== link.alias)
        findings.push({ kind: 'link', object: link.name, problem: 'leaked', owner: link.alias });
    }
    for (const [name, { alias, state, id }] of named) {
      if (STEADY.has(state) && present.get(name)?.alias !== alias) {
        findings.push({ kind: 'link', object: name, problem: 'missing', owner: id });
      }
    }

    const standing = all.filter(({ alias }) => alias.startsWith(bridgeAlias(instance.name, '')));
    findings.push(...judgeNeighbours(mine, standing, await native.neighbours()));

    const expected = new Map<string, { id: string; steady: boolean }>();
    // What other handlers carry is no element of the table.
    for (const { context, state } of mine.filter((one) => one.context.portHandler === undefined)) {
      const { ports, change, attachments } = context;
      const primary = publishAddresses(attachments);
      const leads = STEADY.has(state) ? primary : [...new Set([...primary, ...passing(context)])];
      const targets = leads.flatMap((address) => portTargets([...ports, ...(change?.ports ?? [])], [address]));
      const planned = portElements(
        instance.table,
        targets.map((target) => ({ ...target, owner: context.owner })),
      );
      for (const operation of planned.add) {
        if (operation.op !== 'element.add') continue;
        for (const element of operation.elements) {
          expected.set(elementKey(operation.set, element), { id: context.id, steady: STEADY.has(state) });
        }
      }
    }
    const found = new Set<string>();
    const table = await native.nftTable('inet', instance.table);
    if (table === null) {
      if (used.size > 0 && mine.some(({ state }) => state === 'up')) {
        findings.push({ kind: 'table', object: instance.table, problem: 'missing' });
      }
    } else {
      if (used.size === 0) findings.push({ kind: 'table', object: instance.table, problem: 'leaked' });
      for (const map of PORT_MAPS) {
        for (const element of await elementsOf(native, instance.table, map)) found.add(elementKey(map, element));
      }
    }
    ports += found.size;
    for (const key of found) if (!expected.has(key)) findings.push({ kind: 'port', object: key, problem: 'leaked' });
    for (const [key, { id, steady }] of expected) {
      if (steady && !found.has(key)) findings.push({ kind: 'port', object: key, problem: 'missing', owner: id });
    }
    const carried = await auditCarried(directories.runDir, outside, mine.map(judged));
    ports += carried.ports;
    findings.push(...carried.findings);
  }
  findings.push(...auditUplinks(directories.runDir, snapshots.map(judged)));
  findings.push(...(await auditResolvers(directories.runDir, snapshots.map(judged))));
  return {
    clean: findings.length === 0,
    containers: snapshots.length,
    links,
    namespaces: mounted.size,
    ports,
    findings,
  };
}

/** What the bridges know of containers, and of nobody else: whose address is at which MAC. */
function judgeNeighbours(
  snapshots: readonly Snapshot[],
  bridges: readonly Link[],
  seen: readonly Neighbour[],
): Finding[] {
  const names = new Map(bridges.map(({ index, name }) => [index, name]));
  const keyOf = (bridge: string, { address, mac }: Known) => `${address} at ${mac} on ${bridge}`;
  const keysOf = (attachments: readonly Attachment[]) =>
    attachments.flatMap((attachment) => knownOutside(attachment).map((known) => keyOf(attachment.bridge, known)));
  const found = new Set<string>();
  for (const { link, state, ...known } of seen) {
    const bridge = names.get(link);
    if (bridge !== undefined && state === PERMANENT) found.add(keyOf(bridge, known));
  }
  const named = new Set(
    snapshots.flatMap(({ context }) => keysOf([...context.attachments, ...(context.change?.before ?? [])])),
  );
  const leaked = [...found].filter((key) => !named.has(key));
  const missing = snapshots.flatMap(({ state, context }) =>
    STEADY.has(state) ? keysOf(context.attachments).map((key) => ({ key, owner: context.id })) : [],
  );
  return [
    ...leaked.map((object): Finding => ({ kind: 'neighbour', object, problem: 'leaked' })),
    ...missing
      .filter(({ key }) => !found.has(key))
      .map(({ key, owner }): Finding => ({ kind: 'neighbour', object: key, problem: 'missing', owner })),
  ];
}

/** In the middle of an operation ports may lead to where they led before, or to any network they are on their way to. */
function passing({ attachments, change }: ContainerContext): string[] {
  const known = [...attachments, ...(change?.before ?? [])];
  const addresses = known.filter(({ internal }) => !internal).flatMap((attachment) => attachment.addresses);
  return [...addresses.map(({ address }) => address), ...(change?.led ?? [])];
}

/** None when the table has gone since we saw it, with the last network. */
async function elementsOf(native: Outside, table: string, map: string): Promise<NftElement[]> {
  try {
    return await native.nftElements('inet', table, map);
  } catch (error) {
    if (isKernelError(error) && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** One element as text, the same whether it was planned or dumped: ports4 [6,8080] -> ["10.89.0.2",80] web:173... */
function elementKey(map: string, { key, data, comment }: NftElement): string {
  const plain = (data: unknown) =>
    JSON.stringify((data as object[]).map((datum) => Object.values(datum)[0] as unknown));
  return `${map} ${plain(key)} -> ${plain(data)} ${comment ?? ''}`;
}

function readSnapshots(directory: string, findings: Finding[]): Snapshot[] {
  const snapshots: Snapshot[] = [];
  for (const { file, json } of readJson(directory)) {
    const { snapshot } = (json ?? {}) as { snapshot?: { value?: unknown; context?: unknown } };
    const context = ContainerContext.safeParse(snapshot?.context);
    if (context.success) {
      const state =
        typeof snapshot?.value === 'string'
          ? snapshot.value
          : (Object.keys((snapshot?.value ?? {}) as object)[0] ?? '');
      snapshots.push({ state, context: context.data });
    } else {
      findings.push({ kind: 'snapshot', object: file, problem: 'unreadable' });
    }
  }
  return snapshots;
}

function readJson(directory: string): { file: string; json: unknown }[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.json'))
    .map((name) => {
      const file = join(directory, name);
      try {
        return { file, json: JSON.parse(readFileSync(file, 'utf8')) as unknown };
      } catch {
        return { file, json: null };
      }
    });
}

/** Field 5 of each line (proc_pid_mountinfo(5)); names of pins need no unescaping. */
function mountPoints(): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
}

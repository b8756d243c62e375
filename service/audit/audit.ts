/**
 * An independent look: reads what the kernel, the mount table and the snapshot files each say, and reports where they differ.
 *
 * Guarantees: reads everything anew from its source (files, mountinfo, kernel dumps), nothing from the daemon's memory; changes
 * nothing. Looks both ways: for objects that no snapshot names (leaked), and for objects that a snapshot at rest names but that
 * do not exist (missing). A leaked object comes with its removal (audit-finding.ts), for repair.ts.
 * Limits: containers in the middle of an operation are not judged for missing objects. Bridges and tables may still be on their
 * way out after the last container was answered; the caller waits first until they have gone. Looks at the outsides that
 * snapshots and records of outsides name, and at the daemon's own; a missing outside has nothing left in it. A pin is known by
 * its name (token.ts).
 */
import { basename, join } from 'node:path';
import { bridgeAlias } from '../../effects/links/bridge.ts';
import { namesIn } from '../../effects/shared-directory.ts';
import type { Kernel, OutsideKernel } from '../../effects/kernel.ts';
import { removeLinks } from '../../effects/links/link.ts';
import { forgetNeighbours } from '../../effects/links/neighbour.ts';
import { takeOut } from '../../effects/ruleset/rule-operations.ts';
import { portElements, PORT_MAPS, removeTable } from '../../effects/ruleset/ruleset.ts';
import { ofCleat } from '../../plan/external/external.ts';
import { canPublish, publishAddresses } from '../../plan/containers/attachment.ts';
import { knownOutside, PERMANENT, type Known } from '../../plan/addresses/neighbours.ts';
import { portTargets } from '../../plan/ports/ports.ts';
import { tunnelAlias, tunnelName } from '../../plan/kernel/expected-overlay.ts';
import type { Seen } from '../../plan/networks/unmanaged.ts';
import { isSteadyName } from '../../plan/states.ts';
import { isKernelError, type Link, type Neighbour, type NftElement, type Outside } from '../../native/index.ts';
import type { AuditReport } from '../../state/answers/audit.ts';
import { ContainerContext, type Attachment } from '../../state/container.ts';
import { NetworkDefinition } from '../../state/network.ts';
import { auditShareRoutes, auditTunnels, withPeers } from './audit-overlay.ts';
import { auditFiles } from './audit-files.ts';
import { auditObjects } from './audit-objects.ts';
import { auditWayOut } from './audit-way-out.ts';
import { auditCarried, auditOrphans, auditResolvers, auditUplinks, type Judged } from './audit-processes.ts';
import { mountPoints, readJson, recordedOutsides } from './audit-read.ts';
import { auditRules } from './audit-rules.ts';
import { leaked, type Found, type InUse } from './audit-finding.ts';
import { isPinOf } from '../records/token.ts';
import { mayRunUplink } from '../../plan/uplinks/uplink.ts';
import { replacedBy } from '../../plan/containers/change.ts';

/** A report with what takes away what it lists. */
export interface Audit extends AuditReport {
  findings: Found[];
}

export interface Directories {
  runDir: string;
  stateDir: string;
  netnsDir: string;
}

interface Snapshot {
  state: string;
  context: ContainerContext;
}

const judged = ({ state, context }: Snapshot): Judged => ({ context, steady: isSteadyName(state) });

/**
 * Audits everything. `outsides`: more outsides to look at; the snapshots alone decide what should be there. `beside`: what was
 * found where no snapshot has a say.
 */
export async function audit(
  kernel: Kernel,
  directories: Directories,
  outsides: readonly (string | null)[] = [],
  beside: readonly Found[] = [],
): Promise<Audit> {
  const { instance } = kernel;
  const findings: Found[] = [...beside];
  const snapshots = readSnapshots(join(directories.runDir, 'containers'), findings);
  const definitions = readJson(join(directories.stateDir, 'networks')).flatMap(({ json }): Seen[] => {
    const parsed = NetworkDefinition.safeParse(json);
    return parsed.success ? [withPeers(parsed.data, join(directories.stateDir, 'peers'))] : [];
  });

  const addresses = new Map<string, string>();
  for (const { context } of snapshots) {
    for (const { network, addresses: leased } of ofCleat(context.attachments)) {
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
  for (const { context } of snapshots) {
    for (const { network, unmanaged } of context.attachments) {
      if (unmanaged !== true && !definitions.some(({ name }) => name === network))
        findings.push({ kind: 'network', object: network, problem: 'missing', owner: context.id });
    }
  }

  // Others pin namespaces in the same directory. Placeholders that were never mounted are there as well.
  const isOurs = (path: string) => pins.has(path) || isPinOf(instance.name, basename(path));
  const mounted = new Set(mountPoints().filter((path) => path.startsWith(`${directories.netnsDir}/`) && isOurs(path)));
  const placed = namesIn(directories.netnsDir).map((name) => join(directories.netnsDir, name));
  for (const path of new Set([...mounted, ...placed.filter(isOurs)])) {
    if (pins.has(path)) continue;
    const named = ({ containers }: InUse) => containers.some(({ netns }) => netns?.path === path);
    findings.push(
      leaked({ kind: 'namespace', object: path }, named, () => kernel.outside(null).kernel.netnsRemove(path)),
    );
  }
  for (const [path, { state, context }] of pins) {
    if (isSteadyName(state) && !mounted.has(path)) {
      findings.push({ kind: 'namespace', object: path, problem: 'missing', owner: context.id });
    }
  }

  let links = 0;
  let ports = 0;
  for (const outside of new Set([
    null,
    ...snapshots.map(({ context }) => context.outside),
    ...recordedOutsides(join(directories.runDir, 'outsides')),
    ...outsides,
  ])) {
    const mine = snapshots.filter(({ context }) => context.outside === outside);
    const carried = await auditCarried(directories.runDir, outside, mine.map(judged));
    ports += carried.ports;
    findings.push(...carried.findings);
    const on = kernel.outsideIfThere(outside);
    if (on === null) {
      if (mine.some(({ state }) => isSteadyName(state)))
        findings.push({ kind: 'namespace', object: outside ?? '', problem: 'missing' });
      continue;
    }
    const { kernel: native } = on;
    const here = ({ containers }: InUse) => containers.filter((context) => context.outside === outside);
    const named = new Map(
      mine.flatMap(({ context, state }) =>
        // A link on a parent has no end here; what is inside is judged with the rest of the inside.
        attachmentsOf(context).flatMap(({ hostLink, alias, child }) =>
          child === undefined ? [[hostLink, { alias, state, id: context.id }] as const] : [],
        ),
      ),
    );
    // Bridges of others (unmanaged networks) need no table of ours.
    const used = new Set(
      mine.flatMap(({ context }) => context.attachments.flatMap((one) => (one.unmanaged ? [] : one.bridge))),
    );
    // The link to other hosts is there while the bridge is.
    for (const one of definitions) if (used.has(one.network_interface)) linksOf(one).forEach((name) => used.add(name));
    const namesBridge = (bridge: string, inUse: InUse | null) =>
      (inUse?.networks ?? definitions).some((network) => linksOf(network).includes(bridge)) ||
      (inUse === null ? mine.map(({ context }) => context) : here(inUse)).some((context) =>
        attachmentsOf(context).some((one) => one.unmanaged !== true && one.bridge === bridge),
      );
    const bridges = new Map([
      // The definition of a network in use may be gone. Its bridge stays for its containers.
      ...mine.flatMap(({ context }) =>
        attachmentsOf(context).map((one) => [one.bridge, bridgeAlias(instance.name, one.network)] as const),
      ),
      ...definitions.map((one) => [one.network_interface, bridgeAlias(instance.name, one.name)] as const),
      ...definitions.map((one) => [tunnelName(one) ?? '', tunnelAlias(instance.name, one.name)] as const),
    ]);
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
      if (owner !== link.alias) findings.push(leakedLink(kernel, on, link, namesBridge, here));
    }
    for (const [name, { alias, state, id }] of named) {
      if (isSteadyName(state) && present.get(name)?.alias !== alias) {
        findings.push({ kind: 'link', object: name, problem: 'missing', owner: id });
      }
    }

    findings.push(...(await auditObjects(kernel, outside, mine.map(judged), definitions, all)));
    findings.push(...(await auditShareRoutes(native, definitions, used)));
    findings.push(...(await auditTunnels(native, new Set(present.keys()))));

    const standing = all.filter(({ alias }) => alias.startsWith(bridgeAlias(instance.name, '')));
    findings.push(...judgeNeighbours(mine, standing, await native.neighbours(), on, here));

    const expected = expectedElements(instance.table, mine);
    const found = new Map<string, { map: string; element: NftElement }>();
    const table = await native.nftTable('inet', instance.table);
    const external = ({ attachments }: ContainerContext) => attachments.length > ofCleat(attachments).length;
    const wanted = used.size > 0 || mine.some(({ context }) => mayRunUplink(context) || external(context));
    if (table === null) {
      if (wanted && mine.some(({ state }) => state === 'up')) {
        findings.push({ kind: 'table', object: instance.table, problem: 'missing' });
      }
    } else {
      // The table may be dormant, for example. Chains of ours accept packets that no rule judges, so a policy of drop is a
      // change.
      const shut = table.chains.filter(({ hook }) => hook?.policy === 'drop').map(({ name }) => `policy of ${name}`);
      for (const object of [...(table.flags === 0 ? [] : [`flags of ${instance.table}`]), ...shut])
        findings.push({ kind: 'table', object, problem: 'changed' });
      if (!wanted) {
        const used = ({ tables }: InUse) => tables.has(outside);
        const remove = () => native.nft(removeTable(instance.table));
        findings.push(leaked({ kind: 'table', object: instance.table }, used, remove));
      }
      const dump = (set: string) => elementsOf(native, instance.table, set);
      findings.push(...(await auditRules(native, { name: instance.table, seen: table, dump }, namesBridge)));
      for (const map of PORT_MAPS) {
        for (const element of await dump(map)) found.set(elementKey(map, element), { map, element });
      }
    }
    ports += found.size;
    for (const [key, { map, element }] of found) {
      if (expected.has(key)) continue;
      const named = (inUse: InUse) => expectedElements(instance.table, here(inUse).map(passingBy)).has(key);
      // The kernel refuses to remove an element if its value differs from this one's.
      const remove = () => native.nft(takeOut(instance.table, map, [element]));
      findings.push(leaked({ kind: 'port', object: key }, named, remove));
    }
    for (const [key, { id, steady }] of expected) {
      if (steady && !found.has(key)) findings.push({ kind: 'port', object: key, problem: 'missing', owner: id });
    }
  }
  findings.push(...auditUplinks(directories.runDir, snapshots.map(judged)));
  findings.push(...auditWayOut(directories.runDir, kernel.own !== null, snapshots.map(judged)));
  findings.push(...(await auditResolvers(directories.runDir, snapshots.map(judged))));
  findings.push(...(await auditOrphans(directories.runDir)));
  findings.push(...auditFiles(directories.runDir, new Set(snapshots.map(({ context }) => context.id))));
  return {
    clean: findings.length === 0,
    containers: snapshots.length,
    links,
    namespaces: mounted.size,
    ports,
    findings,
  };
}

/** Returns the links that a network has beside those of its containers. */
const linksOf = (network: NetworkDefinition): string[] => [network.network_interface, tunnelName(network) ?? []].flat();

/** Returns the attachments of a container that cleat makes, including those that are being replaced. */
const attachmentsOf = ({ attachments, change }: ContainerContext): Attachment[] =>
  ofCleat([...replacedBy(change), ...attachments]);

/** Returns the container as a busy one: anything that it names may be in the making. */
const passingBy = (context: ContainerContext): Snapshot => ({ state: 'busy', context });

/** Reports a link in our group that nothing names. One with a foreign alias is reported but not removable. */
function leakedLink(
  kernel: Kernel,
  on: OutsideKernel,
  { name, alias }: Link,
  namesBridge: (bridge: string, inUse: InUse | null) => boolean,
  here: (inUse: InUse) => readonly ContainerContext[],
): Found {
  const finding = { kind: 'link', object: name, owner: alias } as const;
  const ours = alias === '' || alias.startsWith(`cleat:${kernel.instance.name}:`);
  if (!ours || namesBridge(name, null)) return { ...finding, problem: 'leaked' };
  const named = (inUse: InUse) =>
    namesBridge(name, inUse) ||
    here(inUse).some((context) => attachmentsOf(context).some(({ hostLink }) => hostLink === name));
  return leaked(finding, named, () => removeLinks(on, kernel, [name]));
}

/** Returns the expected elements of the port maps. `steady` ones must be there; others may be there. */
function expectedElements(table: string, snapshots: readonly Snapshot[]): Map<string, { id: string; steady: boolean }> {
  const expected = new Map<string, { id: string; steady: boolean }>();
  // Ports that other handlers carry have no element in the table.
  for (const { context, state } of snapshots.filter((one) => one.context.portHandler === undefined)) {
    const { ports, change, attachments } = context;
    const steady = isSteadyName(state);
    const primary = publishAddresses(attachments);
    const leads = steady ? primary : [...new Set([...primary, ...passing(context)])];
    const targets = leads.flatMap((address) => portTargets([...ports, ...(change?.ports ?? [])], [address]));
    const planned = portElements(
      table,
      targets.map((target) => ({ ...target, owner: context.owner })),
    );
    for (const operation of planned.add) {
      if (operation.op !== 'element.add') continue;
      for (const element of operation.elements)
        expected.set(elementKey(operation.set, element), { id: context.id, steady });
    }
  }
  return expected;
}

/** Compares the neighbours (MAC of each address) on the bridges with those of containers. */
function judgeNeighbours(
  snapshots: readonly Snapshot[],
  bridges: readonly Link[],
  seen: readonly Neighbour[],
  { kernel: native }: OutsideKernel,
  here: (inUse: InUse) => readonly ContainerContext[],
): Found[] {
  const names = new Map(bridges.map(({ index, name }) => [index, name]));
  const keyOf = (bridge: string, { address, mac }: Known) => `${address} at ${mac} on ${bridge}`;
  const keysOf = (attachments: readonly Attachment[]) =>
    attachments.flatMap((attachment) => knownOutside(attachment).map((known) => keyOf(attachment.bridge, known)));
  const found = new Map<string, { bridge: string; address: string }>();
  for (const { link, state, ...known } of seen) {
    const bridge = names.get(link);
    if (bridge !== undefined && state === PERMANENT)
      found.set(keyOf(bridge, known), { bridge, address: known.address });
  }
  const named = new Set(snapshots.flatMap(({ context }) => keysOf(attachmentsOf(context))));
  const missing = snapshots.flatMap(({ state, context }) =>
    isSteadyName(state) ? keysOf(ofCleat(context.attachments)).map((key) => ({ key, owner: context.id })) : [],
  );
  return [
    ...[...found]
      .filter(([key]) => !named.has(key))
      .map(([key, known]) =>
        leaked(
          { kind: 'neighbour', object: key },
          // The kernel keeps one entry per address and link: a new user of the address has replaced this entry.
          (inUse) =>
            here(inUse).some((context) =>
              attachmentsOf(context).some(
                ({ bridge, addresses }) =>
                  bridge === known.bridge && addresses.some(({ address }) => address === known.address),
              ),
            ),
          () => forgetNeighbours(native, [known]),
        ),
      ),
    ...missing
      .filter(({ key }) => !found.has(key))
      .map(({ key, owner }): Found => ({ kind: 'neighbour', object: key, problem: 'missing', owner })),
  ];
}

/**
 * Returns the addresses that ports may lead to in the middle of an operation: those before it, and those of any network that the
 * container is being connected to.
 */
function passing({ attachments, change, portHandler }: ContainerContext): string[] {
  const known = [...attachments, ...replacedBy(change)];
  const addresses = known.filter((one) => canPublish(one, portHandler)).flatMap((attachment) => attachment.addresses);
  return [...addresses.map(({ address }) => address), ...(change?.led ?? [])];
}

/** Returns no elements if the table has gone, with the last network, since we saw it. */
async function elementsOf(native: Outside, table: string, map: string): Promise<NftElement[]> {
  try {
    return await native.nftElements('inet', table, map);
  } catch (error) {
    if (isKernelError(error) && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** Returns one element as text, the same whether it was planned or dumped: ports4 [6,8080] -> ["10.89.0.2",80] web:173... */
function elementKey(map: string, { key, data, comment }: NftElement): string {
  const plain = (data: unknown) =>
    JSON.stringify((data as object[]).map((datum) => Object.values(datum)[0] as unknown));
  return `${map} ${plain(key)} -> ${plain(data)} ${comment ?? ''}`;
}

function readSnapshots(directory: string, findings: Found[]): Snapshot[] {
  const snapshots: Snapshot[] = [];
  for (const { file, json } of readJson(directory)) {
    const { snapshot } = (json ?? {}) as { snapshot?: { value?: unknown; context?: unknown } };
    const context = ContainerContext.safeParse(snapshot?.context);
    if (context.success) {
      const state =
        typeof snapshot?.value === 'string' ? snapshot.value : (Object.keys(snapshot?.value ?? {})[0] ?? '');
      snapshots.push({ state, context: context.data });
    } else {
      findings.push({ kind: 'snapshot', object: file, problem: 'unreadable' });
    }
  }
  return snapshots;
}

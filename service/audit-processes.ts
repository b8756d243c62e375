/**
 * The auditor's look at processes: uplinks, the ports that processes carry, DNS servers, beside what the snapshots name.
 *
 * Guarantees: as of audit.ts: read anew from the processes themselves and their directories, nothing changed, both ways.
 * Limits: a port that pasta carries is not looked at: it was told once, and says nothing. What a DNS server answers is not
 * asked.
 */
import { join } from 'node:path';
import { PARTS, zoneFiles } from '../effects/aardvark.ts';
import { listForwards as listRules } from '../effects/forwarder.ts';
import { resolverHome, resolversHome } from '../effects/resolver.ts';
import { servers } from '../effects/resolver-process.ts';
import { listForwards as listSlirp } from '../effects/slirp-api.ts';
import { findUplink, listUplinks } from '../effects/uplink-keeper.ts';
import { allPorts, leadsTo, whereLed } from '../machines/plan/change.ts';
import { nameEntries, zonesOf } from '../machines/plan/names.ts';
import { targetsFor } from '../machines/plan/ports.ts';
import type { ContainerContext } from '../state/container.ts';
import type { Finding } from './finding.ts';

/** A container as the auditor judges it. `steady`: everything that it names has been made. */
export interface Judged {
  context: ContainerContext;
  steady: boolean;
}

/** A DNS server for each directory that names of containers lie in, and for no other. */
export async function auditResolvers(runDir: string, containers: readonly Judged[]): Promise<Finding[]> {
  const found = (await servers()).map(({ directory }) => directory);
  const named = resolversFor(runDir, containers);
  const needed = resolversFor(
    runDir,
    containers.filter(({ steady }) => steady),
  );
  const ours = found.filter((directory) => directory.startsWith(`${resolversHome(runDir)}/`));
  const leaked = ours.filter((directory) => !named.includes(directory));
  const missing = needed.filter((directory) => !found.includes(directory));
  return [
    ...leaked.map((object): Finding => ({ kind: 'dns', object, problem: 'leaked' })),
    ...missing.map((object): Finding => ({ kind: 'dns', object, problem: 'missing' })),
  ];
}

function resolversFor(runDir: string, containers: readonly Judged[]): string[] {
  const outsides = [...new Set(containers.map(({ context }) => context.outside))];
  return outsides.flatMap((outside) => {
    const mine = containers.filter(({ context }) => context.outside === outside);
    const names = mine.map(({ context }) => [context.owner, nameEntries(context, context.attachments)] as const);
    const files = zoneFiles(zonesOf(Object.fromEntries(names)));
    return PARTS.filter((part) => files[part].size > 0).map((part) => join(resolverHome(runDir, outside), part));
  });
}

export function auditUplinks(runDir: string, containers: readonly Judged[]): Finding[] {
  const home = join(runDir, 'uplinks');
  const named = new Set(containers.flatMap(({ context }) => (context.uplink === undefined ? [] : [context.token])));
  const leaked = listUplinks(home).filter((name) => !named.has(name));
  const missing = containers.flatMap(({ steady, context: { id, token, uplink } }) =>
    steady && uplink?.made && findUplink(join(home, token))?.state !== 'ready'
      ? [{ object: uplink.settings.program, owner: id }]
      : [],
  );
  return [
    ...leaked.map((object): Finding => ({ kind: 'uplink', object, problem: 'leaked' })),
    ...missing.map((one): Finding => ({ kind: 'uplink', problem: 'missing', ...one })),
  ];
}

/** Ports that processes carry, and how many of them were found. */
export async function auditCarried(
  runDir: string,
  outside: string | null,
  containers: readonly Judged[],
): Promise<{ ports: number; findings: Finding[] }> {
  const expected = new Map<string, { id: string; due: boolean }>();
  for (const { context, steady } of containers) {
    const { owner, id, portHandler, ports } = context;
    if (portHandler === undefined || portHandler === 'pasta') continue;
    const expect = (of: typeof ports, addresses: string[], due: boolean) => {
      for (const target of targetsFor(portHandler, of, addresses))
        expected.set(keyOf(owner, target.protocol, target.hostIp, target.hostPort, target.address), { id, due });
    };
    for (const address of whereLed(context)) expect(allPorts(context), [address], false);
    expect(steady ? ports : [], leadsTo(context), true);
  }
  const found = await carried(runDir, outside, containers);
  const leaked = [...found].filter((key) => !expected.has(key));
  const missing = [...expected].filter(([key, { due }]) => due && !found.has(key));
  return {
    ports: found.size,
    findings: [
      ...leaked.map((object): Finding => ({ kind: 'port', object, problem: 'leaked' })),
      ...missing.map(([object, { id }]): Finding => ({ kind: 'port', object, problem: 'missing', owner: id })),
    ],
  };
}

/** What the forwarder of the outside says that it carries, and each slirp4netns. */
async function carried(runDir: string, outside: string | null, containers: readonly Judged[]): Promise<Set<string>> {
  const found = new Set<string>();
  const places = { directory: join(runDir, 'forwarder'), executable: '' }; // nothing is started
  for (const rule of (await listRules(places)(outside))?.rules ?? []) {
    found.add(keyOf(rule.owner, rule.protocol, rule.host_ip, rule.host_port, rule.address));
  }
  for (const { context } of containers) {
    if (context.portHandler !== 'slirp4netns') continue;
    // One that does not answer carries nothing that could be shown.
    const entries = await listSlirp(join(runDir, 'uplinks', context.token)).catch(() => []);
    for (const { proto, host_addr, host_port, guest_addr } of entries) {
      found.add(keyOf(context.owner, proto, host_addr === '0.0.0.0' ? '' : host_addr, host_port, guest_addr));
    }
  }
  return found;
}

const keyOf = (owner: string, protocol: string, hostIp: string, hostPort: number, address: string): string =>
  `${owner} ${protocol} ${hostIp}:${hostPort} -> ${address}`;

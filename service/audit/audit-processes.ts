/**
 * Audits processes (uplinks, processes that carry ports, DNS servers) against the snapshots.
 *
 * Guarantees: those of audit.ts: reads everything from the processes themselves and their directories, changes nothing, and looks
 * both ways.
 * Limits: ports that pasta carries are not audited: pasta gets them once, at its start, and cannot list them. The answers of a
 * DNS server are not checked.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { PARTS, zoneFiles } from '../../effects/names/aardvark.ts';
import { listForwards as listRules, unforward } from '../../effects/forwarder/forwarder.ts';
import { SOCKET } from '../../effects/forwarder/forwarder-client.ts';
import { forwardersIn, isUnreachable } from '../../effects/forwarder/forwarder-process.ts';
import { removeIfEmpty } from '../../effects/shared-directory.ts';
import { ended, SIGKILL, signal } from '../../effects/processes/process.ts';
import { resolverHome, resolversHome } from '../../effects/names/resolver.ts';
import { servers, stop } from '../../effects/names/resolver-process.ts';
import { listForwards as listSlirp } from '../../effects/uplinks/slirp-api.ts';
import { findUplink, isOrphan, keepersIn, listUplinks, wayOutHome } from '../../effects/uplinks/uplink-keeper.ts';
import { removeUplink } from '../../effects/uplinks/uplink-process.ts';
import { allPorts, leadsTo, whereLed } from '../../plan/containers/change.ts';
import { nameEntries, zonesOf } from '../../plan/names/names.ts';
import { targetsFor } from '../../plan/ports/ports.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { Child } from '../../native/index.ts';
import { auditZones } from './audit-files.ts';
import { leaked, type Found, type InUse } from './audit-finding.ts';

const END_MS = 2000;

/** A container as the auditor judges it. `steady` is true if everything that the container names has been made. */
export interface Judged {
  context: ContainerContext;
  steady: boolean;
}

/**
 * Checks that each directory that needs a DNS server has one and no other directory has, and finds zone files that no server
 * reads.
 */
export async function auditResolvers(runDir: string, containers: readonly Judged[]): Promise<Found[]> {
  const home = resolversHome(runDir);
  const found = (await servers()).map(({ directory }) => directory);
  const named = resolversFor(runDir, containers);
  const needed = resolversFor(
    runDir,
    containers.filter(({ steady }) => steady),
  );
  const ours = found.filter((directory) => directory.startsWith(`${home}/`));
  const now = (inUse: InUse) => resolversFor(runDir, busy(inUse));
  const missing = needed.filter((directory) => !found.includes(directory));
  return [
    ...ours
      .filter((directory) => !named.includes(directory))
      .map((directory) =>
        leaked(
          { kind: 'dns', object: directory },
          (inUse) => now(inUse).includes(directory),
          async () => {
            await stop(directory);
            rmSync(directory, { recursive: true, force: true });
          },
        ),
      ),
    ...missing.map((object): Found => ({ kind: 'dns', object, problem: 'missing' })),
    ...auditZones(home, [...ours, ...named], (key, inUse) =>
      now(inUse).some((directory) => directory.startsWith(`${join(home, key)}/`)),
    ),
  ];
}

/** Returns the containers for the check right before a removal: none is steady, because anything they name may be in the making. */
const busy = ({ containers }: InUse): Judged[] => containers.map((context) => ({ context, steady: false }));

function resolversFor(runDir: string, containers: readonly Judged[]): string[] {
  const outsides = [...new Set(containers.map(({ context }) => context.outside))];
  return outsides.flatMap((outside) => {
    const mine = containers.filter(({ context }) => context.outside === outside);
    const names = mine.map(({ context }) => [context.owner, nameEntries(context, context.attachments)] as const);
    const files = zoneFiles(zonesOf(Object.fromEntries(names)));
    return PARTS.filter((part) => files[part].size > 0).map((part) => join(resolverHome(runDir, outside), part));
  });
}

/** Checks that each uplink has a directory with a running program in it. */
export function auditUplinks(runDir: string, containers: readonly Judged[]): Found[] {
  const home = join(runDir, 'uplinks');
  const tokensOf = (all: readonly Judged[]) =>
    new Set(all.flatMap(({ context }) => (context.uplink === undefined ? [] : [context.token])));
  const named = tokensOf(containers);
  const missing = containers.flatMap(({ steady, context: { id, token, uplink } }) =>
    steady && uplink?.made && findUplink(join(home, token))?.state !== 'ready'
      ? [{ object: uplink.settings.program, owner: id }]
      : [],
  );
  return [
    ...listUplinks(home)
      .filter((name) => !named.has(name))
      .map((name) =>
        leaked(
          { kind: 'uplink', object: name },
          (inUse) => tokensOf(busy(inUse)).has(name),
          async () => {
            await removeUplink(join(home, name));
            removeIfEmpty(home);
          },
        ),
      ),
    ...missing.map((one): Found => ({ kind: 'uplink', problem: 'missing', ...one })),
  ];
}

/** Finds helpers whose directory is gone. Nothing can send them requests any more, or end them with their container. */
export async function auditOrphans(runDir: string): Promise<Found[]> {
  const [uplinks, forwarders] = [join(runDir, 'uplinks'), join(runDir, 'forwarder')];
  const orphan = ({ pid, startTime }: Child, what: string, path: string) =>
    leaked(
      { kind: 'process', object: `${what} (pid ${pid}) without ${path}` },
      () => false,
      async () => {
        signal({ pid, startTime }, SIGKILL);
        await ended({ pid, startTime }, END_MS);
      },
    );
  const found: Found[] = [];
  for (const { directory, process } of await forwardersIn(forwarders)) {
    if (await isUnreachable(directory, process))
      found.push(orphan(process, 'cleat-forwarder', join(directory, SOCKET)));
  }
  for (const home of [uplinks, wayOutHome(runDir)]) {
    for (const one of await keepersIn(home)) {
      if (isOrphan(home, one)) found.push(orphan(one.keeper, 'cleat-keeper', join(home, one.name)));
    }
  }
  return found;
}

/** Finds the differences in ports that processes carry. `ports` is the number of carried ports that were found. */
export async function auditCarried(
  runDir: string,
  outside: string | null,
  containers: readonly Judged[],
): Promise<{ ports: number; findings: Found[] }> {
  const places = { directory: join(runDir, 'forwarder') };
  const expected = carriedBy(containers);
  // A forwarder that does not answer has no ports that could be shown.
  const rules = (await listRules(places)(outside).catch(() => null))?.rules ?? [];
  const forwarded = new Map(
    rules.map((rule) => [keyOf(rule.owner, rule.protocol, rule.host_ip, rule.host_port, rule.address), rule] as const),
  );
  const found = new Set([...forwarded.keys(), ...(await forwardedBySlirp(runDir, containers))]);
  const findings = [...found].flatMap((key): Found[] => {
    if (expected.has(key)) return [];
    const rule = forwarded.get(key);
    if (rule === undefined) return [{ kind: 'port', object: key, problem: 'leaked' }]; // it goes with its slirp4netns
    const { owner, protocol, host_ip: hostIp, host_port: hostPort, address, container_port: containerPort } = rule;
    const target = { owner, protocol, hostIp, hostPort, address, containerPort };
    const { netns, dev, ino } = rule;
    return [
      leaked(
        { kind: 'port', object: key },
        (inUse) => carriedBy(busy(inUse).filter(({ context }) => context.outside === outside)).has(key),
        () => unforward(places)({ outside, netns: { path: netns, dev, ino }, targets: [], replacing: [target] }),
      ),
    ];
  });
  const missing = [...expected].filter(([key, { due }]) => due && !found.has(key));
  return {
    ports: found.size,
    findings: [
      ...findings,
      ...missing.map(([object, { id }]): Found => ({ kind: 'port', object, problem: 'missing', owner: id })),
    ],
  };
}

/** Returns the ports that processes may carry for these containers. `due` is true for ports that they must carry. */
function carriedBy(containers: readonly Judged[]): Map<string, { id: string; due: boolean }> {
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
  return expected;
}

async function forwardedBySlirp(runDir: string, containers: readonly Judged[]): Promise<string[]> {
  const found: string[] = [];
  for (const { context } of containers) {
    if (context.portHandler !== 'slirp4netns') continue;
    const entries = await listSlirp(join(runDir, 'uplinks', context.token)).catch(() => []);
    for (const { proto, host_addr, host_port, guest_addr } of entries) {
      found.push(keyOf(context.owner, proto, host_addr, host_port, guest_addr));
    }
  }
  return found;
}

const keyOf = (owner: string, protocol: string, hostIp: string, hostPort: number, address: string): string =>
  `${owner} ${protocol} ${hostIp}:${hostPort} -> ${address}`;

/**
 * The auditor's look at processes: uplinks, the ports that processes carry, DNS servers, beside what the snapshots name.
 *
 * Guarantees: as of audit.ts: read anew from the processes themselves and their directories, nothing changed, both ways.
 * Limits: a port that pasta carries is not looked at: it was told once, and says nothing. What a DNS server answers is not
 * asked.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { PARTS, zoneFiles } from '../effects/aardvark.ts';
import { listForwards as listRules, unforward } from '../effects/forwarder.ts';
import { SOCKET } from '../effects/forwarder-client.ts';
import { forwardersIn, isUnreachable } from '../effects/forwarder-process.ts';
import { removeIfEmpty } from '../effects/shared-directory.ts';
import { ended, SIGKILL, signal } from '../effects/process.ts';
import { resolverHome, resolversHome } from '../effects/resolver.ts';
import { servers, stop } from '../effects/resolver-process.ts';
import { listForwards as listSlirp } from '../effects/slirp-api.ts';
import { findUplink, isOrphan, keepersIn, listUplinks } from '../effects/uplink-keeper.ts';
import { removeUplink } from '../effects/uplink-process.ts';
import { allPorts, leadsTo, whereLed } from '../machines/plan/change.ts';
import { nameEntries, zonesOf } from '../machines/plan/names.ts';
import { targetsFor } from '../machines/plan/ports.ts';
import type { ContainerContext } from '../state/container.ts';
import type { Child } from '../native/index.ts';
import { auditZones } from './audit-files.ts';
import { leaked, type Found, type InUse } from './audit-finding.ts';

const END_MS = 2000;

/** A container as the auditor judges it. `steady`: everything that it names has been made. */
export interface Judged {
  context: ContainerContext;
  steady: boolean;
}

/** A DNS server for each directory that names of containers lie in, and for no other; and the files that nobody reads. */
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

/** The containers as they are judged by whoever is about to take something away: anything that they name may be in the making. */
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

/** A directory for each uplink, and a program in it. */
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

/** Helpers that run where no file leads to them any more: nobody could tell them anything, nor end them with their container. */
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
  for (const one of await keepersIn(uplinks)) {
    if (isOrphan(uplinks, one)) found.push(orphan(one.keeper, 'cleat-keeper', join(uplinks, one.name)));
  }
  return found;
}

/** Ports that processes carry, and how many of them were found. */
export async function auditCarried(
  runDir: string,
  outside: string | null,
  containers: readonly Judged[],
): Promise<{ ports: number; findings: Found[] }> {
  const places = { directory: join(runDir, 'forwarder'), executable: '' }; // nothing is started
  const expected = carriedBy(containers);
  // One that does not answer carries nothing that could be shown.
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

/** What processes carry for these, or may: `due` is what they do carry when all is well. */
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

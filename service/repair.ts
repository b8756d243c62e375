/**
 * Takes away what the audit says is ours and nobody's: what a lost snapshot or definition left in the kernel, among the
 * processes and below the run directory.
 *
 * Guarantees: nothing is looked at before every operation under way has come to rest, or has had its time. Each thing is
 * taken away only if no container, no definition and no machine that containers share names it in the turn in which its
 * removal begins: names are in a container's context before anything is made of them. One that cannot be removed keeps no
 * other from it, and is told with the reason. What the answer says is left is what another audit found afterwards.
 * See docs/decisions/0044.
 * Limits: what is missing is not made: drift is (drift.ts). Files that were set aside are nobody's word: what only they
 * name is taken away; whoever wants to put one right does so before.
 */
import { toFault } from '../effects/effect.ts';
import type { Fault } from '../state/faults.ts';
import type { Kernel } from '../effects/kernel.ts';
import { audit, type AuditReport, type Directories } from './audit.ts';
import type { Containers } from './containers.ts';
import { shown, type Finding, type Found, type InUse } from './audit-finding.ts';
import type { Networks } from './networks.ts';
import type { Shared } from './shared.ts';
import { allAtRest } from './wait-for-state.ts';

/** How long an audit waits for what is being raised or lowered: a bridge on its way out is not left behind. */
const AUDIT_MS = 5000;

/** What an audit found afterwards. `removed`: what is not there any more. `refused`: what could not be removed, and why. */
export interface RepairReport extends AuditReport {
  removed: Finding[];
  refused: (Finding & { fault: Fault })[];
}

interface RepairParts {
  /** Resolves when what is under way has come to rest, or after a while. */
  settled: () => Promise<void>;
  audit: () => Promise<AuditReport>;
  inUse: () => InUse;
  /** What machines still hold for networks that have neither a definition nor a user. */
  releaseForgotten: () => void;
}

/** The audit and the repair, as the API offers them. */
export function auditing(of: {
  kernel: Kernel;
  directories: Directories;
  shared: Pick<Shared, 'outsides' | 'releaseForgotten' | 'settled' | 'tables'>;
  containers: Pick<Containers, 'all' | 'neighbours' | 'written'>;
  networks: Pick<Networks, 'all'>;
}): { audit: () => Promise<AuditReport>; repair: () => Promise<RepairReport> } {
  const { kernel, directories, shared, containers, networks } = of;
  const contexts = () => containers.all().map(({ context }) => context);
  const look = async () => {
    // Where the disk does not take it, the audit says what the disk says.
    await containers.written().catch(() => {});
    return audit(kernel, directories, shared.outsides());
  };
  return {
    audit: async () => {
      await shared.settled(AUDIT_MS);
      return look();
    },
    repair: () =>
      repair({
        settled: async () => {
          await allAtRest(
            contexts().flatMap(({ owner }) => containers.neighbours.container(owner) ?? []),
            AUDIT_MS,
          );
          await shared.settled(AUDIT_MS);
        },
        audit: look,
        inUse: () => ({ containers: contexts(), networks: networks.all(), tables: shared.tables() }),
        releaseForgotten: () => shared.releaseForgotten(contexts()),
      }),
  };
}

async function repair(parts: RepairParts): Promise<RepairReport> {
  const { settled, audit, inUse, releaseForgotten } = parts;
  await settled();
  const found: Found[] = [];
  const refused: RepairReport['refused'] = [];
  // The second time for what the machines let go of in between.
  for (const pass of [releaseForgotten, () => {}]) {
    const { findings } = await audit();
    found.push(...findings.filter((one) => one.removable === true && !found.some((two) => keyOf(two) === keyOf(one))));
    for (const one of findings) {
      try {
        await one.remove?.(inUse);
      } catch (error) {
        refused.push({ ...shown(one), fault: toFault(error, 'repair') });
      }
    }
    pass();
    await settled();
  }
  const after = await audit();
  const left = new Set(after.findings.map(keyOf));
  return {
    ...after,
    removed: found.filter((one) => !left.has(keyOf(one))).map(shown),
    refused: refused.filter((one) => left.has(keyOf(one))),
  };
}

const keyOf = ({ kind, object }: Finding): string => `${kind} ${object}`;

/**
 * Removes what the audit finds to be ours and without an owner: remains of a lost snapshot or definition in the kernel, among the
 * processes and below the run directory.
 *
 * Guarantees: looks at nothing before every operation under way has come to rest, or has had its time. Removes an object only if
 * no container, no definition and no shared machine names it in the tick in which its removal begins: names are in a container's
 * context before anything is made of them. An object that cannot be removed does not prevent other removals, and is reported with
 * the reason. The answer lists what another audit found afterwards. See docs/decisions/0044.
 * Limits: missing objects are not made; the watch on drift makes them (drift.ts). Files that were set aside count for nothing:
 * objects that only they name are removed. A user who wants to restore such a file does so before the repair.
 */
import { toFault } from '../../effects/effect.ts';
import type { AuditReport, Finding, RepairReport } from '../../state/answers/audit.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { audit, type Audit, type Directories } from './audit.ts';
import type { Containers } from '../containers/containers.ts';
import { auditDescriptors } from './audit-descriptors.ts';
import { shown, type Found, type InUse } from './audit-finding.ts';
import type { Networks } from '../networks/networks.ts';
import type { PreparedNamespaces } from '../outsides/prepared-namespaces.ts';
import type { Shared } from '../outsides/shared.ts';
import { allAtRest } from '../containers/wait-for-state.ts';

/** How long an audit waits for bridges that are being raised or lowered: a bridge on its way out has not leaked. */
const AUDIT_MS = 5000;

interface RepairParts {
  /** Resolves when operations under way have come to rest, or after a while. */
  settled: () => Promise<void>;
  audit: () => Promise<Audit>;
  inUse: () => InUse;
  /** Releases what machines still hold for networks that have neither a definition nor a user. */
  releaseForgotten: () => void;
}

/** Returns the audit and the repair, as the API offers them. */
export function auditing(of: {
  kernel: Kernel;
  directories: Directories;
  shared: Pick<Shared, 'outsides' | 'releaseForgotten' | 'settled' | 'tables'>;
  containers: Pick<Containers, 'all' | 'neighbours' | 'written'>;
  networks: Pick<Networks, 'all'>;
  prepared: Pick<PreparedNamespaces, 'held'>;
}): { audit: () => Promise<AuditReport>; repair: () => Promise<RepairReport> } {
  const { kernel, directories, shared, containers, networks, prepared } = of;
  const contexts = () => containers.all().map(({ context }) => context);
  const look = async () => {
    // If the disk refuses the write, the audit judges by the snapshots that are on disk.
    await containers.written().catch(() => {});
    return audit(kernel, directories, shared.outsides(), await auditDescriptors(kernel, () => prepared.held()));
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
  // The second pass is for objects that the machines released in between.
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

/**
 * Audits the program that leads out of an ordinary user's outside, against the containers that need it.
 *
 * Guarantees: those of audit.ts. A keeper without its directory is found, too (audit-processes.ts).
 * Limits: the link, the address and the route are its machine's to look at (service/watch/rootless-watch.ts).
 */
import { join } from 'node:path';
import { findUplink, listUplinks, wayOutHome } from '../../effects/uplinks/uplink-keeper.ts';
import { removeUplink } from '../../effects/uplinks/uplink-process.ts';
import { removeIfEmpty } from '../../effects/shared-directory.ts';
import type { ContainerContext } from '../../state/container.ts';
import { leaked, type Found } from './audit-finding.ts';
import type { Judged } from './audit-processes.ts';

/** The name of its directory. */
const NAME = 'uplink';

/** True for a container that holds the way out, or may be about to. */
const holds = ({ outside, attachments, change }: ContainerContext): boolean =>
  outside === null && (attachments.length > 0 || change !== null);

/** `expected`: the daemon's own outside is one that something has to lead out of. */
export function auditWayOut(runDir: string, expected: boolean, containers: readonly Judged[]): Found[] {
  const home = wayOutHome(runDir);
  const isHeld = containers.some(({ context }) => holds(context));
  const isNeeded =
    expected && containers.some(({ steady, context }) => steady && context.attachments.length > 0 && holds(context));
  const isMissing = isNeeded && findUplink(join(home, NAME))?.state !== 'ready';
  return [
    ...listUplinks(home)
      .filter((name) => !(expected && name === NAME && isHeld))
      .map((name) =>
        leaked(
          { kind: 'uplink', object: `rootless/${name}` },
          ({ containers, tables }) => expected && name === NAME && (tables.has(null) || containers.some(holds)),
          async () => {
            await removeUplink(join(home, name));
            removeIfEmpty(home);
          },
        ),
      ),
    ...(isMissing ? [{ kind: 'uplink', object: `rootless/${NAME}`, problem: 'missing' } satisfies Found] : []),
  ];
}

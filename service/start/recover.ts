/**
 * The third step of a start: starts every machine again that a snapshot names.
 *
 * Guarantees: the facts that machines depend on are known before they start: the namespaces behind the paths, the way out,
 * leases and ports (shared.recover), and what is owed to the outer publisher. A failure in the background is reported.
 * Limits: an update of a network that a crash interrupted may end after the first answers.
 */
import { findExits } from '../../effects/processes/exit-descriptor.ts';
import { toFault } from '../../effects/effect.ts';
import { identityAt } from '../../effects/kernel.ts';
import { pinAgain } from '../../effects/namespaces/netns.ts';
import { RESOLV_CONF } from '../../effects/names/etc.ts';
import { isUnpinned, stateName } from '../../plan/states.ts';
import { FaultError } from '../../state/faults.ts';
import { ContainerFiles } from '../containers/container-files.ts';
import { Publishing } from '../outsides/publisher.ts';
import { recover, type Restorable } from '../records/recovery.ts';
import { logNotifications } from '../views/log-notifications.ts';
import { recognise } from '../watch/outside-release.ts';
import { FileWatch } from '../watch/resolv-watch.ts';
import type { Machines } from './machines.ts';
import type { OpenState } from './open-state.ts';
import type { Watches } from './watches.ts';

export type Recovery = Awaited<ReturnType<typeof recoverContainers>>;

/**
 * Puts back the pins of namespaces that are not where they were. Those of a daemon that was started in a caller's mount namespace end
 * with it (docs/decisions/0058), and the first event must find them. What cannot be put back now is left to the watch on drift, which
 * tells of a namespace that is gone; any other reason is in the log and in the container's journal.
 */
async function pinLost(
  { kernel, journal, failed }: Pick<OpenState, 'kernel' | 'journal' | 'failed'>,
  containers: readonly Restorable[],
): Promise<void> {
  for (const { id, context, snapshot } of containers) {
    const { netns, identity } = context;
    if (netns === null || identity === null || isUnpinned(snapshot)) continue;
    const found = identityAt(netns.path);
    if (found?.dev === identity.dev && found.ino === identity.ino) continue;
    await pinAgain(kernel, context).catch((error: unknown) => {
      const fault = toFault(error, 'pin');
      failed(`the pin of container ${id}`, FaultError.of(fault));
      const at = stateName(snapshot);
      const note = { t: Date.now(), machine: 'container', event: 'unpinned', from: at, to: at, ms: 0, fault };
      journal.append(id, { kind: 'note', ...note });
    });
  }
}

export async function recoverContainers(
  state: OpenState,
  { shared, containers, networks, overlays, engineNetworks, machine, etc, sandbox }: Machines,
  { waysOut }: Watches,
) {
  const { kernel, previous, failed } = state;
  const { log } = state.options;
  logNotifications(containers, log);
  const publishing = new Publishing({ publisher: state.publisher, ledger: state.exposed, log });
  const { containerStore: store, journal, bootId } = state;
  const recovered = recover({ store, journal, machine, bootId });
  const contexts = recovered.containers.map(({ context }) => context);
  // Before the machines start, which need the descriptors, and the watches, which know by them who has ended.
  await findExits(contexts.flatMap(({ exit }) => exit ?? [])).catch((error: unknown) =>
    failed('exit descriptors', error),
  );
  await recognise(kernel, shared.records(), recovered.containers, failed);
  // Before the machines start, because they would otherwise take the difference for a change.
  await waysOut.look(new Set([null, ...contexts.map(({ outside }) => outside)]));
  await networks.chooseParents();
  overlays.readdress();
  recovered.unreadable.push(...shared.recover(contexts));
  publishing.start(recovered.containers, recovered.stale).catch((error: unknown) => failed('outer publisher', error));
  if (state.options.drift.link === 'repair') await pinLost(state, recovered.containers);
  for (const { id, snapshot } of recovered.containers) containers.restore(id, snapshot);
  containers.restored();
  overlays.start();
  void engineNetworks.forgetUnused(); // a crash may have come between the last container of one and its definition
  await networks.ensureDefault();
  void networks.finish(previous.map(({ name }) => name)).catch((error: unknown) => failed('update of networks', error));
  const files = new ContainerFiles(containers, etc.refreshFiles);
  const refreshSandbox = () => {
    try {
      sandbox?.refresh();
    } catch (error) {
      failed('resolv.conf of plugins', error); // the next program has it written again
    }
  };
  const hostFile = new FileWatch(
    RESOLV_CONF,
    () => {
      shared.refreshResolvers();
      shared.verifyFirewalls();
      files.refresh();
      refreshSandbox();
    },
    (error) => failed(`watch on ${RESOLV_CONF}`, error),
  );
  // It may have changed while nobody watched.
  files.refresh();
  refreshSandbox();
  return { count: recovered.containers.length, unreadable: recovered.unreadable, publishing, files, hostFile };
}

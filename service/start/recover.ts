/**
 * The third step of a start: starts every machine again that a snapshot names.
 *
 * Guarantees: the facts that machines depend on are known before they start: the namespaces behind the paths, the way out,
 * leases and ports (shared.recover), and what is owed to the outer publisher. A failure in the background is reported.
 * Limits: an update of a network that a crash interrupted may end after the first answers.
 */
import { findExits } from '../../effects/processes/exit-descriptor.ts';
import { RESOLV_CONF } from '../../effects/names/etc.ts';
import { ContainerFiles } from '../containers/container-files.ts';
import { Publishing } from '../outsides/publisher.ts';
import { recover } from '../records/recovery.ts';
import { logNotifications } from '../views/log-notifications.ts';
import { recognise } from '../watch/outside-release.ts';
import { FileWatch } from '../watch/resolv-watch.ts';
import type { Machines } from './machines.ts';
import type { OpenState } from './open-state.ts';
import type { Watches } from './watches.ts';

export type Recovery = Awaited<ReturnType<typeof recoverContainers>>;

export async function recoverContainers(
  state: OpenState,
  { shared, containers, networks, engineNetworks, machine, etc }: Machines,
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
  recovered.unreadable.push(...shared.recover(contexts));
  publishing.start(recovered.containers, recovered.stale).catch((error: unknown) => failed('outer publisher', error));
  for (const { id, snapshot } of recovered.containers) containers.restore(id, snapshot);
  containers.restored();
  void engineNetworks.forgetUnused(); // a crash may have come between the last container of one and its definition
  await networks.ensureDefault();
  void networks.finish(previous.map(({ name }) => name)).catch((error: unknown) => failed('update of networks', error));
  const files = new ContainerFiles(containers, etc.refreshFiles);
  const hostFile = new FileWatch(
    RESOLV_CONF,
    () => {
      shared.refreshResolvers();
      shared.verifyFirewalls();
      files.refresh();
    },
    (error) => failed(`watch on ${RESOLV_CONF}`, error),
  );
  files.refresh(); // it may have changed while nobody watched
  return { count: recovered.containers.length, unreadable: recovered.unreadable, publishing, files, hostFile };
}

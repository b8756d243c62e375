/**
 * Gives scopes of systemd to what runs already when the daemon starts: a crash may have come between the start of a helper and its
 * request, and an earlier version made none.
 *
 * Guarantees: the daemon does not wait for the helpers' scopes. It waits for its own, because its helpers can have none otherwise, but
 * not longer than a few seconds.
 * Limits: once per start. What is started later is requested where it is started.
 */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { forwardersIn } from '../../effects/forwarder/forwarder-process.ts';
import { resolversHome } from '../../effects/names/resolver.ts';
import { servers } from '../../effects/names/resolver-process.ts';
import { isInSession, managerSocket, type Scopes } from '../../effects/processes/scopes.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { helpersIn } from '../../effects/vtep/wireguard-helper.ts';
import { keepersIn } from '../../effects/uplinks/uplink-keeper.ts';
import { processStartTime } from '../../native/index.ts';
import type { Machines } from './machines.ts';
import { holderIn } from './rootless.ts';

/** To be called before the first helper is started. */
export async function leaveSession(scopes: Scopes): Promise<void> {
  if (!isInSession()) return;
  scopes.own('daemon', { pid: process.pid, startTime: processStartTime(process.pid) });
  await scopes.settled();
}

export async function scopeHelpers({ scopes, places }: Machines, kernel: Kernel, runDir: string): Promise<void> {
  if (!existsSync(managerSocket() ?? '')) return; // a list of all processes less
  scopes.own('namespace', holderIn(runDir));
  for (const home of [places.uplinks, dirname(places.rootless)]) {
    for (const { keeper } of await keepersIn(home)) scopes.own('uplink', keeper);
  }
  for (const { process } of await forwardersIn(places.forwarder.directory)) scopes.own('forwarder', process);
  for (const { helper } of await helpersIn(kernel.outside(null).kernel.identity())) scopes.own('wireguard', helper);
  for (const { directory, server } of await servers()) {
    if (directory.startsWith(`${resolversHome(runDir)}/`)) scopes.own('dns', server);
  }
}

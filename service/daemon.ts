/**
 * Puts the daemon together: connects machines to effects, effects to the kernel, state to disk, and all of it to the socket.
 *
 * Guarantees: one daemon per pair of directories (locks), and no other process writes to them. Everything that a snapshot names
 * is running again before the socket answers. A stop leaves every container as it is.
 * Limits: a failure before the socket answers ends the start with a fault.
 *
 *   <run-dir>    0751  cleat.sock (0660), lock, containers/, outsides/, journal/, dns/, etc/
 *   <state-dir>  0700  lock, networks/, exposed.json
 */
import { createRequire } from 'node:module';
import { buildMachines } from './start/machines.ts';
import { openState } from './start/open-state.ts';
import type { DaemonOptions } from './start/options.ts';
import { recoverContainers } from './start/recover.ts';
import { leaveSession, scopeHelpers } from './start/scopes.ts';
import { serve, type Daemon } from './start/serve.ts';
import { makeWatches } from './start/watches.ts';
import { openTraces } from './traces/open-traces.ts';

export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };
  const { log, otlpEndpoint } = options;
  const traces = await openTraces(otlpEndpoint, { log, version, environment: process.env });
  const state = openState(options);
  const machines = buildMachines(state, traces);
  await leaveSession(machines.scopes);
  const watches = makeWatches(state, machines);
  const recovery = await recoverContainers(state, machines, watches);
  const daemon = await serve(state, machines, watches, recovery, traces, version);
  scopeHelpers(machines, state.kernel, options.runDir).catch((error: unknown) =>
    state.failed('scopes of helpers', error),
  );
  return daemon;
}

/**
 * `cleat run`: runs a process with a network of its own, for as long as the process lives; `cleat exec`: one more in that network.
 *
 * Guarantees: the container is bound to this client's pid, with -d to CMD's own, so the daemon tears it down even if this client is
 * killed, or if the daemon was not running when CMD ended. The exit code is CMD's, or 128+n for a signal; 125 if cleat failed, 126
 * and 127 if CMD could not be started. Nothing is left of a run whose CMD could not be started.
 * Limits: the network, and the files that lead to it (native/run/). Everything else is the host's. Background processes of CMD lose
 * their network when CMD ends. With -d, what CMD prints goes to the journal, or is lost where there is none.
 */
import { randomBytes } from 'node:crypto';
import { CleatError } from '../../client/error.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Client } from '../client.ts';
import { Entrance, type Place } from './entrance.ts';
import { journalStream } from './journal.ts';
import { explain, usage } from '../failure.ts';
import { parseWiring, type WiringOptions } from '../request/options.ts';
import { withProgress } from '../progress.ts';
import { complain, warn } from '../terminal.ts';
import { addressesOf, portText } from '../text.ts';

export interface RunOptions extends WiringOptions {
  name?: string;
  detach?: boolean;
}

/** Runs CMD; resolves with the exit code, or with the container if CMD goes on without us. */
export async function run(client: Client, options: RunOptions, argv: string[]): Promise<number | ContainerView> {
  const { detach = false, portHandler } = options;
  const id = options.name ?? `run-${randomBytes(4).toString('hex')}`;
  const wiring = parseWiring(options);
  const shares = wiring.netns?.mode === 'host' || wiring.netns?.mode === 'container';
  const file = options.dns !== undefined ? '--dns' : options.addHost !== undefined ? '--add-host' : null;
  if (shares && file !== null)
    throw usage(`${file} is for a namespace of its own`, 'In a shared one, CMD has the files of the one whose it is.');

  const journal = detach ? await journalStream(id) : null;
  if (detach && journal === null)
    warn({ warnings: ['what CMD prints is lost: no journal (systemd-journald) runs here'] });
  const program = new Entrance(argv, detach ? (journal ?? 'ignore') : 'inherit');
  journal?.destroy(); // CMD has it
  try {
    warn(
      await client.event({
        type: 'create',
        id,
        ...wiring,
        ...(portHandler === undefined ? {} : { port_handler: portHandler }),
        ...(shares ? {} : { files: true }),
        bound_to: detach ? program.pid : process.pid,
      }),
    );
  } catch (error) {
    program.cancel();
    throw error;
  }
  try {
    const container = (await withProgress(
      `configuring ${id}`,
      client.event({ type: 'configure', id }),
    )) as ContainerView;
    const words = [id, ...addressesOf(container), ...container.ports.map(portText)];
    if (!detach && process.stderr.isTTY) complain([words.join('  ')]);
    await program.begin(await placeOf(client, container));
    if (detach) {
      program.leave();
      return container;
    }
    const code = await program.ended();
    await takeDown(client, id);
    return code;
  } catch (error) {
    program.cancel();
    await takeDown(client, id);
    throw error;
  }
}

/** Runs CMD in the network of a container; resolves with the exit code. */
export async function exec(client: Client, id: string, argv: string[]): Promise<number> {
  const place = await placeOf(client, await client.container(id));
  const program = new Entrance(argv, 'inherit');
  await program.begin(place);
  return program.ended();
}

/** Returns the place of a container. One that shares a namespace sees the files of its owner. */
async function placeOf(client: Client, { netns, files }: ContainerView): Promise<Place> {
  return { netns, files: netns.mode === 'container' ? (await client.container(netns.id)).files : files };
}

/** Tears the container down. A failed teardown is reported and does not change CMD's exit code; the daemon finishes it. */
async function takeDown(client: Client, id: string): Promise<void> {
  try {
    const answer = await client.event({ type: 'teardown', id });
    if ('owner_gone' in answer && answer.owner_gone) return; // others use its network: it is removed after the last of them
    await withProgress(`tearing down ${id}`, client.gone(id));
  } catch (error) {
    if (!(error instanceof CleatError)) throw error;
    if (error.code === 'NO_SUCH_CONTAINER') return;
    complain([...explain(error.error), `The daemon takes ${id} down by itself, as soon as it can.`]);
  }
}

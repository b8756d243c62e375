/**
 * A stream to the journal of the machine (systemd-journald): where what `cleat run -d` starts prints to.
 *
 * Guarantees: the journal takes what is printed from the process itself, bounds what it keeps, and has it after the process and its
 * container are gone. Nothing of ours stands in between, so neither the daemon nor this client has to live on.
 * Limits: null where no journald listens. Who reads it needs journalctl, and the rights that the journal asks for. docs/decisions/0074.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** systemd-journald.service(8) has it; sd_journal_stream_fd(3) describes what is done here. */
const JOURNAL = '/run/systemd/journal/stdout';
/** syslog(3): LOG_INFO. */
const INFO = 6;

/** Resolves with a stream whose lines get this identifier: `journalctl -t IDENTIFIER` shows them. */
export async function journalStream(identifier: string): Promise<Socket | null> {
  const socket = connect(JOURNAL);
  try {
    await once(socket, 'connect');
  } catch {
    return null;
  }
  // No unit, no "<6>" read at the beginning of a line, nothing forwarded to syslog, the kernel or a terminal.
  const words = [identifier, '', INFO, 0, 0, 0, 0];
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.write(words.map((word) => `${word}\n`).join(''), () => resolve());
  });
  return socket;
}

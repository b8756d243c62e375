/**
 * Ends the programs of an attachment that an earlier daemon has started and that still run: without the daemon nobody waits for
 * them, and what they go on to make, nobody would undo.
 *
 * Guarantees: only processes with the mark of exactly this attachment in the environment that they were started with are ended,
 * by pid and start time; when it resolves, they are gone. What a program itself has started has the mark too.
 * Limits: a program can start others without its environment.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { processStartTime, type Child } from '../../native/index.ts';
import { MARK } from '../../plan/external/conversation.ts';
import { FaultError } from '../../state/faults.ts';
import { ended, hasGone, isGone, SIGKILL, signal } from '../processes/process.ts';

const END_MS = 5000;

export async function endInterrupted(alias: string): Promise<void> {
  // One that was just starting another when it was killed: the next look finds that.
  for (let looks = 0; looks < 5; looks++) {
    const running = marked(alias);
    if (running.length === 0) return;
    for (const one of running) signal(one, SIGKILL);
    const gone = await Promise.all(running.map((one) => ended(one, END_MS)));
    if (gone.includes(false)) break;
  }
  throw new FaultError('EXTERNAL_FAILED', `programs of an earlier daemon for ${alias} do not end`, { object: alias });
}

function marked(alias: string): Child[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => {
    try {
      const startTime = processStartTime(Number(pid));
      const words = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
      return words.includes(`${MARK}=${alias}`) ? [{ pid: Number(pid), startTime }] : [];
    } catch (error) {
      // A process that has ended meanwhile, or one of another user, which no program of ours is.
      if (hasGone(error) || isGone(error) || (error as NodeJS.ErrnoException).code === 'EACCES') return [];
      throw error;
    }
  });
}

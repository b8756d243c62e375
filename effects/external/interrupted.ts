/**
 * Ends the programs of an attachment that still run and that nobody waits for, because an earlier daemon has started them, or a
 * program that has failed: what they go on to make, nobody would undo.
 *
 * Guarantees: only processes with the mark of exactly this attachment in the environment that they were started with are ended,
 * by pid and start time; when it resolves, they are gone. What a program itself has started has the mark too.
 * Limits: a program can start others without its environment.
 */
import { MARK } from '../../plan/external/conversation.ts';
import { FaultError } from '../../state/faults.ts';
import { ended, SIGKILL, signal } from '../processes/process.ts';
import { processesBy } from '../processes/process-list.ts';

const END_MS = 5000;

export async function endInterrupted(alias: string): Promise<void> {
  const mark = `${MARK}=${alias}`;
  // One that was just starting another when it was killed: the next look finds that.
  for (let looks = 0; looks < 5; looks++) {
    // The environment of a process of another user may not be read. No program of ours is one.
    const running = await processesBy((words) => (words.includes(mark) ? true : null), 'environ');
    if (running.length === 0) return;
    for (const { process } of running) signal(process, SIGKILL);
    const gone = await Promise.all(running.map(({ process }) => ended(process, END_MS)));
    if (gone.includes(false)) break;
  }
  throw new FaultError('EXTERNAL_FAILED', `programs that were started for ${alias} do not end`, { object: alias });
}

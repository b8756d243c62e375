/**
 * `cleat replay`: reads an exported journal, and leads the machines of this version through it (replay.ts).
 *
 * Guarantees: loads neither the addon nor anything of the daemon that acts, so that it runs anywhere, as anybody. Whatever is
 * wrong with a file is a fault with a code.
 */
import { FAULTS, FaultError, type Fault } from '../../state/faults.ts';
import { readJournal } from './read.ts';
import { replay, type Replay } from './replay.ts';

export type { Replay } from './replay.ts';

export interface Answer {
  /** It is null if the file cannot be replayed. */
  replay: Replay | null;
  /** Says why it cannot, or only as far as it goes; it is null if all of it was replayed. */
  fault: (Fault & { hint: string }) | null;
}

/** Replays a file; "-" is standard input. */
export async function replayFile(path: string): Promise<Answer> {
  try {
    const done = replay(await readJournal(path));
    const cut = new FaultError(
      'JOURNAL_CUT_OFF',
      `${path === '-' ? 'standard input' : path} is cut off: its last line is missing`,
    );
    return { replay: done, fault: done.cutOff ? hinted(cut.fault) : null };
  } catch (error) {
    if (!(error instanceof FaultError)) throw error;
    return { replay: null, fault: hinted(error.fault) };
  }
}

const hinted = (fault: Fault): Fault & { hint: string } => ({ ...fault, hint: FAULTS[fault.code][1] });

/**
 * Which processes were found hanging, for those who end them: not at the first look, but when the next one finds the same.
 *
 * Guarantees: a process is known by pid and start time; one that was well in between begins anew. Ended is ended
 * whatever it is doing: a stopped process takes SIGKILL (signal(7)).
 * Limits: one that ends by itself after it was found once stays noted, in 20 bytes.
 */
import { isStopped, SIGKILL, signal } from '../effects/process.ts';
import type { Child } from '../native/index.ts';

/** A look at one process: whether it answers, where it is one that can be asked. */
export type Question = () => Promise<boolean>;

export class Strikes {
  readonly #struck = new Set<string>();

  /** The last look at it found it hanging. */
  struck(process: Child): boolean {
    return this.#struck.has(keyOf(process));
  }

  /**
   * Ends the process when this is the second look in a row at which it is stopped, or does not answer; what watches it does
   * the rest. True when it was ended. `answers` is not asked of one that is stopped.
   */
  async judge(process: Child, answers: Question | null = null): Promise<boolean> {
    const key = keyOf(process);
    const well = !isStopped(process) && (answers === null || (await answers()));
    if (well) {
      this.#struck.delete(key);
      return false;
    }
    if (!this.#struck.delete(key)) {
      this.#struck.add(key);
      return false;
    }
    signal(process, SIGKILL);
    return true;
  }
}

const keyOf = ({ pid, startTime }: Child): string => `${pid} ${startTime}`;

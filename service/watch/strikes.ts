/**
 * Remembers which processes were found hanging, and ends one only when two looks in a row find it so.
 *
 * Guarantees: a process is identified by pid and start time. A healthy look in between resets it. The end does not depend on what
 * the process is doing: a stopped process takes SIGKILL (signal(7)).
 * Limits: a process that ends by itself after one strike stays recorded, in 20 bytes.
 */
import { isStopped, SIGKILL, signal } from '../../effects/processes/process.ts';
import type { Child } from '../../native/index.ts';

/** Asks a process whether it answers, if it can be asked. */
export type Question = () => Promise<boolean>;

export class Strikes {
  readonly #struck = new Set<string>();

  /** Returns true if the last look found the process hanging. */
  struck(process: Child): boolean {
    return this.#struck.has(keyOf(process));
  }

  /**
   * Ends the process if this is the second look in a row at which it is stopped, or does not answer. The watch on the process
   * does the rest. Returns true if it was ended. Does not call `answers` for a stopped process.
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

/**
 * Lets a bounded number through at the same time; the others wait in the order in which they came.
 *
 * Guarantees: whoever has ended, however, makes room for the next.
 * Limits: no deadline: what is inside must end.
 */
export class Gate {
  readonly #waiting: (() => void)[] = [];
  #room: number;

  constructor(most: number) {
    this.#room = most;
  }

  async pass<T>(work: () => Promise<T>): Promise<T> {
    if (this.#room > 0) this.#room--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#room++;
      else next();
    }
  }
}

/**
 * Runs a command in a pseudo terminal, as a person has it before the eyes (terminal.py keeps the screen).
 *
 * Guarantees: `until` waits for what the screen shows, for no time; a command that still runs when the test ends is killed.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { until } from '../harness/native.ts';

const TERMINAL = new URL('../../../test/cli/terminal.py', import.meta.url).pathname;
const PROGRAM = new URL('../../bundle/cleat.cjs', import.meta.url).pathname;

export interface Look {
  screen: string[];
  /** Is true while the screen of the command is shown, and not the one that was there before. */
  alternate: boolean;
  cursor: boolean;
  wrap: boolean;
  /** Is true while keys come one by one and are not shown. */
  raw: boolean;
  /** Has everything that was written since the last look. */
  written: string;
  ended: number | null;
  stopped: boolean;
}

export class Screen {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  constructor(environment: NodeJS.ProcessEnv, [rows, columns]: [number, number], ...args: string[]) {
    const command = [String(rows), String(columns), process.execPath, ...process.execArgv, PROGRAM, ...args];
    const child = spawn('python3', [TERMINAL, ...command], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...environment, TERM: 'xterm' },
    });
    this.#child = child;
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  async #order(order: object): Promise<Look> {
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error('the terminal has ended');
    return JSON.parse(value) as Look;
  }

  type(keys: string): Promise<Look> {
    return this.#order({ keys });
  }

  resize(rows: number, columns: number): Promise<Look> {
    return this.#order({ size: [rows, columns] });
  }

  signal(signal: number): Promise<Look> {
    return this.#order({ signal });
  }

  look(): Promise<Look> {
    return this.#order({ look: true });
  }

  /** Resolves when the command has ended. */
  ended(): Promise<Look> {
    return this.#order({ wait: true });
  }

  /** Waits until the screen is as wanted, and returns all that was written meanwhile. */
  async until(what: string, wanted: (look: Look) => boolean): Promise<Look> {
    let last = await this.look();
    let written = last.written;
    await until(`${what}: ${last.screen.join('\n')}`, async () => {
      if (wanted(last)) return true;
      last = await this.look();
      written += last.written;
      return wanted(last);
    });
    return { ...last, written };
  }

  close(): void {
    this.#child.stdin?.end();
  }
}

/**
 * Draws over a terminal: shows a frame, and reports keys and changes of its size.
 *
 * Guarantees: writes only the lines that have changed, all in one call. When the command ends, by a key, an error or a signal that
 * can be caught, the terminal is as it was before. Ctrl-Z stops the command and gives the terminal back until it goes on.
 * Limits: keys are those of one read; a paste is read as its keys. After kill -9 the terminal needs `reset`.
 */
import { constants } from 'node:os';
import { enterScreen, leaveScreen, paint } from '../terminal.ts';
import type { Size } from './frame.ts';

export type Key = 'quit' | 'up' | 'down' | 'page up' | 'page down' | 'home' | 'end';

const KEYS: Readonly<Record<string, Key>> = {
  q: 'quit',
  Q: 'quit',
  '\x03': 'quit', // Ctrl-C: a raw terminal sends no SIGINT
  '\x04': 'quit',
  k: 'up',
  '\x1b[A': 'up',
  '\x1bOA': 'up',
  j: 'down',
  '\x1b[B': 'down',
  '\x1bOB': 'down',
  '\x1b[5~': 'page up',
  '\x1b[6~': 'page down',
  ' ': 'page down',
  g: 'home',
  '\x1b[H': 'home',
  '\x1b[1~': 'home',
  G: 'end',
  '\x1b[F': 'end',
  '\x1b[4~': 'end',
};
const STOP = '\x1a'; // Ctrl-Z
/** Matches a key of several characters, or a single one. */
// oxlint-disable-next-line no-control-regex -- escape sequences begin with a control character
const ONE = /\x1b(?:\[\d*[A-Z~]|O[A-Z])|[^]/g;

/** Node ends at these without an `exit` event. The command itself handles SIGINT. */
const SIGNALS = ['SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

export class Screen {
  #shown: readonly string[] = [];
  readonly #pressed: (key: Key) => void;
  readonly #changed: () => void;
  readonly #read = (text: string): void => {
    for (const [one] of text.matchAll(ONE)) {
      if (one === STOP) this.#stop();
      else if (KEYS[one] !== undefined) this.#pressed(KEYS[one]);
    }
  };

  /** `changed` is called when everything has to be drawn anew. */
  constructor(pressed: (key: Key) => void, changed: () => void) {
    this.#pressed = pressed;
    this.#changed = changed;
  }

  open(): void {
    this.#enter();
    if (process.stdin.isTTY) process.stdin.on('data', this.#read);
    process.stdout.on('resize', () => this.#again());
    process.on('SIGCONT', () => this.#comeBack());
    for (const signal of SIGNALS) process.once(signal, () => process.exit(128 + constants.signals[signal]));
    process.once('exit', () => this.#leave());
  }

  size(): Size {
    return { rows: process.stdout.rows, columns: process.stdout.columns };
  }

  show(frame: readonly string[]): void {
    const changed = frame.flatMap((line, row): [number, string][] => (line === this.#shown[row] ? [] : [[row, line]]));
    paint(new Map(changed));
    this.#shown = frame;
  }

  #again(): void {
    this.#shown = [];
    this.#changed();
  }

  #enter(): void {
    enterScreen();
    this.#shown = [];
    if (!process.stdin.isTTY) return;
    process.stdin.setEncoding('utf8').setRawMode(true);
  }

  #leave(): void {
    leaveScreen();
    if (process.stdin.isTTY) process.stdin.setRawMode(false);
  }

  #stop(): void {
    this.#leave();
    process.kill(process.pid, 'SIGTSTP');
    // Without a shell that could let it go on again, the kernel does not stop it.
    setImmediate(() => this.#comeBack());
  }

  #comeBack(): void {
    this.#enter();
    this.#again();
  }
}

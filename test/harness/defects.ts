/**
 * Defects in the machines of a running daemon: while the file that CLEAT_DEFECT names contains the name of an action or
 * guard, that one throws. It is loaded before the daemon (NODE_OPTIONS=--import), because it changes the machines
 * before they are provided with their effects. That needs the single modules, not the one file that is shipped
 * (`#daemon`).
 *
 * Limits: every machine with an action or guard of this name is defective.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { containerMachine } from '../../machines/container/container.ts';
import { firewallMachine } from '../../machines/firewall.ts';
import { firewalldMachine } from '../../machines/firewalld.ts';
import { networkMachine } from '../../machines/network.ts';
import { portsMachine } from '../../machines/ports.ts';
import { resolverMachine } from '../../machines/resolver.ts';

/** Has the file name an action or guard. The daemon reads it at any moment, and must not find an empty one. */
export function plant(file: string, name: string): void {
  writeFileSync(`${file}.new`, name);
  renameSync(`${file}.new`, file);
}

/** The environment of a daemon that is defective as this file says. */
export const defective = (file: string): Record<string, string> => ({
  CLEAT_DEFECT: file,
  NODE_OPTIONS: `--conditions=cleat-modules --import=${import.meta.filename}`,
});

type Words = Record<string, ((...given: never[]) => unknown) & { resolve?: (...given: never[]) => unknown }>;

const file = process.env['CLEAT_DEFECT'];
if (file !== undefined) {
  const named = (): string => {
    try {
      return readFileSync(file, 'utf8');
    } catch {
      return ''; // it may be removed at any moment, too
    }
  };
  const fail = (name: string) => {
    if (named() === name) throw new Error(`planted in ${name}`);
  };
  const machines = [containerMachine, firewallMachine, firewalldMachine, networkMachine, portsMachine, resolverMachine];
  for (const { implementations } of machines) {
    for (const words of [implementations.actions, implementations.guards] as unknown as Words[]) {
      for (const [name, word] of Object.entries(words)) {
        const { resolve } = word;
        const planted = (...given: never[]) => {
          fail(name);
          return word(...given);
        };
        // XState resolves its own actions; they are not called.
        const resolved = (...given: never[]) => {
          fail(name);
          return resolve?.(...given);
        };
        words[name] = Object.assign(planted, word, resolve === undefined ? {} : { resolve: resolved });
      }
    }
  }
}

/**
 * The other hosts of overlays as they were last told, on disk: <state-dir>/peers/<network>.json. A daemon that starts while the store
 * is away goes on with them.
 *
 * Guarantees: written whole. A file that cannot be read is set aside as *.unreadable, and its network has no other hosts until they
 * are told anew. A failed write is STATE_UNWRITABLE.
 * Limits: not fsynced: after a power loss a network may begin with an earlier list, or with none, until the store answers.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { unwritable } from '../faults.ts';
import { Peer } from '../overlay.ts';
import { isUnread, WholeFiles, type Failpoint } from './whole-file.ts';

const Peers = z.strictObject({ version: z.literal(1), peers: z.array(Peer) });

const ENDING = '.json';

/** Parses the content of a file. Throws if it is none of ours. */
export const peersIn = (text: string): Peer[] => Peers.parse(JSON.parse(text)).peers;

export class PeerStore {
  readonly #files: WholeFiles;

  constructor(directory: string, failpoint: Failpoint) {
    this.#files = new WholeFiles(directory, 'peers', failpoint, { durable: false });
  }

  load(): { peers: Map<string, readonly Peer[]>; unreadable: string[] } {
    this.#files.sweep();
    const peers = new Map<string, readonly Peer[]>();
    const unreadable: string[] = [];
    for (const file of readdirSync(this.#files.directory).sort()) {
      if (!file.endsWith(ENDING)) continue;
      try {
        peers.set(file.slice(0, -ENDING.length), peersIn(readFileSync(join(this.#files.directory, file), 'utf8')));
      } catch (error) {
        if (isUnread(error)) throw error;
        unreadable.push(this.#files.setAside(file));
      }
    }
    return { peers, unreadable };
  }

  save(network: string, peers: readonly Peer[]): void {
    try {
      this.#files.write(`${network}${ENDING}`, `${JSON.stringify({ version: 1, peers })}\n`);
    } catch (error) {
      throw unwritable(error);
    }
  }

  remove(network: string): void {
    try {
      this.#files.remove(`${network}${ENDING}`);
    } catch (error) {
      throw unwritable(error);
    }
  }
}

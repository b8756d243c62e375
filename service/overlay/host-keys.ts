/**
 * The private keys of this host, one for each overlay whose backend is WireGuard: <state-dir>/wireguard/<id of the overlay>.json.
 *
 * Guarantees: a key is made here and leaves this file for `wg` alone; nobody is told of it, and it is in no message. It is on disk
 * (fsynced, 0600) before anybody can see its public half. A key belongs to a host id too: a copy of the disk, which gets an id of its
 * own, gets a key of its own. A file that cannot be parsed is set aside, and a new key is made.
 * Limits: whoever has read the file is this host for the others until its network is made anew. Keys are not rotated: sessions have
 * keys of their own, which WireGuard renews every two minutes.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { FaultError, unwritable } from '../../state/faults.ts';
import { isUnread, WholeFiles, type Failpoint } from '../../state/files/whole-file.ts';
import { HostId, WireguardKey } from '../../state/overlay.ts';

const ENDING = '.json';
const KeyFile = z.strictObject({ version: z.literal(1), host: HostId, private_key: WireguardKey });
type Key = Pick<z.infer<typeof KeyFile>, 'host' | 'private_key'>;

export class HostKeys {
  readonly #files: WholeFiles;
  readonly #keys = new Map<string, Key>();
  /** The files that were set aside. */
  readonly unreadable: string[] = [];

  /** `networks`: the ids of the networks that have a definition. The keys of others, which a crash has left, are removed. */
  constructor(directory: string, failpoint: Failpoint, networks: ReadonlySet<string>) {
    this.#files = new WholeFiles(directory, 'keys', failpoint, { durable: true });
    this.#files.sweep();
    for (const file of readdirSync(directory).sort()) {
      if (!file.endsWith(ENDING)) continue;
      const network = file.slice(0, -ENDING.length);
      if (networks.has(network)) this.#read(network, join(directory, file));
      else this.#files.remove(file);
    }
  }

  #read(network: string, path: string): void {
    try {
      this.#keys.set(network, KeyFile.parse(JSON.parse(readFileSync(path, 'utf8'))));
    } catch (error) {
      if (isUnread(error)) throw error;
      this.unreadable.push(this.#files.setAside(`${network}${ENDING}`));
    }
  }

  /** Returns the public key of a host id in an overlay. Makes the pair at the first use. */
  publicKey(network: string, host: string): string {
    const known = this.#keys.get(network);
    return publicOf((known?.host === host ? known : this.#make(network, host)).private_key);
  }

  /** Returns the private key of this host in an overlay. For `wg` alone. */
  privateKey(network: string): string {
    const key = this.#keys.get(network);
    if (key !== undefined) return key.private_key;
    const message = `this host has no key in overlay ${network.slice(0, 12)}: it makes one when it starts with --etcd`;
    throw new FaultError('TUNNEL_FAILED', message, { object: network });
  }

  /** Forgets the key of a network that is removed. */
  forget(network: string): void {
    this.#keys.delete(network);
    try {
      this.#files.remove(`${network}${ENDING}`);
    } catch (error) {
      throw unwritable(error);
    }
  }

  #make(network: string, host: string): Key {
    const key = { host, private_key: newKey() };
    try {
      this.#files.write(`${network}${ENDING}`, `${JSON.stringify({ version: 1, ...key })}\n`);
    } catch (error) {
      throw unwritable(error);
    }
    this.#keys.set(network, key);
    return key;
  }
}

/** These bytes come before the 32 of a private key of X25519 in PKCS #8 (RFC 8410, 7). */
const PKCS8 = Buffer.from('302e020100300506032b656e04220420', 'hex');
const BYTES = 32;

function newKey(): string {
  const { privateKey } = generateKeyPairSync('x25519');
  return privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-BYTES).toString('base64');
}

/** Returns the public key, as `wg pubkey` does. */
export function publicOf(privateKey: string): string {
  const der = Buffer.concat([PKCS8, Buffer.from(privateKey, 'base64')]);
  const key = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
  return key.export({ format: 'der', type: 'spki' }).subarray(-BYTES).toString('base64');
}

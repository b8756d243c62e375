/**
 * Reads the configuration that the program of an external network gets, as it is now.
 *
 * Guarantees: changes nothing. The file is a regular one of bounded size, and what it holds is checked before any program runs.
 * Limits: it is read with the daemon's rights, so only root may name it (service/http/authorise.ts).
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { libnetworkOf } from '../../plan/networks/external.ts';
import type { CniList } from '../../state/external.ts';
import { FaultError } from '../../state/faults.ts';
import { outsideKey } from '../kernel.ts';
import type { TermsOf } from '../lease.ts';

/** Says where the programs of others are. */
export interface ExternalPlaces {
  /** The directories of CNI plugins, in the order in which they are looked into. */
  cni: readonly string[];
  /** The places where netavark may be. */
  netavark: readonly string[];
  /** The directory of netavark's own files, below which each outside has one. */
  config: string;
}

/** A conflist has some thousand bytes. */
const MOST_BYTES = 1024 * 1024;

/** Parses the text of a conflist; `file` is for messages. Throws CONFLIST_UNUSABLE. */
type Parse = (text: string, file: string) => CniList;

/** Returns null for a network of cleat. Throws CONFLIST_UNUSABLE. */
export const termsOf =
  ({ cni, netavark, config }: ExternalPlaces, parse: Parse): TermsOf =>
  (definition, outside) => {
    const { driver, options } = definition;
    if (driver === 'netavark') {
      const directory = join(config, outsideKey(outside));
      return { driver, programs: [...netavark], config: directory, network: libnetworkOf(definition) };
    }
    if (driver !== 'cni') return null;
    const file = options.conflist ?? '';
    return { driver, file, list: readConflist(file, parse), path: [...cni] };
  };

function readConflist(file: string, parse: Parse): CniList {
  const refuse = (why: string) => new FaultError('CONFLIST_UNUSABLE', `${file}: ${why}`, { object: file });
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    throw refuse((error as NodeJS.ErrnoException).code ?? String(error));
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw refuse('it is not a regular file');
    if (stat.size > MOST_BYTES) throw refuse(`it is larger than ${MOST_BYTES} bytes`);
    return parse(readFileSync(fd, 'utf8'), file);
  } finally {
    closeSync(fd);
  }
}

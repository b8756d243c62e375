/**
 * Finds the features of an executable of slirp4netns or pasta in the output of its --help.
 *
 * Guarantees: each executable (device, inode, size and time of change) runs once, and the result is remembered (D72). It is
 * searched at known places only, never in $PATH. The exit code is ignored, because pasta fails after its help. An executable
 * whose help names no option is neither of the two.
 * Limits: those of program-output.ts. The size of the help decides if it is complete.
 */
import { existsSync } from 'node:fs';
import type { UplinkFeatures, UplinkProgram } from '../../state/uplink.ts';
import { FaultError } from '../../state/faults.ts';
import { identityOf, outputOf } from '../processes/program-output.ts';

const PLACES = ['/usr/bin', '/usr/local/bin', '/usr/libexec/podman', '/usr/lib/podman'];
/** The buffer size of the C library for a pipe (st_blksize). */
const BUFFER_BYTES = 4096;

/** Returns the place of the program, or its default place; the probe reports a missing file. */
export function uplinkFile(program: UplinkProgram, places: readonly string[] = PLACES): string {
  const files = places.map((place) => `${place}/${program}`);
  return files.find((file) => existsSync(file)) ?? `/usr/bin/${program}`;
}

const known = new Map<string, { identity: string; features: UplinkFeatures }>();

export async function probeUplink({
  program,
  file,
}: {
  program: UplinkProgram;
  file: string;
}): Promise<UplinkFeatures> {
  const now = identity(program, file);
  const before = known.get(file);
  if (before?.identity === now) return before.features;
  const said = await outputOf(file, '--help').catch((error: unknown) => {
    throw unusable(program, file, error instanceof Error ? error.message : String(error));
  });
  const flags = [...new Set(said.match(/(?<=^|[\s,])--[a-z][a-z0-9-]*/gm))].sort();
  if (flags.length === 0) throw unusable(program, file, said.trim() === '' ? 'it says nothing' : firstLine(said));
  const features = { flags, ...(isCut(said) ? { cut: true } : {}) };
  known.set(file, { identity: now, features });
  return features;
}

/**
 * Returns true if the help is cut off. pasta of 2025 ends without flushing its buffer: a pipe gets whole buffers, and the rest
 * is lost.
 */
const isCut = (said: string): boolean => {
  const size = Buffer.byteLength(said);
  return size > 0 && size % BUFFER_BYTES === 0 && !said.endsWith('\n');
};

function identity(program: UplinkProgram, file: string): string {
  try {
    return identityOf(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') throw missing(program, file);
    throw unusable(program, file, code ?? String(error));
  }
}

function missing(program: UplinkProgram, file: string): FaultError {
  const message = `could not find ${program}, the network namespace can't be configured: ${file} is not there`;
  return new FaultError('UPLINK_FAILED', message, { errno: 'ENOENT', object: file });
}

function unusable(program: UplinkProgram, file: string, reason: string): FaultError {
  const message = `error checking ${program} binary ${file}: ${JSON.stringify(reason)}`;
  return new FaultError('UPLINK_FAILED', message, { object: file });
}

const firstLine = (text: string): string => (text.trim().split('\n')[0] ?? '').slice(0, 200);

/**
 * What an executable of slirp4netns or pasta can do, from what its --help says.
 *
 * Guarantees: asked once per executable (device, inode, size and time of change) and remembered (D72). Looked for at known
 * places only, never in $PATH. pasta fails after its help, so how it ends says nothing; one that names no option is none of
 * the two.
 * Limits: those of program-output.ts. Whether the help is whole is judged by its size.
 */
import { existsSync } from 'node:fs';
import type { UplinkFeatures, UplinkProgram } from '../state/uplink.ts';
import { EffectError } from './effect.ts';
import { identityOf, outputOf } from './program-output.ts';

const PLACES = ['/usr/bin', '/usr/local/bin', '/usr/libexec/podman', '/usr/lib/podman'];
/** Of the C library for a pipe (st_blksize). */
const BUFFER_BYTES = 4096;

/** Where the program is, or would be: what is not there is found out by the probe. */
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
  const said = await outputOf(file, '--help').catch((error: Error) => {
    throw unusable(program, file, error.message);
  });
  const flags = [...new Set(said.match(/(?<=^|[\s,])--[a-z][a-z0-9-]*/gm))].sort();
  if (flags.length === 0) throw unusable(program, file, said.trim() === '' ? 'it says nothing' : firstLine(said));
  const features = { flags, ...(isCut(said) ? { cut: true } : {}) };
  known.set(file, { identity: now, features });
  return features;
}

/** pasta of 2025 ends without flushing what it has buffered: into a pipe go whole buffers, and the rest is lost. */
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

function missing(program: UplinkProgram, file: string): EffectError {
  const message = `could not find ${program}, the network namespace can't be configured: ${file} is not there`;
  return new EffectError({ code: 'UPLINK_FAILED', message, errno: 'ENOENT', object: file });
}

function unusable(program: UplinkProgram, file: string, reason: string): EffectError {
  const message = `error checking ${program} binary ${file}: ${JSON.stringify(reason)}`;
  return new EffectError({ code: 'UPLINK_FAILED', message, object: file });
}

const firstLine = (text: string): string => (text.trim().split('\n')[0] ?? '').slice(0, 200);

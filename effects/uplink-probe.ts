/**
 * What an executable of slirp4netns or pasta can do, from what its --help says.
 *
 * Guarantees: asked once per executable (device, inode, size and time of change) and remembered (D72). Looked for at known
 * places only, never in $PATH. Ends in time, and reads a bounded answer, whatever the executable does.
 * Limits: pasta fails after its help, so how it ends says nothing; one that names no option is none of the two.
 */
import { spawn } from 'node:child_process';
import { existsSync, statSync, type Stats } from 'node:fs';
import type { UplinkFeatures, UplinkProgram } from '../state/uplink.ts';
import { EffectError } from './effect.ts';

const PLACES = ['/usr/bin', '/usr/local/bin', '/usr/libexec/podman', '/usr/lib/podman'];
/** It takes 3 ms. */
const PATIENCE_MS = 3000;
/** For what is still in the pipes when it has ended. */
const REST_MS = 500;
const MOST_BYTES = 64 * 1024;

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
  const identity = identityOf(program, file);
  const before = known.get(file);
  if (before?.identity === identity) return before.features;
  const said = await help(program, file);
  const flags = [...new Set(said.match(/(?<=^|[\s,])--[a-z][a-z0-9-]*/gm))].sort();
  if (flags.length === 0) throw unusable(program, file, said.trim() === '' ? 'it says nothing' : firstLine(said));
  const features = { flags };
  known.set(file, { identity, features });
  return features;
}

function identityOf(program: UplinkProgram, file: string): string {
  let found: Stats;
  try {
    found = statSync(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') throw missing(program, file);
    throw unusable(program, file, code ?? String(error));
  }
  return [found.dev, found.ino, found.size, found.mtimeMs, found.ctimeMs].join(' ');
}

function help(program: UplinkProgram, file: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, ['--help'], { env: {}, stdio: ['ignore', 'pipe', 'pipe'] });
    const refused = (error: NodeJS.ErrnoException) => reject(unusable(program, file, error.code ?? error.message));
    // Without a process there may be no pipes either (no descriptor is left).
    if (child.pid === undefined) return void child.on('error', refused);
    let said = '';
    const timers: NodeJS.Timeout[] = [];
    const settle = (problem?: string) => {
      for (const timer of timers) clearTimeout(timer);
      child.stdout.destroy();
      child.stderr.destroy();
      child.kill('SIGKILL');
      if (problem === undefined) resolve(said);
      else reject(unusable(program, file, problem));
    };
    timers.push(setTimeout(() => settle(`no answer to --help after ${PATIENCE_MS} ms`), PATIENCE_MS));
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.length > MOST_BYTES) settle();
      });
    }
    child.on('error', (error: NodeJS.ErrnoException) => settle(error.code ?? error.message)); // of the signal
    child.on('close', () => settle());
    // Something that it started may hold the pipes for ever.
    child.on('exit', () => timers.push(setTimeout(settle, REST_MS)));
  });
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

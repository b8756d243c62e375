/** Runs a program to its end, for the tests of cleat-oci-hook; and the path of the hook. */
import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '../../..');
export const HOOK = join(ROOT, 'build/Release/cleat-oci-hook');

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
  ms: number;
}

export function run(file: string, args: string[], input: string | Buffer, env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const started = performance.now();
  const child = spawn(file, args, { env: { PATH: process.env.PATH, ...env } });
  const out = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => (out[name] += text));
  }
  child.stdin.on('error', () => {}); // it may end without having read everything
  child.stdin.end(input);
  return new Promise((settle, fail) => {
    child.on('error', fail);
    child.on('close', (code) => settle({ code, ...out, ms: performance.now() - started }));
  });
}

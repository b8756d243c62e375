/**
 * Starts a program, feeds it, times it to its exit, as an engine calls its network plugins.
 *
 * Guarantees: the time covers spawn to exit with the output read; a non-zero exit rejects with the program's output.
 * Limits: Node starts programs about as fast as any other caller (vfork). `startCost` measures what that alone takes,
 * so that nobody has to believe it.
 */
import { spawn } from 'node:child_process';

export interface ProgramResult {
  ms: number;
  stdout: string;
}

export function runProgram(
  file: string,
  args: string[],
  input: string,
  env: Record<string, string>,
): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(file, args, { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...env } });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    // A program that ends without reading its input is judged by its exit code.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    child.once('error', reject);
    child.once('close', (code) => {
      const ms = performance.now() - start;
      if (code === 0) resolve({ ms, stdout });
      else reject(new Error(`${file} ${args.join(' ')}: exit ${code}: ${(stderr || stdout).trim().slice(0, 400)}`));
    });
  });
}

/** Returns the milliseconds to start and reap a program that does nothing: the median of a few. */
export async function startCost(): Promise<number> {
  const samples: number[] = [];
  for (let i = 0; i < 9; i++) samples.push((await runProgram('/bin/true', [], '', {})).ms);
  return samples.sort((a, b) => a - b)[4]!;
}

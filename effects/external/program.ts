/**
 * Runs a program of others once: gives it its input, and reads its answer.
 *
 * Guarantees: it runs by full path, without a shell, in the network namespace of the outside, in a session of its own, with the
 * environment and the descriptors of the call and no others. Whatever it does, the call ends in time and reads a bounded
 * answer: a program that is late or prints too much is killed with its process group. It never rejects: what went wrong is in
 * the answer.
 * Limits: it runs with the daemon's rights. What it leaves behind when it ends by itself is its own affair. A program that was
 * killed has not cleaned up; the caller undoes what it has done.
 */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { isKernelError, openPipe, spawn, type Child } from '../../native/index.ts';
import type { Answer, Call } from '../../plan/external/conversation.ts';
import { isExecutable } from '../processes/executable.ts';
import { SIGKILL } from '../processes/process.ts';

/** An answer has some hundred bytes. */
const MOST_BYTES = 256 * 1024;
/** Only the end of stderr is kept: it has the reason. */
const TAIL_BYTES = 8 * 1024;
/** The wait for the rest of the output after the program has ended: a process that it started may hold the pipes for ever. */
const REST_MS = 500;

/** Says where and how long a program may run. */
export interface Bounds {
  /** Path of the namespace of the outside; null for the one that the daemon is in. */
  netns: string | null;
  /** The beginning of a command that becomes the program in a sandbox; empty for none. */
  launcher: readonly string[];
  patienceMs: number;
}

export async function run(call: Call, bounds: Bounds): Promise<Answer> {
  const file = call.programs.find(isExecutable);
  if (file === undefined) return silent(`there is no executable at ${call.programs.join(' or ')}`);
  const opened: number[] = [];
  const pipe = () => {
    const ends = openPipe();
    opened.push(ends.reading, ends.writing);
    return ends;
  };
  try {
    const [input, output, errors] = [pipe(), pipe(), pipe()] as const;
    const its = [input.reading, output.writing, errors.writing];
    const { child, ended } = start(call, [...bounds.launcher, file, ...call.args], its, bounds.netns);
    opened.length = 0;
    for (const fd of its) closeSync(fd);
    return await converse(child, call.stdin, [input.writing, output.reading, errors.reading], ended, bounds.patienceMs);
  } catch (error) {
    for (const fd of opened) closeSync(fd);
    return silent(`${file} cannot be started: ${isKernelError(error) ? error.code : String(error)}`);
  }
}

type End = Pick<Answer, 'status' | 'signal'>;

function start({ env }: Call, [file = '', ...args]: string[], fds: number[], netns: string | null) {
  let tell: (end: End) => void = () => {};
  const ended = new Promise<End>((resolve) => {
    tell = resolve;
  });
  const child = spawn(
    { file, args, env: { ...env }, fds, ownSession: true, ...(netns === null ? {} : { netns }) },
    (status, signal) => tell({ status, signal }),
  );
  return { child, ended };
}

async function converse(
  child: Child,
  text: string,
  [writing, reading, complaining]: readonly [number, number, number],
  ended: Promise<End>,
  patienceMs: number,
): Promise<Answer> {
  let problem: string | null = null;
  let alive = true;
  // The leader of the group is not reaped yet, so that its number is nobody else's.
  const end = (why: string) => {
    if (!alive || problem !== null) return;
    problem = why;
    process.kill(-child.pid, SIGKILL);
  };
  const timer = setTimeout(() => end(`it has not ended after ${patienceMs / 1000} s, and was killed`), patienceMs);
  const input = new Socket({ fd: writing, readable: false, writable: true });
  input.on('error', () => {}); // it may end without reading
  input.end(text);
  const stdout = collect(reading, (all) => {
    if (all.length <= MOST_BYTES) return all;
    end(`it printed more than ${MOST_BYTES} bytes, and was killed`);
    return all.subarray(0, MOST_BYTES);
  });
  const stderr = collect(complaining, (all) => (all.length <= TAIL_BYTES ? all : all.subarray(-TAIL_BYTES)));
  const { status, signal } = await ended;
  alive = false;
  clearTimeout(timer);
  input.destroy();
  await Promise.race([Promise.all([stdout.done, stderr.done]), sleep(REST_MS, undefined, { ref: false })]);
  const said = stdout.end();
  return {
    problem,
    status: problem === null ? status : null,
    signal,
    json: parsed(said),
    stdout: said,
    stderr: stderr.end(),
  };
}

/** Reads all of a pipe. `keep` gets everything so far, and returns what is kept of it. */
function collect(fd: number, keep: (all: Buffer) => Buffer) {
  let all: Buffer = Buffer.alloc(0);
  const socket = new Socket({ fd, readable: true, writable: false });
  socket.on('data', (bytes) => {
    all = keep(Buffer.concat([all, bytes]));
  });
  const done = new Promise<void>((resolve) => socket.on('close', () => resolve()).on('error', () => resolve()));
  const end = () => {
    socket.destroy();
    return all.toString('utf8');
  };
  return { done, end };
}

const silent = (problem: string): Answer => ({
  problem,
  status: null,
  signal: null,
  json: undefined,
  stdout: '',
  stderr: '',
});

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Helpers of the demo: output and checks, programs, the daemon, and the view of the host from outside.
 *
 * Guarantees: every printed command has been run, and its failure is a failure of the demo.
 * Limits: they run inside the private namespaces that demo.mjs makes. Printed commands leave out the options for directories
 * (those of the daemon and of crun); `--stay` opens a shell in which they work like that.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';

const PATIENCE_MS = 10_000;
const PROMPT = '    $ ';

export class Broken extends Error {}

export function demand(holds, what) {
  if (!holds) throw new Broken(what);
}

/** Makes text grey on a terminal. */
function dim(text) {
  return process.stdout.isTTY ? text.replace(/^.+$/gm, '\x1b[2m$&\x1b[0m') : text;
}

let steps = 0;
export let step = '';

export function begin(title) {
  step = `${++steps}. ${title}`;
  console.log(`\n${step}`);
}

export function say(text) {
  console.log(`  ${text}`);
}

export function show(text) {
  if (text.trim() !== '') console.log(dim(text.trimEnd().replace(/^/gm, '      ')));
}

/** Prints a command as people write it: short names, quotes only if they are needed. */
export function echo(words) {
  const quote = (word) => (/^[\w@%+=:,./[\]&-]+$/.test(word) ? word : `'${word}'`);
  console.log(`${PROMPT}${words.map(quote).join(' ')}`);
}

/**
 * Runs a program to its end. With `log` its output goes to that file, because processes that it leaves running may keep it
 * open.
 */
export function run(argv, { env = {}, log } = {}) {
  const [file, ...args] = argv;
  const fd = log === undefined ? 'pipe' : openSync(log, 'a');
  const child = spawn(file, args, { stdio: ['ignore', fd, fd], env: { ...process.env, ...env } });
  if (log !== undefined) closeSync(fd);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text) => (output += text));
  }
  return new Promise((settle, fail) => {
    child.on('error', (error) => fail(new Broken(`${file}: ${error.message}`)));
    child.on('close', (code) => settle({ code, output }));
  });
}

export async function demandRun(argv, options) {
  const { code, output } = await run(argv, options);
  demand(code === 0, `${argv.join(' ')} ended with ${code}\n${output}`);
  return output;
}

/** Tries until `attempt` neither throws nor returns undefined. */
export async function until(what, attempt, patience = PATIENCE_MS) {
  const end = performance.now() + patience;
  let reason = '';
  while (performance.now() < end) {
    try {
      const result = await attempt();
      if (result !== undefined && result !== false) return result;
    } catch (error) {
      reason = `: ${error.message}`;
    }
    await new Promise((later) => setTimeout(later, 20));
  }
  throw new Broken(`${what}: not within ${patience / 1000} s${reason}`);
}

/** Fetches a page from the host; all of it must arrive. */
export function fetchPage(options) {
  return new Promise((settle, fail) => {
    const request = get({ timeout: 3000, ...options }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (more) => (text += more));
      answer.on('error', fail).on('end', () => settle(text));
    });
    request.on('timeout', () => request.destroy(new Error('timeout')));
    request.on('error', fail);
  });
}

/** Downloads a long answer and returns its result; `progress.bytes` is the number of bytes so far. */
export function download(options) {
  const progress = { bytes: 0, ended: false };
  const hash = createHash('sha256');
  const whole = new Promise((settle, fail) => {
    const request = get(options, (answer) => {
      answer.on('data', (chunk) => {
        progress.bytes += chunk.length;
        hash.update(chunk);
      });
      answer.on('error', fail).on('end', () => {
        progress.ended = true;
        settle({ bytes: progress.bytes, sha256: hash.digest('hex'), promised: answer.trailers.sha256 });
      });
    });
    request.on('error', fail);
  });
  whole.catch(() => {}); // awaited later
  return { progress, whole };
}

export class Daemon {
  #child;
  #places;
  constructor(directory, main) {
    this.log = join(directory, 'daemon.log');
    this.socket = join(directory, 'cleat.sock');
    const places = ['run', 'state', 'netns'].flatMap((name) => [`--${name}-dir`, join(directory, name)]);
    this.#places = [main, 'daemon', ...places, '--socket', this.socket];
  }

  /** Resolves when the daemon answers, with the milliseconds that took. */
  async start() {
    const started = performance.now();
    const fd = openSync(this.log, 'a');
    this.#child = spawn(process.execPath, this.#places, { stdio: ['ignore', fd, fd] });
    closeSync(fd);
    await until('the daemon answers', async () => {
      demand(this.#child.exitCode === null, 'the daemon ended');
      return JSON.parse(await fetchPage({ socketPath: this.socket, path: '/v1/version' })).pid === this.#child.pid;
    });
    return Math.round(performance.now() - started);
  }

  get pid() {
    return this.#child.pid;
  }

  async end(signal) {
    const ended = new Promise((settle) => this.#child.once('exit', settle));
    this.#child.kill(signal);
    await ended;
  }

  tail() {
    try {
      return readFileSync(this.log, 'utf8').split('\n').slice(-20).join('\n');
    } catch {
      return '';
    }
  }
}

/** Reads the state of the host with programs other than cleat. */
export async function lookAround() {
  const read = (path) => readFileSync(path, 'utf8');
  const route = (family) => demandRun(['ip', family, '-j', 'route', 'show', 'table', 'all']);
  return {
    'ip -j link': await demandRun(['ip', '-j', 'link']),
    'ip -j address': await demandRun(['ip', '-j', 'address']),
    'ip -j route (IPv4)': await route('-4'),
    'ip -j route (IPv6)': await route('-6'),
    'nft list ruleset': await demandRun(['nft', 'list', 'ruleset']),
    mounts: read('/proc/self/mountinfo'),
    ip_forward: read('/proc/sys/net/ipv4/ip_forward'),
    'ipv6 forwarding': read('/proc/sys/net/ipv6/conf/all/forwarding'),
    processes: readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .join(' '),
  };
}

export function differences(before, after) {
  return Object.keys(before)
    .filter((what) => before[what] !== after[what])
    .map((what) => `${what} was\n${before[what]}\nand is\n${after[what]}`);
}

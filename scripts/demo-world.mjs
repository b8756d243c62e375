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

/** Far more than anything takes, because the machine may have other work. */
const PATIENCE_MS = 60_000;
const MIB = 1 << 20;
const BYTES = 256 * MIB;
const RATE = 40 * MIB;
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

/** `type` runs a cleat command as a person would, and prints command and output; `ask` returns its answer. */
export function typist(main) {
  const cleat = (...args) => [process.execPath, main, ...args];
  const type = async (...args) => {
    echo(['cleat', ...args]);
    const output = await demandRun(cleat(...args));
    show(output);
    return output;
  };
  const ask = async (...args) => JSON.parse(await demandRun(cleat(...args, '--format', 'json')));
  return { cleat, type, ask };
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
  #command;

  /** `options`: of `cleat daemon`. */
  constructor({ directory, main, socket, options }) {
    this.log = join(directory, 'daemon.log');
    this.socket = socket;
    this.#command = [main, 'daemon', ...options];
  }

  /** Resolves when the daemon answers, with the milliseconds that took. */
  async start() {
    const started = performance.now();
    const fd = openSync(this.log, 'a');
    this.#child = spawn(process.execPath, this.#command, { stdio: ['ignore', fd, fd] });
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

/**
 * Kills the daemon during a long transfer from container `page` through the port, and starts it again. `type` runs a command of
 * cleat and prints it; `ask` runs one and returns its answer.
 */
export async function killDuringTransfer({ daemon, port, type, ask }) {
  const ofNow = async () => JSON.stringify(await ask('ps'));
  await type('ps');
  const was = await ofNow();
  const path = `/long?bytes=${BYTES}&rate=${RATE}`;
  say(`${BYTES / MIB} MiB, ${RATE / MIB} MiB a second, from page to the host:`);
  echo(['curl', '-o', '/dev/null', `http://127.0.0.1:${port}${path}`]);
  const { progress, whole } = download({ host: '127.0.0.1', port, path });
  await until('a quarter has arrived', () => progress.bytes > BYTES / 4);
  echo(['kill', '-9', String(daemon.pid)]);
  const at = progress.bytes;
  await daemon.end('SIGKILL');
  await until('bytes flow without a daemon', () => progress.bytes > at + BYTES / 8);
  say(`no daemon: killed after ${Math.round(at / MIB)} MiB, and now at ${Math.round(progress.bytes / MIB)} MiB`);
  echo(['cleat', 'daemon', '&']);
  say(`it answers again after ${await daemon.start()} ms, at ${Math.round(progress.bytes / MIB)} MiB`);
  if (progress.ended) say('(the transfer was over before the daemon was back: this machine is busy)');
  const result = await whole;
  say(`received ${result.bytes} bytes, sha256 ${result.sha256.slice(0, 16)}...`);
  say(`sent     ${BYTES} bytes, sha256 ${String(result.promised).slice(0, 16)}...`);
  demand(result.bytes === BYTES && result.sha256 === result.promised, 'what arrived is not what was sent');
  await type('ps');
  demand((await ofNow()) === was, `the containers are not what they were:\n${was}\n${await ofNow()}`);
}

/** Fetches the page on the host, through a published port. */
export async function through(host, port) {
  const fetching = ['curl', '-sS', '--max-time', '3', `http://${host.includes(':') ? `[${host}]` : host}:${port}/`];
  echo(fetching);
  const text = await demandRun(fetching);
  show(text);
  demand(text.startsWith('hello '), `${host}:${port} answered ${JSON.stringify(text)}`);
}

/** Runs a story, with words for a failure; returns the exit code. */
export async function tell(daemon, story) {
  const started = performance.now();
  process.env.CLEAT_SOCKET = daemon.socket;
  try {
    await story();
    console.log(`\neverything held, in ${((performance.now() - started) / 1000).toFixed(1)} s`);
    return 0;
  } catch (error) {
    console.log(`\nFAILED in step ${step}\n  ${error instanceof Broken ? error.message : error.stack}`);
    console.log(`\nthe daemon's log ends with\n${daemon.tail()}`);
    return 1;
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

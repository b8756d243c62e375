/**
 * The real docker client of the machine, which speaks to a daemon's socket for it.
 *
 * Guarantees: it reads no configuration of the machine's. A command that does not end within LIMIT_MS is killed, and fails the test.
 * Limits: `npm run setup` gets the client (scripts/setup.mjs).
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as assert from 'uvu/assert';

const LIMIT_MS = 20_000;

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

export class DockerClient {
  readonly #env: NodeJS.ProcessEnv;
  readonly #prefix: readonly string[];

  /** `prefix`: a command that becomes the client, such as setpriv. */
  constructor(socket: string, prefix: readonly string[] = []) {
    this.#prefix = prefix;
    this.#env = { PATH: process.env.PATH, HOME: '/run', DOCKER_HOST: `unix://${socket}` };
  }

  start(words: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
    const [program = '', ...rest] = [...this.#prefix, 'docker', ...words];
    return spawn(program, rest, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...this.#env, ...env },
      timeout: LIMIT_MS,
    });
  }

  async run(words: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
    const child = this.start(words, env);
    let [stdout, stderr] = ['', ''];
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    await once(child, 'close');
    return { code: child.exitCode, stdout, stderr };
  }

  /** Resolves with what it prints. */
  async ok(...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(words);
    assert.is(code, 0, `docker ${words.join(' ')}: ${stderr}`);
    return stdout.trim();
  }

  /** It fails, with this message of the daemon. */
  async refused(message: string | RegExp, ...words: string[]): Promise<void> {
    const { code, stdout, stderr } = await this.run(words);
    const said = `docker ${words.join(' ')}: ${stdout}${stderr}`;
    assert.ok(code !== 0, said);
    const [, text = ''] = /Error response from daemon: (.*)/.exec(stderr) ?? [];
    if (typeof message === 'string') assert.is(text, message, said);
    else assert.match(text, message, said);
  }
}

// slow: 30 s, the hook is built with sanitizers, and then waits for daemons that do not answer
/**
 * cleat-oci-hook with ASan and UBSan, as a runtime calls it: arguments, environment, container states and daemons that
 * are nearly correct, broken, slow, endless or absent, from a grammar of each.
 *
 * This must hold. It ends with a documented code (docs/oci-hook.md) not long after its deadline, with nothing on stderr
 * or one printable line. It exits with the usage code exactly when it is called wrongly. It sends nothing for a state
 * that it refused. It tears down only what belongs to this container according to the daemon.
 */
// proving only: 3600
import { spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { effort, proved, seed } from '../harness/proof.ts';
import { buildFront } from '../harness/sanitized.ts';

const CALLS = effort('calls', 60, 1500);
/** A hook that has not ended by then hangs: its deadlines here are below a second, plus 2 s for cleaning up. */
const PATIENCE_MS = 30_000;
const PID = 4242;
const DEAD = 4_194_300;
const MEBIBYTE = 1 << 20;

// --- What it is given ---------------------------------------------------------------------------------------------

const word = fc.string({ unit: 'binary', maxLength: 12 }).map((text) => text.replaceAll('\0', '\x01'));
const nearly = (text: string) =>
  fc.oneof(
    { weight: 8, arbitrary: fc.constant(text) },
    fc
      .tuple(fc.nat(text.length), word, fc.nat(3))
      .map(([at, insert, cut]) => text.slice(0, at) + insert + text.slice(at + cut)),
  );

const argument = fc.oneof(
  fc.constantFrom('createRuntime', 'poststop', '--socket', '--exit-fd', '7:5', '3', '7:', '', '-', '--help', 'create'),
  word,
);
const argv: fc.Arbitrary<string[]> = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('createRuntime', 'poststop').map((only) => [only]) },
  fc.array(argument, { maxLength: 5 }),
);
const timeout = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('1', '20', '150', '300') },
  fc.constantFrom('', '0', '-1', '600001', '99999999999999999999', '20 ', '1e2', '0x20'),
);

const number = fc.oneof(fc.constantFrom('80', '8080', '80-89', '0', '65536', '90-80', ''), word);
const mapping = fc
  .tuple(
    fc.array(fc.oneof(number, fc.constantFrom('127.0.0.1', '[::1]', '::1')), { maxLength: 4 }),
    fc.constantFrom('', '/tcp', '/udp', '/icmp', '/'),
  )
  .map(([parts, protocol]) => parts.join(':') + protocol);
const list = (item: fc.Arbitrary<string>) => fc.array(item, { maxLength: 3 }).map((items) => items.join(','));
const annotations = fc.oneof(
  fc.record(
    {
      'cleat.network': fc.oneof(
        list(fc.constantFrom('web', 'db', '', 'none', ' x ', 'pasta', 'slirp4netns:mtu=1500', 'host', 'ns:/x')),
        word,
      ),
      'cleat.ip.db': word,
      'cleat.aliases': list(word),
      'cleat.aliases.db': list(fc.constantFrom('a', '', ' b ')),
      'cleat.hostname': word,
      'cleat.ports': list(mapping),
      'cleat.ip': list(fc.oneof(fc.constantFrom('10.0.0.5', 'fd00::5'), word)),
      'cleat.mac': word,
      'cleat.interface': word,
    },
    { requiredKeys: [] },
  ),
  fc.dictionary(fc.oneof(fc.constantFrom('cleat.network', 'cleat.x', 'org.x'), word), fc.jsonValue(), { maxKeys: 3 }),
  fc.jsonValue(),
);
/** One that joins a namespace, one that does not, and some that are none. */
const BUNDLES = [
  '{"linux":{"namespaces":[{"type":"network","path":"/p"}]}}',
  '{}',
  '',
  '[',
  '{"linux":{"namespaces":7}}',
]
  .map((text) => {
    const bundle = mkdtempSync(join(tmpdir(), 'bundle-'));
    writeFileSync(join(bundle, 'config.json'), text);
    return bundle;
  })
  .concat('', '/nonexistent', '/dev', 'x'.repeat(5000));
const state = fc
  .record(
    {
      ociVersion: fc.constant('1.0.2'),
      id: fc.oneof({ weight: 6, arbitrary: fc.constant('web1') }, word),
      status: fc.constant('creating'),
      pid: fc.oneof({ weight: 6, arbitrary: fc.constant(PID) }, fc.constantFrom(0, -1, 1.5, 2 ** 40), fc.jsonValue()),
      annotations,
      bundle: fc.constantFrom(...BUNDLES),
    },
    { requiredKeys: ['id', 'pid'] },
  )
  .map((value) => JSON.stringify(value));
const input = fc.oneof(
  { weight: 8, arbitrary: state },
  state.chain(nearly),
  fc.json(),
  word,
  fc.constantFrom(
    '['.repeat(100),
    `{"id":"${'x'.repeat(300)}"}`,
    ' '.repeat(MEBIBYTE + 1),
    `"${'x'.repeat(MEBIBYTE - 2)}"`,
  ),
);
/** True if the runtime closes stdin after the state. */
const ends = fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, fc.constant(false));

// --- What it is answered ------------------------------------------------------------------------------------------

const boundTo = fc.constantFrom(PID, DEAD, process.pid, 0, -1, 2 ** 40, null, 'x');
const fault = fc
  .tuple(fc.constantFrom('CONTAINER_EXISTS', 'NO_SUCH_CONTAINER', 'INTERNAL'), word, word)
  .map(([code, message, hint]) => ({ error: { code, message: `${message}\x1b[2J\u009b2J`, hint } }));
const view = fc
  .tuple(boundTo, fc.constantFrom('up', 'draining', 'tearingDown.links', 'gone'))
  .map(([bound_to, at]) => ({ id: 'web1', state: at, bound_to }));
const status = fc.constantFrom(200, 200, 202, 404, 409, 500);
const body = fc.oneof(
  fc
    .tuple(status, fc.oneof(view, fault, fc.jsonValue()))
    .map(([code, value]) => ({ code, text: JSON.stringify(value) })),
  fc
    .array(fc.tuple(fc.constantFrom(1, 2, 3), status, fc.oneof(view, fault)), { minLength: 1, maxLength: 3 })
    .map((lines) => ({
      code: 200,
      text: lines.map(([line, code, of]) => `${JSON.stringify({ line, status: code, body: of })}\n`).join(''),
    })),
  fc.constant({
    code: 200,
    text: `${JSON.stringify({ line: 1, status: 200, body: {} })}\n${JSON.stringify({ line: 2, status: 200, body: {} })}\n`,
  }),
);
const http = fc.tuple(body, fc.boolean()).map(([{ code, text }, chunked]) => {
  const head = `HTTP/1.1 ${code} Whatever\r\n`;
  if (!chunked) return `${head}Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
  return `${head}Transfer-Encoding: chunked\r\n\r\n${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n0\r\n\r\n`;
});
interface Answer {
  how: 'whole' | 'drip' | 'endless' | 'hold' | 'close' | 'reset';
  text: string;
}
const answer: fc.Arbitrary<Answer> = fc.record({
  how: fc.constantFrom(
    'whole' as const,
    'whole' as const,
    'whole' as const,
    'drip',
    'endless',
    'hold',
    'close',
    'reset',
  ),
  text: fc.oneof({ weight: 6, arbitrary: http }, http.chain(nearly), word),
});

/** A daemon on a socket of its own that gives the nth connection the nth answer. */
class Daemon {
  readonly path = join(mkdtempSync(join(tmpdir(), 'hook-')), 's');
  readonly asked: string[] = [];
  answers: Answer[] = [];
  readonly #open = new Set<Socket>();
  readonly #server = createServer((socket) => {
    const number = this.asked.push('') - 1;
    const { how, text } = this.answers[number] ?? { how: 'hold', text: '' };
    this.#open.add(socket);
    socket.on('error', () => {}).on('close', () => this.#open.delete(socket));
    if (how === 'close') return void socket.end();
    if (how === 'reset') return void socket.destroy();
    socket.setEncoding('utf8').once('data', () => this.#answer(socket, how, text));
    socket.on('data', (more) => (this.asked[number] += String(more)));
  });

  listen(): Promise<void> {
    return new Promise((ready) => this.#server.listen(this.path, ready));
  }

  /** Clears the record of earlier connections. */
  begin(answers: Answer[]): void {
    for (const socket of this.#open) socket.destroy();
    this.asked.length = 0;
    this.answers = answers;
  }

  close(): void {
    this.begin([]);
    this.#server.close();
  }

  #answer(socket: Socket, how: Answer['how'], text: string): void {
    if (how === 'whole') socket.end(text);
    if (how === 'endless') socket.write(text.repeat(1 + (5 * MEBIBYTE) / Math.max(text.length, 1)));
    if (how === 'drip') {
      let at = 0;
      const timer = setInterval(() => (at < text.length ? socket.write(text.slice(at, (at += 7))) : socket.end()), 2);
      socket.on('close', () => clearInterval(timer));
    }
  }
}

// --- What it does -------------------------------------------------------------------------------------------------

interface Ended {
  code: number | string;
  stderr: string;
}

function call(program: string, args: string[], env: NodeJS.ProcessEnv, text: string, end: boolean): Promise<Ended> {
  const child = spawn(program, args, { env, stdio: ['pipe', 'inherit', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (more: string) => (stderr += more));
  child.stdin.on('error', () => {}).write(text);
  if (end) child.stdin.end();
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  return new Promise((settle, fail) => {
    child.on('error', fail);
    child.on('exit', () => child.stdin.destroy());
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      settle({ code: code ?? signal ?? 'nothing', stderr });
    });
  });
}

/** True if it is called as documented: one hook, --socket PATH and --exit-fd [PID:]FD any number of times, a deadline. */
function isUsage(args: string[], limit: string): boolean {
  if (!/^\d+$/.test(limit) || Number(limit) < 1 || Number(limit) > 600_000) return false;
  const hooks: string[] = [];
  let exit = '';
  for (let i = 0; i < args.length; i++) {
    if (args[i] === '--socket' && i + 1 < args.length) i++;
    else if (args[i] === '--exit-fd' && i + 1 < args.length) exit = args[++i] ?? '';
    else hooks.push(args[i] ?? '');
  }
  const [, pid = '1', fd] = /^(?:(\d+):)?(\d+)$/.exec(exit) ?? [];
  const isExit = exit === '' || (fd !== undefined && Number(fd) < 2 ** 31 && Number(pid) > 0 && Number(pid) < 2 ** 31);
  return isExit && hooks.length === 1 && ['createRuntime', 'poststop'].includes(hooks[0] ?? '');
}

/** True if an answer may have said that the container is bound to a process of this number. */
function says(answers: Answer[], pid: number): boolean {
  return answers.some(({ text }) => text.includes(`"bound_to":${pid}`));
}

/** Its message for a state that it does not act on. */
const REFUSED_STATE =
  /^cleat-oci-hook: (?:stdin|the container (?:id|state)|annotation|unknown annotation|the annotations|there are annotations|web1: its network namespace|web1: .*config\.json: )/;

const hook = suite('hook');

hook('the hook ends as documented, whatever it meets', async () => {
  const program = await buildFront('address', 'cleat-oci-hook');
  const daemon = new Daemon();
  await daemon.listen();
  let calls = 0;
  const codes = new Set<number | string>();
  const property = fc.asyncProperty(
    argv,
    timeout,
    input,
    ends,
    fc.array(answer, { maxLength: 5 }),
    async (args, limit, text, end, answers) => {
      daemon.begin(answers);
      const env = { CLEAT_SOCKET: daemon.path, CLEAT_HOOK_TIMEOUT_MS: limit, ASAN_OPTIONS: 'exitcode=99' };
      const { code, stderr } = await call(program, args, env, text, end);
      calls++;
      codes.add(code);
      assert.ok(code === 0 || code === 1 || code === 2, `${code}\n${stderr}`);
      assert.is(code === 2, !isUsage(args, limit), stderr);
      if (code !== 0 || stderr !== '') assert.match(stderr, /^cleat-oci-hook: \P{Cc}+\n$/u);
      const sent = daemon.asked.join('\n');
      if (REFUSED_STATE.test(stderr)) assert.is(sent, '', 'refused, but something was sent');
      if (sent.includes('"type":"teardown"')) {
        // After the end any process that does not run counts; before, only the container's own.
        const bound = args.includes('poststop') ? [PID, DEAD] : [PID];
        assert.ok(
          bound.some((pid) => says(answers, pid)),
          'not its container',
        );
      }
    },
  );
  try {
    await fc.assert(property, { numRuns: CALLS, seed: seed(), endOnFailure: true, includeErrorInReport: true });
  } finally {
    daemon.close();
  }
  if (calls >= 1000) assert.is(codes.size, 3, 'each end is reached');
  proved('calls of cleat-oci-hook from a grammar, under ASan and UBSan', calls);
});

hook.run();

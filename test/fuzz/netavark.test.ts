// slow: 30 s, some calls wait for daemons that do not answer
/**
 * cleat-netavark as Podman calls it, in npm run prove with ASan and UBSan: arguments, requests and daemons that are nearly correct, broken, slow or
 * absent, from a grammar of each.
 *
 * This must hold. It ends with a documented code (docs/podman.md). On stdout is the daemon's answer after a success, one line
 * of JSON with an error after a failure, and nothing when it is called wrongly; stderr is quiet but then. A request arrives as it
 * was given, byte for byte.
 */
// proving: 1800
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { effort, proved, seed } from '../harness/proof.ts';
import { buildFront, shippedOr } from '../harness/sanitized.ts';

const CALLS = effort('calls', 60, 3000);
const MEBIBYTE = 1 << 20;

const word = fc.string({ unit: 'binary', maxLength: 12 }).map((text) => text.replaceAll('\0', '\x01'));
const option = fc.constantFrom(
  '-f',
  '--file=/nowhere',
  '-c/x',
  '--config',
  '-r=true',
  '--rootless=maybe',
  '--network-dns-servers=192.0.2.1,,x',
  '--firewall-driver=none',
  '-V',
  '--',
  '-',
  '',
);
const verb = fc.constantFrom('setup', 'teardown', 'update', 'create', 'version', 'help', 'dhcp-proxy');
const argv = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('setup', 'teardown').map((one) => [one, '/run/netns/n']) },
  fc.array(fc.oneof(verb, option, word), { maxLength: 6 }),
);
const input = fc.oneof(
  fc.json(),
  word,
  fc.constantFrom('', '{'.repeat(1000), 'x'.repeat(MEBIBYTE), 'x'.repeat(MEBIBYTE + 1)),
);

const status = fc.constantFrom(200, 200, 204, 400, 409, 500);
const error = fc.record({ code: word, message: word, hint: word }).map((fault) => JSON.stringify({ error: fault }));
const http = fc.tuple(status, fc.oneof(error, fc.json(), word), fc.boolean()).map(([code, text, chunked]) => {
  const size = Buffer.byteLength(text);
  const head = `HTTP/1.1 ${code} Whatever\r\n`;
  if (code === 204) return `${head}\r\n`;
  return chunked
    ? `${head}Transfer-Encoding: chunked\r\n\r\n${size.toString(16)}\r\n${text}\r\n0\r\n\r\n`
    : `${head}Content-Length: ${size}\r\n\r\n${text}`;
});
const answer = fc.record({
  how: fc.constantFrom('whole', 'whole', 'whole', 'drip', 'close', 'reset'),
  text: fc.oneof({ weight: 6, arbitrary: http }, word),
});
type Answer = typeof answer extends fc.Arbitrary<infer T> ? T : never;

/** A daemon that answers each connection alike, and keeps what it was sent. */
class Daemon {
  readonly path = join(mkdtempSync(join(tmpdir(), 'netavark-')), 's');
  answer: Answer = { how: 'close', text: '' };
  readonly asked: Buffer[] = [];
  readonly #open = new Set<Socket>();
  readonly #server = createServer((socket) => {
    const { how, text } = this.answer;
    const number = this.asked.push(Buffer.alloc(0)) - 1;
    this.#open.add(socket);
    socket.on('error', () => {}).on('close', () => this.#open.delete(socket));
    if (how === 'close') return void socket.resume().end();
    if (how === 'reset') return void socket.destroy();
    socket.once('data', () => (how === 'whole' ? socket.end(text) : drip(socket, text)));
    socket.on('data', (more: Buffer) => (this.asked[number] = Buffer.concat([this.asked[number] ?? more, more])));
  });

  listen(): Promise<void> {
    return new Promise((ready) => this.#server.listen(this.path, ready));
  }

  begin(given: Answer): void {
    for (const socket of this.#open) socket.destroy();
    this.asked.length = 0;
    this.answer = given;
  }

  close(): void {
    this.begin(this.answer);
    this.#server.close();
  }
}

function drip(socket: Socket, text: string): void {
  let at = 0;
  const timer = setInterval(() => (at < text.length ? socket.write(text.slice(at, (at += 9))) : socket.end()), 1);
  socket.on('close', () => clearInterval(timer));
}

interface Ended {
  code: number | string;
  stdout: string;
  stderr: string;
}

function call(program: string, args: string[], CLEAT_SOCKET: string, text: string): Promise<Ended> {
  const child = spawn(program, args, { env: { CLEAT_SOCKET, ASAN_OPTIONS: 'exitcode=99' } });
  const out = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (more: string) => (out[name] += more));
  child.stdin.on('error', () => {}).end(text);
  return new Promise((settle, fail) => {
    child.on('error', fail);
    child.on('close', (code, signal) => settle({ code: code ?? signal ?? 'nothing', ...out }));
  });
}

const tests = suite('cleat-netavark');

tests('it ends as documented, whatever it meets', async () => {
  const program = await shippedOr('cleat-netavark', () => buildFront('address', 'cleat-netavark'));
  const daemon = new Daemon();
  await daemon.listen();
  let calls = 0;
  const codes = new Set<number | string>();
  const property = fc.asyncProperty(argv, input, answer, async (args, text, given) => {
    daemon.begin(given);
    const { code, stdout, stderr } = await call(program, args, daemon.path, text);
    calls++;
    codes.add(code);
    assert.ok(code === 0 || code === 1 || code === 2, `${code}\n${stderr}`);
    if (code === 2) assert.is(stdout, '');
    else assert.is(stderr, '');
    if (code === 1) {
      assert.match(stdout, /^\P{Cc}+\n$/u);
      assert.equal(Object.keys(JSON.parse(stdout) as object), ['error']);
    }
    const sent = daemon.asked.at(-1);
    if (code === 2 || sent === undefined || sent.length === 0 || args[0] === 'update') return;
    assert.ok(text.length <= MEBIBYTE);
    if (given.how === 'whole') assert.match(sent.toString('latin1'), /^POST \/v1\/netavark\/\w+/);
  });
  await fc.assert(property, { seed: seed(), numRuns: CALLS, endOnFailure: true });
  daemon.close();
  assert.ok(
    [0, 1, 2].every((code) => codes.has(code)),
    `only ${[...codes].join(', ')}`,
  );
  proved('calls of cleat-netavark, by grammar', calls);
});

tests.run();

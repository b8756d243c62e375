/**
 * cleat-oci-hook: the bytes that it sends and how it ends, against a server that gives any answer. crun.test.ts has the
 * real daemon and a real runtime. Over 400 lines because each answer of a server is a case of its own.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseWiring } from '../../cli/request/options.ts';
import { LifecycleEvent } from '../../state/event.ts';
import { DEFAULT_NETWORK } from '../../state/network.ts';
import { type Ended, HOOK, run } from './run.ts';

/** A deadline that no real answer misses, however busy the machine is. */
const PATIENCE_MS = 5000;
const SHORT_MS = 400;

interface Asked {
  head: string;
  body: string;
}

/** A server that gives the nth request the nth answer, verbatim; null: no answer. */
class Scripted {
  readonly path = join(mkdtempSync(join(tmpdir(), 'hook-')), 's');
  readonly asked: Asked[] = [];
  readonly #server: Server;
  readonly #open = new Set<Socket>();

  constructor(answers: (string | null)[]) {
    this.#server = createServer((socket) => {
      this.#open.add(socket);
      socket.on('error', () => {}).on('close', () => this.#open.delete(socket));
      let text = '';
      let answered = false;
      socket.setEncoding('utf8').on('data', (more: string) => {
        text += more;
        const [head = '', body] = text.split('\r\n\r\n', 2);
        const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
        if (answered || body === undefined || Buffer.byteLength(body) < length) return;
        answered = true;
        const answer = answers[this.asked.length] ?? null;
        this.asked.push({ head, body });
        if (answer !== null) socket.end(answer);
      });
    });
  }

  listen(): Promise<this> {
    return new Promise((ready) => this.#server.listen(this.path, () => ready(this)));
  }

  close(): void {
    for (const socket of this.#open) socket.destroy();
    this.#server.close();
  }
}

/** The daemon's answer to an NDJSON request: no length, so chunked, and a chunk need not be a line. */
function chunked(text: string, size = 7): string {
  let out = 'HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n';
  for (let at = 0; at < text.length; at += size) {
    const chunk = text.slice(at, at + size);
    out += `${chunk.length.toString(16)}\r\n${chunk}\r\n`;
  }
  return `${out}0\r\n\r\n`;
}

function plain(status: number, body: unknown): string {
  const text = JSON.stringify(body);
  return `HTTP/1.1 ${status} Whatever\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
}

const line = (n: number, status: number, body: unknown) => `${JSON.stringify({ line: n, status, body })}\n`;
const fault = (code: string, message: string) => ({ error: { code, message, hint: 'Do something.' } });
const BOTH_DONE = chunked(line(1, 200, { id: 'web1' }) + line(2, 200, { id: 'web1', state: 'up' }));
const NO_SUCH = plain(404, fault('NO_SUCH_CONTAINER', 'no container'));
const state = (more: object = {}) =>
  JSON.stringify({ ociVersion: '1.0.2', id: 'web1', status: 'creating', pid: 4242, bundle: '/b', ...more });

async function hook(
  stage: string,
  answers: (string | null)[],
  input: string | Buffer = state(),
  patienceMs = PATIENCE_MS,
): Promise<Ended & { asked: Asked[] }> {
  const server = await new Scripted(answers).listen();
  try {
    const env = { CLEAT_HOOK_TIMEOUT_MS: String(patienceMs) };
    return { ...(await run(HOOK, ['--socket', server.path, stage], input, env)), asked: server.asked };
  } finally {
    server.close();
  }
}

/** The create event that annotations lead to, checked by the daemon's own schema. */
async function created(annotations: unknown): Promise<Record<string, unknown>> {
  const ended = await hook('createRuntime', [BOTH_DONE], state({ annotations }));
  assert.is(ended.code, 0, ended.stderr);
  const [create = '', configure = '', end] = ended.asked[0]?.body.split('\n') ?? [];
  assert.is(end, '');
  assert.equal(JSON.parse(configure), { type: 'configure', id: 'web1' });
  LifecycleEvent.parse(JSON.parse(create));
  const { type, id, netns, ...rest } = JSON.parse(create) as Record<string, unknown>;
  assert.equal({ type, id, netns }, { type: 'create', id: 'web1', netns: { mode: 'pid', pid: 4242 } });
  return rest;
}

async function refused(annotations: unknown, reason: RegExp): Promise<void> {
  const ended = await hook('createRuntime', [], state({ annotations }));
  assert.is(ended.code, 1);
  assert.match(ended.stderr, reason);
  assert.is(ended.asked.length, 0, 'nothing is sent');
}

const sends = suite('hook sends');

sends('the hook sends create and configure as one stream, and prints nothing on success', async () => {
  const ended = await hook('createRuntime', [BOTH_DONE]);
  assert.is(ended.code, 0, ended.stderr);
  assert.is(ended.stdout + ended.stderr, '');
  assert.match(ended.asked[0]?.head ?? '', /^POST \/v1\/events HTTP\/1\.1\r\n[^]*Content-Type: application\/x-ndjson/);
  assert.is(ended.asked.length, 1);
});

sends('the hook sends networks, addresses and ports as the annotations say', async () => {
  assert.equal(await created(undefined), {});
  assert.equal(await created({ 'org.example': 'x', cleatish: 'y' }), {});
  assert.equal(await created({ 'cleat.network': 'none' }), { networks: {} });
  assert.equal(await created({ 'cleat.network': ' web, db ' }), { networks: { web: {}, db: {} } });
  assert.equal(
    await created({
      'cleat.network': 'web,db',
      'cleat.ip': '10.0.0.5, fd00::5',
      'cleat.mac': '02:00:5e:10:00:01',
      'cleat.interface': 'lan0',
    }),
    {
      networks: {
        web: { static_ips: ['10.0.0.5', 'fd00::5'], static_mac: '02:00:5e:10:00:01', interface_name: 'lan0' },
        db: {},
      },
    },
  );
  assert.equal(await created({ 'cleat.ip': '10.0.0.5' }), {
    networks: { [DEFAULT_NETWORK]: { static_ips: ['10.0.0.5'] } },
  });
  assert.equal(await created({ 'cleat.ports': '8080:80/tcp,127.0.0.1:53:53/udp,[::1]:8081:80, 443,0.0.0.0::9' }), {
    port_mappings: [
      { container_port: 80, host_port: 8080, protocol: 'tcp' },
      { container_port: 53, host_port: 53, host_ip: '127.0.0.1', protocol: 'udp' },
      { container_port: 80, host_port: 8081, host_ip: '::1' },
      { container_port: 443 },
      { container_port: 9, host_ip: '0.0.0.0' },
    ],
  });
  assert.equal(await created({ 'cleat.ports': '8000-8009:80-89/sctp' }), {
    port_mappings: [{ container_port: 80, host_port: 8000, range: 10, protocol: 'sctp' }],
  });
});

sends('the hook sends an uplink, written as for cleat run', async () => {
  for (const text of [
    'slirp4netns',
    'pasta',
    'slirp4netns:',
    'slirp4netns:mtu=1500,enable_ipv6=true',
    'pasta:--mtu,1500',
  ]) {
    assert.equal(await created({ 'cleat.network': text }), { uplink: parseWiring({ network: [text] }).uplink }, text);
  }
  assert.equal(await created({ 'cleat.network': ' slirp4netns: mtu=1500, ', 'cleat.ports': '80' }), {
    uplink: { program: 'slirp4netns', options: ['mtu=1500'] },
    port_mappings: [{ container_port: 80 }],
  });
  assert.equal(await created({ 'cleat.network': 'slirp4netns2' }), { networks: { slirp4netns2: {} } });
});

sends('the hook sends options of each network, aliases and a host name', async () => {
  assert.equal(
    await created({
      'cleat.network': 'web,db,a.b',
      'cleat.hostname': ' shop ',
      'cleat.aliases': 'www, api',
      'cleat.ip.db': '10.1.0.5,fd01::5',
      'cleat.mac.db': '02:00:5e:10:00:02',
      'cleat.interface.db': 'lan1',
      'cleat.aliases.db': 'database',
      'cleat.interface.a.b': 'lan2',
    }),
    {
      networks: {
        web: { aliases: ['www', 'api'] },
        db: {
          static_ips: ['10.1.0.5', 'fd01::5'],
          static_mac: '02:00:5e:10:00:02',
          interface_name: 'lan1',
          aliases: ['database'],
        },
        'a.b': { interface_name: 'lan2' },
      },
      hostname: 'shop',
    },
  );
  assert.equal(await created({ 'cleat.network': 'web', 'cleat.ip.web': '10.0.0.5' }), {
    networks: { web: { static_ips: ['10.0.0.5'] } },
  });
  assert.equal(await created({ [`cleat.ip.${DEFAULT_NETWORK}`]: '10.0.0.5' }), {
    networks: { [DEFAULT_NETWORK]: { static_ips: ['10.0.0.5'] } },
  });
  assert.equal(await created({ 'cleat.hostname': 'shop' }), { hostname: 'shop' });
});

sends('the hook sends an exit descriptor, its own or that of another process', async () => {
  const exitOf = async (args: string[], env: NodeJS.ProcessEnv = {}) => {
    const server = await new Scripted([BOTH_DONE]).listen();
    const ended = await run(HOOK, ['--socket', server.path, ...args, 'createRuntime'], state(), env);
    server.close();
    assert.is(ended.code, 0, ended.stderr);
    const [create = ''] = server.asked[0]?.body.split('\n') ?? [];
    LifecycleEvent.parse(JSON.parse(create));
    return (JSON.parse(create) as { exit_fd?: { pid: number; fd: number } }).exit_fd;
  };
  assert.equal(await exitOf(['--exit-fd', '77:5']), { pid: 77, fd: 5 });
  assert.equal(await exitOf([], { CLEAT_EXIT_FD: '77:5' }), { pid: 77, fd: 5 });
  assert.equal(await exitOf(['--exit-fd', '78:0'], { CLEAT_EXIT_FD: '77:5' }), { pid: 78, fd: 0 });
  assert.is(await exitOf([], { CLEAT_EXIT_FD: '' }), undefined);
  const own = await exitOf(['--exit-fd', '5']);
  const { pid, fd } = own ?? { pid: 0, fd: 0 };
  assert.is(fd, 5);
  assert.ok(pid > 1 && pid !== process.pid, 'the pid of the hook itself');
});

/** Writes a bundle whose container has these namespaces. */
function bundleOf(namespaces: unknown): string {
  const bundle = mkdtempSync(join(tmpdir(), 'bundle-'));
  writeFileSync(join(bundle, 'config.json'), JSON.stringify({ ociVersion: '1.0.2', linux: { namespaces } }));
  return bundle;
}

sends(
  'the hook sends nothing for a container that joins a namespace by its path, unless it asks for a network',
  async () => {
    const joined = bundleOf([{ type: 'pid' }, { type: 'network', path: '/proc/1/ns/net' }]);
    const member = await hook('createRuntime', [], state({ bundle: joined, annotations: { 'org.example': 'x' } }));
    assert.equal([member.code, member.stderr, member.asked.length], [0, '', 0]);
    const asks = await hook(
      'createRuntime',
      [BOTH_DONE],
      state({ bundle: joined, annotations: { 'cleat.network': 'db' } }),
    );
    assert.equal([asks.code, asks.asked.length], [0, 1], asks.stderr);
    assert.match(asks.asked[0]?.body ?? '', /"networks":\{"db":\{\}\}/);
    for (const name of ['cleat.ports', 'cleat.ip', 'cleat.hostname', 'cleat.aliases']) {
      const unclear = await hook('createRuntime', [], state({ bundle: joined, annotations: { [name]: '80' } }));
      assert.is(unclear.code, 1);
      assert.match(unclear.stderr, /web1: its network namespace is joined by path .* need cleat\.network/);
    }
  },
);

sends('the hook sends create for every other bundle', async () => {
  const own = [
    bundleOf([{ type: 'network' }, { type: 'pid', path: '/proc/1/ns/pid' }]),
    bundleOf([{ type: 'network', path: '' }]),
    bundleOf([]),
    bundleOf('x'),
    '',
    join(tmpdir(), 'no-such-bundle'),
  ];
  for (const bundle of own) {
    const ended = await hook('createRuntime', [BOTH_DONE], state({ bundle }));
    assert.equal([ended.code, ended.asked.length], [0, 1], bundle + ended.stderr);
  }
});

sends('the hook sends nothing if it cannot know whose the namespace is', async () => {
  const bundle = bundleOf([]);
  const config = join(bundle, 'config.json');
  for (const text of ['', '[]', '{"linux":', ' '.repeat((8 << 20) + 1)]) {
    writeFileSync(config, text);
    const ended = await hook('createRuntime', [], state({ bundle }));
    assert.is(ended.code, 1);
    assert.match(ended.stderr, /config\.json: is (no JSON object|larger than 8 MiB)/);
  }
  rmSync(config);
  execFileSync('mkfifo', [config]);
  const fifo = await hook('createRuntime', [], state({ bundle }));
  assert.match(fifo.stderr, /config\.json: is no regular file/);
});

sends('the hook sends text with escapes as the same text', async () => {
  const ended = await hook('createRuntime', [BOTH_DONE], state({ annotations: { 'cleat.ip': 'é"\\\n\u{1F600}' } }));
  const [create = ''] = ended.asked[0]?.body.split('\n') ?? [];
  const event = JSON.parse(create) as { networks: Record<string, unknown> };
  assert.equal(event.networks[DEFAULT_NETWORK], { static_ips: ['é"\\\n\u{1F600}'] });
});

sends('the hook sends nothing for annotations that it does not understand', async () => {
  await refused({ 'cleat.port': '80:80' }, /unknown annotation "cleat\.port"; known: .*cleat\.ports/);
  for (const name of ['cleat.ip.', 'cleat.ports.web', 'cleat.network.web', 'cleat.', 'cleat.mtu.web', 'cleat..web']) {
    await refused({ 'cleat.network': 'web', [name]: 'x' }, /unknown annotation/);
  }
  await refused({ 'cleat.network': 'web', 'cleat.mac.db': 'x' }, /network "db", which cleat\.network does not name/);
  await refused({ 'cleat.ip.db': '10.0.0.5' }, /network "db", which cleat\.network does not name/);
  await refused({ 'cleat.network': 'web', 'cleat.ip': 'x', 'cleat.mac.web': 'x' }, /with and without \.web/);
  await refused({ 'cleat.network': 'pasta', 'cleat.aliases': 'x' }, /"pasta": there is no network/);
  await refused({ 'cleat.network': 'web,pasta' }, /"pasta" and networks exclude each other/);
  await refused({ 'cleat.network': 'slirp4netns,web' }, /"slirp4netns" and networks exclude each other/);
  await refused({ 'cleat.network': 'web,none' }, /"none" and networks exclude each other/);
  for (const other of ['host', 'container:web', 'ns:/run/netns/web']) {
    await refused({ 'cleat.network': other }, /is no network; the namespace is chosen in linux\.namespaces/);
  }
  await refused({ 'cleat.network': 7 }, /cleat\.network is not a string/);
  await refused({ 'cleat.network': ' ' }, /for no network it is "none"/);
  await refused({ 'cleat.network': 'web,,db' }, /empty name/);
  await refused({ 'cleat.network': 'web,web' }, /"web" twice/);
  await refused({ 'cleat.network': 'none', 'cleat.ip': '10.0.0.5' }, /"none"/);
  await refused(['cleat.network'], /not an object/);
  for (const port of [
    'x',
    ':80',
    '80/icmp',
    '0:80',
    '65536:80',
    '1:2:3:4',
    '::1:80:80',
    '80-90:80',
    '90-80',
    '80:',
    ',',
  ]) {
    await refused({ 'cleat.ports': port }, /cleat\.ports: .* is not \[\[HOST_IP/);
  }
});

sends('the hook sends a teardown after the end, when the process no longer exists', async () => {
  const view = plain(200, { id: 'web1', state: 'up', bound_to: 4_194_303 });
  const ended = await hook(
    'poststop',
    [view, plain(202, { state: 'tearingDown' })],
    state({ pid: 0, status: 'stopped' }),
  );
  assert.is(ended.code, 0, ended.stderr);
  assert.match(ended.asked[0]?.head ?? '', /^GET \/v1\/containers\/web1 /);
  assert.match(ended.asked[1]?.head ?? '', /^POST \/v1\/events [^]*Prefer: respond-async/);
  assert.equal(JSON.parse(ended.asked[1]?.body ?? ''), { type: 'teardown', id: 'web1' });
});

sends('the hook sends no teardown for a container of the same id whose process runs', async () => {
  const view = plain(200, { id: 'web1', state: 'up', bound_to: process.pid });
  const ended = await hook('poststop', [view], state({ annotations: { 'cleat.wrong': '' } }));
  assert.is(ended.code, 0, ended.stderr);
  assert.match(ended.stderr, /left alone/);
  assert.is(ended.asked.length, 1);
});
sends.run();

const ends = suite('hook ends');

ends('the hook succeeds when there is nothing to tear down any more', async () => {
  assert.is((await hook('poststop', [NO_SUCH])).code, 0);
  const gone = plain(200, { bound_to: 4_194_303 });
  assert.is((await hook('poststop', [gone, NO_SUCH])).code, 0);
});

ends("the hook ends with the daemon's message, and removes what it made", async () => {
  const taken = fault('PORT_TAKEN', 'host port 8080/tcp is published by db');
  const answers = [
    chunked(line(1, 200, { id: 'web1' }) + line(2, 409, taken)),
    plain(200, { id: 'web1', state: 'created', bound_to: 4242 }),
    plain(202, {}),
  ];
  const ended = await hook('createRuntime', answers);
  assert.is(ended.code, 1);
  assert.match(
    ended.stderr,
    /^cleat-oci-hook: web1: host port 8080\/tcp is published by db \(PORT_TAKEN\)\. Do something\.\n$/,
  );
  assert.equal(JSON.parse(ended.asked[2]?.body ?? ''), { type: 'teardown', id: 'web1' });
});

ends('the hook ends without touching a container that has the id already', async () => {
  const exists = fault('CONTAINER_EXISTS', 'container web1 exists already (up)');
  const up = plain(200, { id: 'web1', state: 'up', bound_to: process.pid });
  const ended = await hook('createRuntime', [chunked(line(1, 409, exists) + line(2, 200, {})), up, up]);
  assert.is(ended.code, 1);
  assert.match(ended.stderr, /exists already \(up\)/);
  assert.is(ended.asked.filter(({ head }) => head.startsWith('POST')).length, 1);
});

ends('the hook succeeds when the container that has the id is just going', async () => {
  const exists = fault('CONTAINER_EXISTS', 'container web1 exists already (draining)');
  const draining = plain(200, { id: 'web1', state: 'draining', bound_to: 77 });
  const answers = [chunked(line(1, 409, exists) + line(2, 409, exists)), draining, plain(200, { state: 'gone' })];
  const ended = await hook('createRuntime', [...answers, BOTH_DONE]);
  assert.is(ended.code, 0, ended.stderr);
  assert.match(ended.asked[2]?.head ?? '', /^GET \/v1\/containers\/web1\?wait=gone&timeout=\d+ /);
});

ends('the hook succeeds when the process of the container that has the id is dead already', async () => {
  const exists = fault('CONTAINER_EXISTS', 'container web1 exists already (up)');
  const up = plain(200, { id: 'web1', state: 'up', bound_to: 4_194_000 });
  const answers = [chunked(line(1, 409, exists) + line(2, 409, exists)), up, plain(200, { state: 'gone' })];
  const ended = await hook('createRuntime', [...answers, BOTH_DONE]);
  assert.is(ended.code, 0, ended.stderr);
});

ends('the hook ends with a reason for every answer that cannot be trusted', async () => {
  const interrupted = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"line":1';
  const cases: [string, RegExp][] = [
    [plain(500, fault('INTERNAL', 'a defect')), /a defect \(INTERNAL\)/],
    [plain(502, {}), /status 502/],
    ['SSH-2.0-OpenSSH_9\r\n\r\n', /cut short or no HTTP/],
    ['', /ended the connection without an answer/],
    [interrupted, /cut short/],
    ['HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}', /cut short/],
    ['HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}', /no HTTP/],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}', /no HTTP/],
    ['HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n', /no HTTP/],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n', /no HTTP/],
    [chunked('not json\n'), /does not say what became/],
    [chunked(line(1, 200, {})), /does not say what became/],
    [chunked(line(2, 200, {}) + line(1, 200, {})), /does not say what became/],
  ];
  for (const [answer, reason] of cases) {
    const ended = await hook('createRuntime', [answer, NO_SUCH]);
    assert.is(ended.code, 1, answer);
    assert.match(ended.stderr, reason);
    assert.match(ended.stderr, /^[^\n]+\n$/, 'one line');
  }
});

ends('the hook succeeds after an interim answer, with extensions and trailers', async () => {
  const body = line(1, 200, {}) + line(2, 200, {});
  const answer =
    'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200\r\ntransfer-encoding:  Chunked \r\n\r\n' +
    `${body.length.toString(16)} ; a=b\r\n${body}\r\n0\r\nTrailer: yes\r\n\r\n`;
  const ended = await hook('createRuntime', [answer]);
  assert.is(ended.code, 0, ended.stderr);
});

ends('the hook ends soon when the daemon does not answer', async () => {
  for (const stage of ['createRuntime', 'poststop']) {
    const ended = await hook(stage, [null], state(), SHORT_MS);
    assert.is(ended.code, 1);
    assert.match(ended.stderr, /did not answer in time/);
    // The clean-up of createRuntime has the same time again.
    assert.ok(ended.ms >= SHORT_MS && ended.ms < 2 * SHORT_MS + 2000, `${ended.ms} ms`);
  }
});

ends('the hook ends in time while the process of the container that has the id lives on', async () => {
  const exists = fault('CONTAINER_EXISTS', 'container web1 exists already (up)');
  const up = plain(200, { id: 'web1', state: 'up', bound_to: process.pid });
  const took: number[] = [];
  for (let i = 0; i < 5; i++) {
    const server = await new Scripted([chunked(line(1, 409, exists) + line(2, 409, exists)), up, up]).listen();
    const env = { CLEAT_HOOK_TIMEOUT_MS: '100' };
    const ended = await run(HOOK, ['--socket', server.path, 'createRuntime'], state(), env);
    server.close();
    assert.match(ended.stderr, /exists already|in time/);
    took.push(ended.ms);
  }
  // It used to wait 500 ms for the process to die, whatever its deadline was.
  assert.ok(Math.min(...took) < 490, took.join(' '));
});

ends("the hook's message contains nothing that a terminal would obey", async () => {
  const message = 'a\u001b[2Jb\u007fc\u009b2Jd\u0085e\u00a0f';
  const ended = await hook('createRuntime', [plain(500, fault('INTERNAL', message)), NO_SUCH]);
  assert.is(ended.code, 1);
  assert.match(ended.stderr, /web1: a \[2Jb c 2Jd e\u00a0f \(INTERNAL\)/);
});

ends("the hook prints one printable line, whatever the daemon's message contains", async () => {
  // The characters that cli/terminal.ts escapes, in the Unicode of this Node; each beside a letter, and bytes that are
  // no UTF-8 last.
  const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;
  const all = Array.from({ length: 0x110000 }, (_, code) => code)
    .filter((code) => unsafe.test(String.fromCodePoint(code)))
    .map((code) => String.fromCodePoint(code))
    .join('a');
  const ended = await hook('createRuntime', [plain(409, fault('KERNEL', `x${all}y`)), NO_SUCH]);
  assert.is(ended.code, 1);
  assert.not.match(ended.stderr.slice(0, -1), unsafe);
  assert.match(ended.stderr, /^cleat-oci-hook: web1: x( +a)+ +y \(KERNEL\)\. Do something\.\n$/);
  const kept = await hook('createRuntime', [plain(409, fault('KERNEL', 'naïve 蛇 🐍')), NO_SUCH]);
  assert.match(kept.stderr, /naïve 蛇 🐍/);
  const argument = await run('sh', ['-c', `exec ${HOOK} "$(printf '\\2332J\\302')"`], state());
  assert.is(argument.code, 2);
  assert.match(argument.stderr, /no such hook:  2J ;/);
});

ends('the hook ends with an error when there is no daemon', async () => {
  for (const stage of ['createRuntime', 'poststop']) {
    const ended = await run(HOOK, [stage], state(), { CLEAT_SOCKET: '/run/absent.sock' });
    assert.is(ended.code, 1);
    assert.match(ended.stderr, /no daemon at \/run\/absent\.sock: No such file/);
  }
  const long = await run(HOOK, ['--socket', `/${'x'.repeat(200)}`, 'poststop'], state());
  assert.is(long.code, 1);
  assert.match(long.stderr, /1 to 107 bytes/);
});

ends('the hook ends with an error when stdin is no container state', async () => {
  const cases: [string | Buffer, RegExp][] = [
    ['', /no JSON object/],
    ['[]', /no JSON object/],
    ['{"id":"a"} x', /no JSON object/],
    ['{"id":"a","id":"b","pid":1}', /no JSON object/],
    ['{"id":"a\\ud800","pid":1}', /no JSON object/],
    [Buffer.from('{"id":"\xff","pid":1}', 'latin1'), /no JSON object/],
    ['{"a":'.repeat(1000), /no JSON object/],
    ['{"pid":1}', /no "id"/],
    ['{"id":7,"pid":1}', /no "id"/],
    ['{"id":"../../etc","pid":1}', /container id must be/],
    ['{"id":"a\\u0000b","pid":1}', /container id must be/],
    ['{"id":"","pid":1}', /container id must be/],
    [state({ id: 'x'.repeat(101) }), /container id must be/],
    [state({ pid: 0 }), /no "pid"/],
    [state({ pid: '1' }), /no "pid"/],
    [state({ pid: 1.5 }), /no "pid"/],
    [state({ pid: 1e300 }), /no "pid"/],
    [`${state()}${' '.repeat(1 << 20)}`, /larger than 1 MiB/],
  ];
  for (const [input, reason] of cases) {
    const ended = await hook('createRuntime', [], input);
    assert.is(ended.code, 1, String(input).slice(0, 80));
    assert.match(ended.stderr, reason);
    assert.is(ended.asked.length, 0, 'nothing is sent');
  }
});

ends('the hook ends with 2 when it is called wrongly', async () => {
  for (const args of [[], ['prestart'], ['poststop', 'poststop'], ['--socket'], ['--verbose', 'poststop']]) {
    const ended = await run(HOOK, args, state());
    assert.is(ended.code, 2, args.join(' '));
    assert.match(ended.stderr, /usage:/);
  }
  const ended = await run(HOOK, ['poststop'], state(), { CLEAT_HOOK_TIMEOUT_MS: '10s' });
  assert.is(ended.code, 2);
  for (const text of ['x', '1:', ':3', '0:3', '-1', '1:2:3', '3 ', '99999999999', '1:-1']) {
    const wrong = await run(HOOK, ['--exit-fd', text, 'poststop'], state());
    assert.is(wrong.code, 2, text);
    assert.match(wrong.stderr, /an exit descriptor is \[PID:\]FD, not .*; usage:/);
    assert.is((await run(HOOK, ['poststop'], state(), { CLEAT_EXIT_FD: text })).code, 2, text);
  }
});
ends.run();

/**
 * Text that others chose reaches a terminal as plain text: every command that prints something runs against a server
 * whose every word is hostile. Only cli/terminal.ts writes output; JSON is as the server gave it.
 */
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { printable } from '../../cli/terminal.ts';
import { printableJson } from '../../service/report/log.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { until } from '../harness/native.ts';
import { Screen } from './screen.ts';
import { Shell } from './shell.ts';

requirePrivateNamespace();

const terminal = suite('terminal');

/** Clears the screen (C0, C1), sets the title, forges a line, reverses the text, hides in it. */
const EVIL = 'x\x1b[2J\x9b2J\x1b]0;t\x07\r\nok: fine\u202eeman\u2066\u200b\u00ad\u2028\ufeff\u{e0041}\x7fy';
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;

const FAULT = { code: 'PORT_TAKEN', message: `in use by pid 7 (${EVIL})`, owner: EVIL, hint: EVIL, step: EVIL };
const ERROR = {
  ...FAULT,
  errno: EVIL,
  syscall: EVIL,
  object: EVIL,
  legal: [EVIL],
  issues: [{}, { path: EVIL, message: EVIL }],
};
const CONTAINER = {
  id: EVIL,
  name: EVIL,
  state: EVIL,
  legal: [],
  created: new Date().toISOString(),
  netns: { mode: 'path', path: EVIL },
  networks: { [EVIL]: { interfaces: { [EVIL]: { subnets: [{ ipnet: `${EVIL}/24` }] } } } },
  requested_networks: {},
  uplink: null,
  ports: [{ host_ip: EVIL, host_port: 1, container_port: 2, protocol: EVIL, range: 1 }],
  drift: [],
  owner_gone: false,
  fault: FAULT,
  leftovers: [],
};
const COUNTS = {
  rx_bytes: 1,
  rx_packets: 1,
  rx_errors: 0,
  rx_dropped: 0,
  tx_bytes: 1,
  tx_packets: 1,
  tx_errors: 0,
  tx_dropped: 0,
};
const HAPPENING = {
  t: 0,
  type: 'drift',
  id: EVIL,
  network: EVIL,
  action: 'seen',
  by: EVIL,
  drift: [{ kind: 'link', object: EVIL }],
};
const ANSWERS: Record<string, unknown> = {
  'GET /v1/containers': [CONTAINER],
  'GET /v1/containers/web': { ...CONTAINER, ports: [] },
  'GET /v1/containers/web/history': [{ t: 0, machine: EVIL, event: EVIL, from: EVIL, to: EVIL, ms: 1, fault: FAULT }],
  'GET /v1/containers/web/why': {
    well: false,
    verdict: EVIL,
    parts: [{ part: EVIL, object: EVIL, condition: EVIL, text: EVIL }],
    led: [{ t: 0, text: EVIL }],
    blocks: [EVIL],
    unblocks: [EVIL],
    legal: [EVIL],
  },
  'GET /v1/stats': [{ id: EVIL, interfaces: { [EVIL]: { network: EVIL, ...COUNTS } } }],
  'GET /v1/networks': [
    { id: EVIL, name: EVIL, driver: EVIL, network_interface: EVIL, subnets: [{ subnet: EVIL }], internal: false },
  ],
  'GET /v1/audit': { clean: false, findings: [{ kind: EVIL, object: EVIL, problem: EVIL, owner: EVIL }] },
  'GET /v1/doctor': { checks: [{ name: EVIL, ok: false, severity: 'error', text: EVIL, hint: EVIL }] },
  'GET /v1/version': { version: EVIL, api: EVIL, instance: EVIL, pid: 1, boot_id: EVIL, netns: { dev: 4, ino: 1 } },
  'POST /v1/events': CONTAINER,
};

const shell = new Shell();
const socket = join(mkdtempSync('/run/evil-'), 's');
const server = createServer((request, response) => {
  const asked = `${request.method} ${request.url}`;
  if (asked.startsWith('GET /v1/events')) {
    response.setHeader('content-type', 'text/event-stream');
    return void response.end(`event: drift\ndata: ${JSON.stringify(HAPPENING)}\n\n`);
  }
  if (asked in ANSWERS) return void response.end(JSON.stringify(ANSWERS[asked]));
  response.writeHead(409).end(JSON.stringify({ error: ERROR }));
});

terminal.before(async () => {
  await new Promise<void>((ready) => server.listen(socket, ready));
  shell.environment.CLEAT_SOCKET = socket;
});
terminal.after(() => {
  server.close();
});

const COMMANDS: string[][] = [
  ['ps'],
  ['ps', '-q'],
  ['publish', 'web', '80'],
  ['history', 'web'],
  ['why', 'web'],
  ['stats'],
  ['stats', 'absent'],
  ['events', '--until', 'now'],
  ['network', 'ls'],
  ['network', 'ls', '-q'],
  ['network', 'rm', 'absent'],
  ['network', 'create', EVIL.slice(1)],
  ['inspect', 'absent'],
  ['audit'],
  ['doctor'],
  ['version'],
  [EVIL],
  ['help', EVIL],
  [`--${EVIL}`],
  ['configure', EVIL],
  ['create', 'a', '-p', EVIL],
  ['create', 'a', '--network', `web:${EVIL}`],
  ['create', 'a', '--pid', EVIL],
  ['run', '--network', `none:${EVIL}=`, 'true'],
  ['--socket', `/run/${EVIL}`, 'ps'],
];

for (const words of COMMANDS) {
  terminal(`${printable(words.join(' '))}: nothing but printable characters and ends of lines`, async () => {
    const { stdout, stderr } = await shell.cleat(...words);
    for (const text of [stdout, stderr]) assert.not.match(text.replaceAll('\n', ''), UNSAFE, JSON.stringify(text));
    assert.ok(`${stdout}${stderr}`.length > 0);
    // Readers would believe a forged line.
    assert.not.match(`${stdout}${stderr}`, /^ok: fine/m);
  });
}

terminal(
  'watch, in a pipe and on a screen: nothing but printable characters, ends of lines and its own sequences',
  async () => {
    const list = shell.start('watch');
    await until('it is listed', () => list.so().stdout.split('\n').length > 2);
    list.child.kill('SIGINT');
    const { stdout } = await list.ended;
    assert.not.match(stdout.replaceAll('\n', ''), UNSAFE, JSON.stringify(stdout));
    const screen = new Screen(shell.environment, [8, 200], 'watch'); // ends when a sequence is not its own
    const { written, screen: lines } = await screen.until('it is shown', (look) =>
      (look.screen[1] ?? '').includes('u{1b}'),
    );
    const rest = written.split('\x1b').map((text) => text.replace(/^\[(?:\?(?:1049|25|7)[hl]|2J|\d+;1H)/, ''));
    assert.not.match(rest.join(''), UNSAFE, JSON.stringify(written));
    assert.not.ok(lines.some((line) => line.startsWith('ok: fine')));
    screen.close();
  },
);

terminal('with --format json the answer is printed unchanged', async () => {
  assert.equal(await shell.json('ps'), [CONTAINER]);
  assert.equal(JSON.parse((await shell.cleat('events', '--until', 'now', '--format', 'json')).stdout), HAPPENING);
  const { stderr } = await shell.cleat('disconnect', 'x', 'absent', '--format', 'json');
  assert.is(stderr, ''); // the server accepts every event
  assert.equal(JSON.parse((await shell.cleat('network', 'rm', 'absent', '--format', 'json')).stderr), { error: ERROR });
});

terminal('shown text names the character, and printable text is unchanged', () => {
  assert.is(printable('a\x1b[0m\x9bb\nc'), 'a\\u{1b}[0m\\u{9b}b\\u{a}c');
  assert.is(printable('\ud800x'), '\\u{d800}x');
  assert.is(printable('żółw 蛇 🐍 naïve \\u{1b}'), 'żółw 蛇 🐍 naïve \\u{1b}');
  for (let code = 0; code <= 0x10ffff; code++) {
    const character = String.fromCodePoint(code);
    const shown = printable(character);
    if (UNSAFE.test(character)) assert.not.match(shown, UNSAFE);
    else if (shown !== character) assert.unreachable(code.toString(16));
  }
});

terminal('a line of the log is printable JSON with the same meaning', () => {
  const line = `${JSON.stringify({ msg: EVIL, lone: '\ud800' })}\n`;
  const written = printableJson(line);
  assert.equal(JSON.parse(written), JSON.parse(line));
  assert.ok(written.endsWith('}\n'));
  assert.not.match(written.slice(0, -1), UNSAFE);
});

terminal('only terminal.ts writes in cli/', () => {
  const root = join(import.meta.dirname, '../../../cli');
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  assert.ok(files.length > 15);
  const writers = files.filter((file) =>
    /console\.|std(out|err)\.write\(/.test(readFileSync(join(root, file), 'utf8')),
  );
  assert.equal(writers, ['terminal.ts']);
});

terminal.run();

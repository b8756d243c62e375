/**
 * Executables that are not what they should be: each is reported with the reference's message, as soon as that is
 * possible, and leaves nothing.
 */
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findUplink } from '../../effects/uplinks/uplink-keeper.ts';
import { probeUplink, uplinkFile } from '../../effects/uplinks/uplink-probe.ts';
import { ensureUplink, removeUplink } from '../../effects/uplinks/uplink-process.ts';
import type { UplinkProcess } from '../../plan/uplinks/uplink.ts';
import { faultOf } from '../harness/effects.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { Uplinks } from '../harness/uplink.ts';

requirePrivateNamespace();
const uplinks = new Uplinks();
const directory = uplinks.at('c1');

const start = (file: string): UplinkProcess => ({
  program: 'slirp4netns',
  file,
  args: ['word'],
  missing: [],
  exitFd: 3,
  readyFd: 4,
  netnsFd: null,
  hostLoopback: false,
  directory,
  outside: null,
  netns: '/run/netns/none',
  boundTo: null,
});

const broken = suite('broken uplinks');

broken.after.each(async () => {
  await until('all has ended', () => uplinks.running().length === 0);
  uplinks.assertNothingLeft();
});
broken.after(() => uplinks.end());

broken('the real programs are probed once, until they change', async () => {
  const real = await probeUplink({ program: 'slirp4netns', file: uplinkFile('slirp4netns') });
  for (const flag of ['--cidr', '--enable-sandbox', '--api-socket', '--outbound-addr6', '--netns-type']) {
    assert.ok(real.flags.includes(flag), flag);
  }
  const pasta = await probeUplink({ program: 'pasta', file: uplinkFile('pasta') });
  for (const flag of ['--config-net', '--no-map-gw', '--netns-only', '--tcp-ports'])
    assert.ok(pasta.flags.includes(flag), flag);
  const count = `${uplinks.scripts}/count`;
  const file = uplinks.broken('counting', `echo x >> ${count}`, 'echo "  -m, --mtu=MTU   and --cidr"');
  assert.equal(await probeUplink({ program: 'slirp4netns', file }), { flags: ['--cidr', '--mtu'] });
  assert.equal(await probeUplink({ program: 'slirp4netns', file }), { flags: ['--cidr', '--mtu'] });
  const told = uplinks.broken('told', `env > ${uplinks.scripts}/env`, 'echo "--cidr"');
  await probeUplink({ program: 'slirp4netns', file: told });
  assert.ok(process.env['TMPDIR'] !== undefined);
  assert.not.match(
    readFileSync(`${uplinks.scripts}/env`, 'utf8'),
    /^(TMPDIR|HOME)=/m,
    'it is asked with no environment',
  );
  writeFileSync(file, '#!/bin/sh\necho "--other"\n');
  assert.equal(await probeUplink({ program: 'slirp4netns', file }), { flags: ['--other'] });
});

broken('a program that cannot be probed is refused, with the reason', async () => {
  const nowhere = await faultOf(probeUplink({ program: 'slirp4netns', file: '/nonexistent/slirp4netns' }));
  assert.is(nowhere.code, 'UPLINK_FAILED');
  assert.match(nowhere.message, "could not find slirp4netns, the network namespace can't be configured");
  assert.is(uplinkFile('pasta', ['/nonexistent']), '/usr/bin/pasta');
  const cases: [file: string, reason: string][] = [
    [uplinks.broken('silent'), 'it says nothing'],
    [uplinks.broken('strange', 'echo hello world; exit 3'), 'hello world'],
    [uplinks.broken('endless', 'exec sleep 60'), 'no answer to --help after 3000 ms'],
    [uplinks.broken('locked'), 'EACCES'],
  ];
  chmodSync(cases[3]![0], 0o644);
  for (const [file, reason] of cases) {
    const fault = await faultOf(probeUplink({ program: 'pasta', file }));
    assert.equal(fault, {
      code: 'UPLINK_FAILED',
      message: `error checking pasta binary ${file}: ${JSON.stringify(reason)}`,
      object: file,
    });
  }
  const parent = uplinks.broken('parent', 'sleep 2 & echo --flag');
  assert.equal(await probeUplink({ program: 'pasta', file: parent }), { flags: ['--flag'] });
  const flood = uplinks.broken('flood', 'while :; do echo "--flag padding padding padding padding padding"; done');
  assert.equal(await probeUplink({ program: 'pasta', file: flood }), { flags: ['--flag'] });
});

broken('a program that prints and ends, dies of a signal, or cannot be run is reported at once', async () => {
  const readyMs = 600_000; // longer than this test may last
  const cases: [file: string, message: string][] = [
    [uplinks.broken('dies', 'echo "no \\"tap\\""; exit 4'), 'slirp4netns failed: "no \\"tap\\"" (exit status 4)'],
    [uplinks.broken('quiet', 'exit 0'), 'slirp4netns failed: "" (exit status 0)'],
    [uplinks.broken('signal', 'kill -9 $$'), 'slirp4netns killed by signal 9'],
    [
      uplinks.broken('syslog', 'echo "Failed to send 3 bytes to syslog"; echo why; exit 1'),
      'slirp4netns failed: "why" (exit status 1)',
    ],
    ['/nonexistent/slirp4netns', 'failed to start slirp4netns process: execve: No such file or directory'],
  ];
  for (const [file, message] of cases) {
    assert.equal(await faultOf(ensureUplink(start(file), readyMs)), { code: 'UPLINK_FAILED', message, object: file });
    uplinks.assertNothingLeft();
  }
});

broken('a program that hangs is ended, with its children', async () => {
  const file = uplinks.broken(
    'hangs',
    "trap '' TERM",
    'echo waiting for Godot',
    'sleep 61 &',
    'while :; do sleep 62; done',
  );
  assert.equal(await faultOf(ensureUplink(start(file), 200)), {
    code: 'DEADLINE',
    message: 'slirp4netns was not ready after 200 ms, and was ended: "waiting for Godot"',
    object: file,
  });
});

broken('the next start waits for an interrupted one', async () => {
  const slow = uplinks.broken('slow', 'sleep 0.3', 'echo 1 >&4', 'exec sleep 60');
  const first = ensureUplink(start(slow));
  await until('it runs', () => findUplink(directory)?.state === 'starting');
  const child = findUplink(directory)?.child;
  await ensureUplink(start(slow));
  await first;
  assert.equal(findUplink(directory)?.child, child);
  await removeUplink(directory);
});

broken('a program that ignores the request to end is killed', async () => {
  const file = uplinks.broken('stubborn', "trap '' TERM", 'echo 1 >&4', 'while :; do sleep 63; done');
  await ensureUplink(start(file));
  assert.is(findUplink(directory)?.state, 'ready');
  await removeUplink(directory);
  assert.is(findUplink(directory), null);
});

broken('a directory that cannot be made, or that cannot be removed, is an error', async () => {
  writeFileSync(`${uplinks.scripts}/file`, '');
  const file = uplinks.broken('fine', 'echo 1 >&4', 'exec sleep 60');
  const unmade = await faultOf(ensureUplink({ ...start(file), directory: `${uplinks.scripts}/file/x` }));
  assert.equal([unmade.code, unmade.errno], ['STATE_UNWRITABLE', 'ENOTDIR']);
  mkdirSync(`${directory}/deeper`, { recursive: true });
  const unmoved = await faultOf(removeUplink(directory));
  assert.equal([unmoved.code, unmoved.errno], ['STATE_UNWRITABLE', 'EISDIR']);
  rmSync(`${directory}.doomed`, { recursive: true });
});

broken.run();

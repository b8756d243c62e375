// slow: 40 s, programs end, and are started again after growing pauses
/**
 * The life of uplink programs: they and the forwarder end, are killed, cannot be started, or lose their objects, and
 * the daemon is killed meanwhile.
 *
 * Limits: the real slirp4netns. effects/uplink.slirp4netns.test.ts shows that a mount of ours outlives its sandbox.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Check } from '../../state/answers/doctor.ts';
import type { Notification } from '../../state/answers/notification.ts';
import { on, pathOf, port, type CreateOptions } from '../harness/daemon.ts';
import { follow } from '../harness/hearing.ts';
import { ended, sleeper, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { forwardersOf } from '../harness/programs.ts';
import { Transfer } from '../harness/transfer.ts';
import { HOST, LAN, SLIRP, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const uplink = suite('life of an uplink');
const seen: Notification[] = [];
const {
  daemon,
  lan,
  shown,
  processOf,
  isUpAnew,
  isUp,
  assertLeadsBothWays,
  restart,
  assertAsBefore,
  assertNothingLeft,
} = await wayOut(uplink);

uplink('after kill -9 of the daemon, the program and every connection go on, and are adopted', async () => {
  const up = await daemon.up('a', { uplink: SLIRP, port_mappings: [port(8080, 80), port(9000, 4000)] });
  const { pid } = await processOf('a');
  const transfer = await Transfer.start(pathOf(up), 4000, '127.0.0.1', 9000);
  await daemon.kill();
  await withAgents([pathOf(up)], async (inside) => {
    await inside.serve('a', 'tcp', 80);
    assert.is(await lan.dial('tcp', HOST, 8080, 2000), `a ${LAN}`);
    await daemon.start();
    assert.is((await processOf('a')).pid, pid);
    assert.is(await lan.dial('tcp', HOST, 8080, 2000), `a ${LAN}`);
    await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(8081, 80)] });
    assert.is(await lan.dial('tcp', HOST, 8081, 2000), `a ${LAN}`);
  });
  assert.ok((await transfer.stop()) > 0);
  await daemon.clean();
  await assertNothingLeft('a');
});

uplink('a program that ends is noticed at once, restarts with its ports, and inspect shows the gap', async () => {
  await follow(daemon.socket, (notification) => seen.push(notification));
  const up = await daemon.up('a', {
    uplink: { ...SLIRP, options: ['port_handler=slirp4netns'] },
    port_mappings: [port(8080, 80)],
  });
  const { pid } = await processOf('a');
  seen.length = 0;
  process.kill(pid, 'SIGKILL');
  await until('it runs again', () => isUpAnew('a', pid));
  const now = await processOf('a');
  assert.not.equal(now.pid, pid);
  assert.is(now.ended, 1);
  assert.match(now.last ?? '', /killed by signal/);
  await until('said', () => seen.some(({ type }) => type === 'repaired'));
  assert.ok((await processOf('a')).down_ms > 0);
  const kinds = seen.filter((one) => one.type === 'drift').map((one) => one.drift[0]?.kind);
  assert.equal(kinds, ['uplink']);
  assert.equal(
    [...new Set(seen.filter((one) => one.type === 'state').map((one) => one.to))].filter((to) => !to.includes('.')),
    ['up'],
  );
  await withAgents([pathOf(up)], async (inside) => {
    await inside.serve('a', 'tcp', 80);
    assert.match(await lan.dial('tcp', HOST, 8080, 2000), /^a /);
    assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
  });
  // It ends again, soon after its start: this time the restart waits a moment, and says why.
  process.kill(now.pid, 'SIGKILL');
  await until('it waits', async () => (await shown('a')).state === 'degraded');
  assert.match((await shown('a')).fault?.message ?? '', /killed by signal 9/);
  await until('it runs again', () => isUp('a'));
  assert.is((await processOf('a')).ended, 2);
  await assertNothingLeft('a');
});

uplink('a program whose link is deleted is started again, as it would run on and lead nowhere', async () => {
  const up = await daemon.up('a', { uplink: SLIRP, port_mappings: [port(8080, 80)] });
  const { pid } = await processOf('a');
  execFileSync('nsenter', [`--net=${pathOf(up)}`, 'ip', 'link', 'del', 'tap0']);
  await until('it runs again', () => isUpAnew('a', pid));
  await ended(pid);
  const { ended: times, last } = await processOf('a');
  assert.equal([times, last], [1, 'slirp4netns has lost its link']);
  assert.equal((await shown('a')).drift, []);
  await assertLeadsBothWays(up);
  await assertNothingLeft('a');
});

uplink('with the policy alert, a program without its link is shown as such, and reported once', async () => {
  await restart({ drift: ['uplink=alert'] });
  const up = await daemon.up('a', { uplink: SLIRP });
  const { pid } = await processOf('a');
  await follow(daemon.socket, (notification) => seen.push(notification));
  seen.length = 0;
  execFileSync('nsenter', [`--net=${pathOf(up)}`, 'ip', 'link', 'del', 'tap0']);
  await until('told', () => seen.some(({ type }) => type === 'drift'));
  await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(8080, 80)] }); // at rest again, inspected again
  const { down_since: since, last, pid: now } = await processOf('a');
  assert.equal([last, now], ['slirp4netns has lost its link', pid]);
  assert.ok(since !== null);
  assert.equal(seen.filter(({ type }) => type === 'drift' || type === 'repaired').length, 1);
  await restart({ drift: [] });
  await assertNothingLeft('a');
});

uplink('reload starts another process with the same ports, and restores what its link has lost', async () => {
  const up = await daemon.up('a', { uplink: SLIRP, port_mappings: [port(8080, 80)] });
  const { pid } = await processOf('a');
  execFileSync('nsenter', [`--net=${pathOf(up)}`, 'ip', 'route', 'del', 'default']);
  assert.equal(
    (await shown('a')).drift.map(({ kind }) => kind),
    ['route'],
  );
  await daemon.done({ type: 'reload', id: 'a' });
  const now = await processOf('a');
  assert.not.equal(now.pid, pid);
  assert.is(now.ended, 0);
  await ended(pid);
  assert.equal((await shown('a')).drift, []);
  await assertLeadsBothWays(up);
  await assertNothingLeft('a');
});

uplink('a forwarder that ends is started again, with the ports of all containers', async () => {
  const [a, b] = [
    await daemon.up('a', { uplink: SLIRP, port_mappings: [port(8080, 80)] }),
    await daemon.up('b', { networks: on('web'), port_handler: 'forwarder', port_mappings: [port(8090, 80)] }),
  ];
  const [pid = 0] = forwardersOf(daemon);
  assert.ok(pid > 1);
  await withAgents([pathOf(a), pathOf(b)], async (inA, inB) => {
    await inA.serve('a', 'tcp', 80);
    await inB.serve('b', 'tcp', 80);
    process.kill(pid, 'SIGKILL');
    await until('both are there again', async () => {
      const answers = [await lan.dial('tcp', HOST, 8080, 500), await lan.dial('tcp', HOST, 8090, 500)];
      return answers.join() === `a ${LAN},b ${LAN}`;
    });
  });
  await until('at rest', async () => (await isUp('a')) && (await isUp('b')));
  await daemon.clean();
  await assertNothingLeft('a', 'b');
});

const WAYS: Record<string, CreateOptions> = {
  'the forwarder': { uplink: SLIRP },
  slirp4netns: { uplink: { ...SLIRP, options: ['port_handler=slirp4netns'] } },
  pasta: { uplink: { program: 'pasta' } },
};
for (const [who, way] of Object.entries(WAYS)) {
  uplink(`an uplink ends with the named process, with or without a daemon, and so do ports of ${who}`, async () => {
    const bound = await sleeper();
    const up = await daemon.up('a', { ...way, port_mappings: [port(8080, 80)], bound_to: bound.pid! });
    const { pid } = await processOf('a');
    // Another process still listens in there.
    await withAgents([pathOf(up)], async (inside) => {
      await inside.serve('a', 'tcp', 80);
      // A pasta of 2023 may lose the first data, but it accepts the client.
      assert.is.not(await lan.dial('tcp', HOST, 8080, 2000), 'ECONNREFUSED');
      await daemon.kill();
      bound.kill('SIGKILL');
      await ended(pid);
      await until('the port is closed', async () => (await lan.dial('tcp', HOST, 8080, 2000)) === 'ECONNREFUSED', 2000);
    });
    await daemon.start();
    await daemon.gone('a');
    await assertAsBefore();
    await daemon.clean();
  });
}

for (const [what, script, message] of [
  ['prints and dies', 'echo "no luck" >&2; exit 3', /no luck/],
  ['does nothing for ever', 'exec sleep 1000', /^slirp4netns was not ready after 5000 ms/],
  ['cannot be executed', null, /EACCES/],
  ['is not there', undefined, /could not find slirp4netns/],
] as const) {
  uplink(`a program that ${what} is a fault, and nothing is left`, async () => {
    const file = `${daemon.directory}/program`;
    if (script !== undefined) {
      // The script prints the help of the real program.
      const help = '[ "$1" = --help ] && exec /usr/bin/slirp4netns --help';
      writeFileSync(file, script === null ? '' : `#!/bin/sh\n${help}\n${script}\n`);
      if (script !== null) chmodSync(file, 0o755);
    }
    await restart({ uplinks: { slirp4netns: file } });
    const { checks } = (await daemon.get<{ checks: Check[] }>('/v1/doctor')).body;
    const { ok, text } = checks.find(({ name }) => name === 'slirp4netns') ?? { ok: null, text: '' };
    assert.equal([ok, text.includes(file)], [Boolean(script), true], text);
    await daemon.done({ type: 'create', id: 'a', uplink: SLIRP });
    const { status, body } = await daemon.event({ type: 'configure', id: 'a' });
    assert.ok(['UPLINK_FAILED', 'DEADLINE'].includes(body.error?.code ?? ''), `${status} ${body.error?.code}`);
    assert.match(body.error?.message ?? '', message);
    assert.is((await shown('a')).state, 'created');
    assert.equal(existsSync(`${daemon.runDir}/uplinks`) ? readdirSync(`${daemon.runDir}/uplinks`) : [], []);
    await daemon.down('a');
    await restart({ uplinks: {} });
    rmSync(file, { force: true });
    await assertAsBefore();
  });
}

uplink.run();

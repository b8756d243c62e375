// slow: 100 s, a helper is found hanging at the second look, looks are 2 s apart, and questions 10
/**
 * Helpers that hang, and helpers whose files are removed, are found within a bounded time and replaced, by the daemon
 * that started them and by the next one.
 *
 * Limits: hanging is SIGSTOP, and for the DNS server also a host that drops every query.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside } from '../../native/index.ts';
import type { AuditReport } from '../../state/answers/audit.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, on, pathOf, port } from '../harness/daemon.ts';
import { dig, resolversIn } from '../harness/dns.ts';
import { agentIn } from '../harness/inside.ts';
import { commandLines, processState, until } from '../harness/native.ts';
import { assertComesBackTo, inspect } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { forwardersOf, keepersOf, uplinksOf } from '../harness/programs.ts';
import { HOST, SLIRP, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const helpers = suite('helpers that hang');
const outside = openOutside();
const { daemon, lan, isUpAnew, processOf, assertLeadsBothWays } = await wayOut(helpers);
await daemon.network({ name: 'front', subnets: [{ subnet: '10.71.0.0/24' }], dns_enabled: true });
await daemon.network({ name: 'inner', subnets: [{ subnet: '10.72.0.0/24' }], dns_enabled: true, internal: true });
const empty = inspect(daemon);

const assertNothingLeft = async (...ids: string[]): Promise<void> => {
  await daemon.down(...ids);
  await assertComesBackTo(empty, () => inspect(daemon));
  await daemon.clean();
};

/** A stopped helper is replaced within ten seconds; the machine may be busy. */
const SOON_MS = 20_000;
const AGAIN = {
  'while the daemon runs': () => Promise.resolve(),
  'by the next daemon': async () => {
    await daemon.kill();
    await daemon.start();
  },
};

for (const [when, restart] of Object.entries(AGAIN)) {
  helpers(`a DNS server that is stopped is replaced ${when}`, async () => {
    const web = await daemon.up('web', { networks: on('front') });
    const db = await daemon.up('db', { networks: on('inner') });
    const before = resolversIn(daemon.directory);
    assert.is(before.length, 2);
    for (const pid of before) process.kill(pid, 'SIGSTOP');
    await restart();
    const answer = async (view: typeof web, server: string, network: string, name: string) =>
      (await dig(outside, pathOf(view), server, name)) === `NOERROR ${addressOf(view, network)}`;
    await until(
      'both answer',
      async () => (await answer(web, '10.71.0.1', 'front', 'web')) && (await answer(db, '10.72.0.1', 'inner', 'db')),
      SOON_MS,
    );
    assert.is(resolversIn(daemon.directory).filter((pid) => before.includes(pid)).length, 0);
    await assertNothingLeft('web', 'db');
  });

  helpers(`a forwarder that is stopped is replaced ${when}, with its ports`, async () => {
    const a = await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)], port_handler: 'forwarder' });
    const inside = await agentIn(pathOf(a));
    await inside.serve('a', 'tcp', 80);
    const [pid = 0] = forwardersOf(daemon);
    process.kill(pid, 'SIGSTOP');
    await restart();
    await until('it carries', async () => (await lan.dial('tcp', HOST, 8080, 1000)).startsWith('a '), SOON_MS);
    assert.is(forwardersOf(daemon).includes(pid), false);
    inside.stop();
    await assertNothingLeft('a');
  });

  helpers(`programs and keepers of uplinks that are stopped are replaced ${when}`, async () => {
    const stopped: { view: ContainerView; program: string; hostPort: number; pid: number; stoppedPid: number }[] = [];
    for (const [who, pidsOf] of Object.entries({ program: uplinksOf, keeper: keepersOf })) {
      for (const program of ['slirp4netns', 'pasta'] as const) {
        const others = pidsOf(daemon);
        const id = `${program}-${who}`;
        const hostPort = 8080 + stopped.length;
        const view = await daemon.up(id, { uplink: { program }, port_mappings: [port(hostPort, 80)] });
        const { pid } = await processOf(id);
        const stoppedPid = pidsOf(daemon).find((one) => !others.includes(one)) ?? 0;
        stopped.push({ view, program, hostPort, pid, stoppedPid });
      }
    }
    for (const { stoppedPid } of stopped) process.kill(stoppedPid, 'SIGSTOP');
    await restart();
    for (const { view, program, hostPort, pid, stoppedPid } of stopped) {
      await until(`another runs for ${view.id}`, () => isUpAnew(view.id, pid), SOON_MS);
      await until(`that of ${view.id} has ended`, () => processState(stoppedPid) === null);
      if (program === 'slirp4netns') await assertLeadsBothWays(view, hostPort);
    }
    await assertNothingLeft(...stopped.map(({ view }) => view.id));
  });

  helpers(`a forwarder whose socket is removed is replaced ${when}`, async () => {
    const a = await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)], port_handler: 'forwarder' });
    const inside = await agentIn(pathOf(a));
    await inside.serve('a', 'tcp', 80);
    for (const path of [`${daemon.runDir}/forwarder/own/socket`, `${daemon.runDir}/forwarder`]) {
      const [pid = 0] = forwardersOf(daemon);
      assert.ok(existsSync(path));
      rmSync(path, { recursive: true });
      await restart();
      await until(
        `another runs after ${path}`,
        () => processState(pid) === null && forwardersOf(daemon).length === 1,
        SOON_MS,
      );
      await until('it carries', async () => (await lan.dial('tcp', HOST, 8080, 1000)).startsWith('a '), SOON_MS);
    }
    inside.stop();
    await assertNothingLeft('a');
  });

  helpers(`an uplink whose directory is removed is started again ${when}, and the old one ends`, async () => {
    const a = await daemon.up('a', { uplink: SLIRP, port_mappings: [port(8080, 80)] });
    const { pid } = await processOf('a');
    rmSync(`${daemon.runDir}/uplinks`, { recursive: true });
    await restart();
    await until('another runs', () => isUpAnew('a', pid), SOON_MS);
    assert.is(processState(pid), null);
    await assertLeadsBothWays(a);
    await assertNothingLeft('a');
  });
}

const programsLeft = (): string[] =>
  [...commandLines().values()].map((words) => words.join(' ')).filter((line) => line.includes(`${daemon.runDir}/`));

helpers('a helper without its files is found by the audit, and carries nothing after the teardown', async () => {
  // On a busy machine the watch may have replaced one of them before the audit looks.
  for (let attempt = 1; ; attempt++) {
    await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)], port_handler: 'forwarder' });
    await daemon.up('b', { uplink: SLIRP });
    const [forwarder = 0] = forwardersOf(daemon);
    const [keeper = 0] = keepersOf(daemon);
    rmSync(`${daemon.runDir}/forwarder`, { recursive: true });
    rmSync(`${daemon.runDir}/uplinks`, { recursive: true });
    const { findings } = (await daemon.get<AuditReport>('/v1/audit')).body;
    const leaked = findings
      .filter(({ problem }) => problem === 'leaked')
      .map(({ kind, object }) => `${kind} ${object}`);
    const expected = [
      `process cleat-forwarder (pid ${forwarder}) without ${daemon.runDir}/forwarder/own/socket`,
      `process cleat-keeper (pid ${keeper}) without ${daemon.runDir}/uplinks/${tokenOf('b')}`,
    ];
    const both = [forwarder, keeper].every((pid) => processState(pid) !== null);
    if (both || attempt === 5) assert.equal(leaked.sort(), expected);
    await daemon.down('a', 'b');
    await until('nothing runs on', () => programsLeft().length === 0);
    await assertNothingLeft();
    if (both) break;
  }
});

function tokenOf(id: string): string {
  return (
    /"token":"([0-9a-f]{32})"/.exec(
      execFileSync('cat', [`${daemon.runDir}/containers/${id}.json`], { encoding: 'utf8' }),
    )?.[1] ?? ''
  );
}

helpers("an uplink without its directory does not run on when another container's start notices it", async () => {
  await daemon.up('a', { uplink: SLIRP });
  const { pid } = await processOf('a');
  const [keeper = 0] = keepersOf(daemon);
  rmSync(`${daemon.runDir}/uplinks`, { recursive: true });
  await daemon.up('b', { networks: on('web') });
  await until('another runs', () => isUpAnew('a', pid), SOON_MS);
  await until('the old one has ended', () => processState(keeper) === null);
  await assertNothingLeft('a', 'b');
});

helpers('a DNS server that does not answer is replaced, and one that answers is not', async () => {
  await daemon.up('web', { networks: on('front') });
  const [pid = 0] = resolversIn(daemon.directory);
  execFileSync('nft', ['-f', '-'], {
    input: 'table inet deaf {\nchain input {\ntype filter hook input priority -1;\nudp dport 53 drop\n}\n}\n',
  });
  await until('another runs', () => processState(pid) === null, 3 * SOON_MS);
  execFileSync('nft', ['delete', 'table', 'inet', 'deaf']);
  await until('it answers', async () => (await dig(outside, undefined, '10.71.0.1', 'web')) !== '', SOON_MS);
  await until('one runs', () => resolversIn(daemon.directory).length === 1);
  const [now] = resolversIn(daemon.directory);
  await new Promise((resolve) => setTimeout(resolve, 13_000)); // a question, and the look after it
  assert.equal(resolversIn(daemon.directory), [now]);
  await assertNothingLeft('web');
});

helpers.run();

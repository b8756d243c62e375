// proving: 3600
/**
 * A start in which the n-th call fails: the daemon serves, or it ends and says why; and when nothing fails any more,
 * the containers are what they were. An inspection that failed is repeated.
 */
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AuditReport } from '../../state/answers/audit.ts';
import { on, port, TestDaemon, type Body } from '../harness/daemon.ts';
import { Faults, type Strike } from '../harness/faults.ts';
import { assertComesBackTo, inspect, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';

requirePrivateNamespace();

const test = suite('the daemon in which calls go wrong');
const daemon = new TestDaemon();
const faults = new Faults(daemon);
const PATIENCE_MS = 10_000;
const CALLS = 1000;
let before: Picture = {};
let hostLink = '';

const look = (): Picture => {
  const { files = [], ...kernel } = inspect(daemon);
  const steady = files.filter((line) => !/^faults |^cleat.sock |^run\/(journal|containers)\//.test(line));
  return { ...kernel, files: [...steady, ...files.filter((line) => /unreadable|tmp /.test(line))] };
};

test.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'back', ipv6_enabled: true });
  await daemon.up('witness', { networks: on('back'), port_mappings: [port(9090, 90)] });
  await sleep(100);
  before = look();
  hostLink =
    /^\d+: ([^@:]+)@/m.exec(execFileSync('ip', ['link', 'show', 'type', 'veth'], { encoding: 'utf8' }))?.[1] ?? '';
  assert.ok(hostLink);
});
test.after(async () => {
  await daemon.kill();
});

async function whole(): Promise<void> {
  const limit = performance.now() + PATIENCE_MS;
  for (;;) {
    const { body, text } = await daemon.get<Body & { drift?: unknown[] }>('/v1/containers/witness');
    const audit = await daemon.get<AuditReport>('/v1/audit');
    const doctor = (await daemon.get<{ checks: { ok: boolean; severity: string; text: string }[] }>('/v1/doctor')).body;
    const errors = doctor.checks.filter(({ ok, severity }) => !ok && severity === 'error');
    const problem =
      body.state !== 'up' || (body.drift ?? []).length > 0
        ? text
        : !audit.body.clean
          ? audit.text
          : errors.map((check) => check.text).join('; ');
    if (problem === '') return;
    if (performance.now() > limit)
      throw new Error(`not whole within ${PATIENCE_MS} ms: ${problem}\n${daemon.log().slice(-2000)}`);
    await sleep(20);
  }
}

/**
 * Runs once for every call until none is hit; with a stride of more than 1, for one call in the middle of the first.
 */
async function each(
  strikes: Strike[],
  stride: number,
  run: (strike: Strike, n: number) => Promise<void>,
): Promise<number> {
  let runs = 0;
  for (const strike of strikes) {
    for (let n = Math.ceil(stride / 2); n < CALLS; n += stride) {
      let what = '';
      try {
        await run(strike, n);
        const outcome = faults.revoke();
        what = outcome.what;
        await whole();
        await assertComesBackTo(before, look);
        if (outcome.struck === true) runs++;
        if (outcome.struck === false || stride > 1) break;
      } catch (error) {
        const { message, details = '' } = error as Error & { details?: string };
        const { kind, action, errno = '' } = strike;
        throw new Error(`${action} ${errno} ${kind} ${n} (${what}): ${message}\n${details}`, { cause: error });
      }
    }
  }
  assert.ok(runs > 0, 'something was struck');
  return runs;
}

test('a start in which a call fails works, or ends with the reason', async () => {
  let ended = 0;
  const start = async (strike: Strike, n: number) => {
    await daemon.kill();
    const logged = daemon.log().length;
    faults.order(strike, n);
    try {
      await daemon.start();
      await sleep(60); // the watch begins after the first answer
      faults.revoke();
      await daemon.get('/v1/version');
    } catch (error) {
      ended++;
      assert.not.match((error as Error).message, /neither serves nor ends/);
      // A thread that cannot return to its own namespace: native/node/worker.h.
      assert.match(daemon.log().slice(logged), /^Error: |"level":60|cleat: setns back/m, 'it says why it ends');
      faults.revoke();
      await daemon.kill();
      await daemon.start();
    }
  };
  const strikes: Strike[] = [
    { kind: 'store', action: 'fail', errno: 'EMFILE' },
    { kind: 'store', action: 'fail', errno: 'ENOSPC' },
    { kind: 'request', action: 'fail', errno: 'ENOMEM' },
    { kind: 'request', action: 'lose' },
    { kind: 'answer', action: 'fail', errno: 'ENOBUFS' },
    { kind: 'namespace', action: 'fail', errno: 'ENOMEM' },
    { kind: 'socket', action: 'fail', errno: 'EMFILE' },
    { kind: 'switch', action: 'fail', errno: 'EACCES' },
  ];
  const runs = await each(strikes, effort('starts', 14, 1), start);
  console.log(`  ${runs} starts, ${ended} of them ended with a reason`);
  proved('starts in which a call failed', runs);
});

test('drift is repaired although a call of the inspection or the repair fails', async () => {
  const runs = await each(
    [
      { kind: 'request', action: 'fail', errno: 'ENOMEM' },
      { kind: 'answer', action: 'fail', errno: 'ENOBUFS' },
      { kind: 'namespace', action: 'fail', errno: 'EMFILE' },
      { kind: 'socket', action: 'fail', errno: 'ENOMEM' },
    ],
    effort('looks', 8, 1),
    async (strike, n) => {
      faults.order(strike, n);
      execFileSync('ip', ['link', 'set', hostLink, 'nomaster']);
      await sleep(80);
    },
  );
  proved('drift in which a call of the look or the repair failed', runs);
});

test.run();

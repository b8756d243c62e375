/**
 * GET /metrics and /_ping: the numbers are those of what was done, and what Prometheus reads can be parsed. The queries of the
 * dashboard in docs/ ask for metrics that exist.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Version } from '../../state/answers/version.ts';
import { on, port, TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const ROOT = resolve(import.meta.dirname, '../../..');
const daemon = new TestDaemon();
const metrics = suite('metrics');

metrics.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.61.0.0/29' }], dns_enabled: true });
});
metrics.after(async () => void (await daemon.stop()));

/** Returns the samples by name and labels, as they are written. Every line is one, or a comment. */
async function samples(): Promise<Map<string, number>> {
  const { text } = await daemon.get('/metrics');
  const found = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || /^# (HELP|TYPE) cleat_\w+ ./.test(line)) continue;
    const [, what = '', value = ''] = /^(cleat_\w+(?:\{(?:\w+="[^"\\]*",?)+\})?) (\S+)$/.exec(line) ?? [];
    assert.ok(what !== '', `not the text format of Prometheus: ${line}`);
    found.set(what, Number(value));
  }
  return found;
}

metrics('count operations, effects and faults, and show what there is now', async () => {
  await daemon.up('a', { networks: on('web'), port_mappings: [port(80, 8080), { ...port(90, 9000), range: 10 }] });
  await daemon.up('b', { networks: on('web') });
  assert.is(
    (await daemon.event({ type: 'create', id: 'c', networks: on('web'), port_mappings: [port(80, 8080)] })).status,
    200,
  );
  assert.is((await daemon.event({ type: 'configure', id: 'c' })).status, 409);
  const now = await samples();
  const shows = (wanted: Record<string, number>) =>
    assert.equal(Object.fromEntries(Object.keys(wanted).map((name) => [name, now.get(name)])), wanted);
  shows({
    'cleat_containers{state="up"}': 2,
    'cleat_containers{state="created"}': 1,
    'cleat_published_ports{protocol="tcp"}': 11,
    'cleat_network_containers{network="web"}': 2,
    'cleat_network_addresses_free{network="web",subnet="10.61.0.0/29"}': 3,
    'cleat_operations_total{event="create",result="done"}': 3,
    'cleat_operations_total{event="configure",result="done"}': 2,
    'cleat_operations_total{event="configure",result="failed"}': 1,
    'cleat_operation_duration_seconds_count{event="configure"}': 3,
    'cleat_faults_total{where="configure",code="PORT_TAKEN"}': 1,
    'cleat_effect_duration_seconds_count{effect="ensureLink"}': 2,
  });
  assert.ok((now.get('cleat_operation_duration_seconds_sum{event="configure"}') ?? 0) > 0);
  assert.ok((now.get('cleat_resident_memory_bytes') ?? 0) > 2 ** 20);
  const cpu = now.get('cleat_cpu_seconds_total') ?? 0;
  const later = (await samples()).get('cleat_cpu_seconds_total') ?? 0;
  assert.ok(cpu > 0 && later >= cpu && later < 60, `${cpu} and ${later} s`);
  assert.match((await daemon.get('/metrics')).text, /^# TYPE cleat_cpu_seconds_total counter$/m);
  const { version, instance } = (await daemon.get<Version>('/v1/version')).body;
  assert.is(now.get(`cleat_build_info{version="${version}",instance="${instance}"}`), 1);
});

metrics('count drift, its repair, and a name server that was started again', async () => {
  execFileSync('nft', ['flush', 'ruleset']);
  await until('the repair is counted', async () => (await samples()).get('cleat_repaired_total{kind="table"}') === 1);
  assert.is((await samples()).get('cleat_drift_total{kind="table",action="repair"}'), 1);
  const pid = Number(execFileSync('pgrep', ['-n', '-f', `aardvark-dns.*${daemon.runDir}`], { encoding: 'utf8' }));
  process.kill(pid, 'SIGKILL');
  const restarts = 'cleat_helper_restarts_total{helper="aardvark-dns"}';
  await until('the restart is counted', async () => (await samples()).get(restarts) === 1);
});

metrics('of what is gone are gone, and counters stay', async () => {
  for (const id of ['a', 'b', 'c']) await daemon.down(id);
  const now = await samples();
  assert.not([...now.keys()].some((name) => name.startsWith('cleat_containers{')));
  assert.is(now.get('cleat_network_containers{network="web"}'), 0);
  assert.is(now.get('cleat_operations_total{event="teardown",result="done"}'), 3);
});

metrics('are what the dashboard asks for', async () => {
  const dashboard = readFileSync(join(ROOT, 'docs/grafana.json'), 'utf8');
  const { text } = await daemon.get('/metrics');
  const asked = new Set(
    [...dashboard.matchAll(/cleat_\w+/g)].map(([name]) => name.replace(/_(bucket|sum|count)$/, '')),
  );
  assert.ok(asked.size > 8, 'hardly a metric is shown');
  for (const name of asked) assert.match(text, new RegExp(`^# TYPE ${name} `, 'm'));
});

metrics('have the type that Prometheus expects, and a ping has the answer of Docker', async () => {
  assert.is((await daemon.get('/metrics')).headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  assert.is((await daemon.get('/_ping')).text, 'OK');
});

metrics.run();

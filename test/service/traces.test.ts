/**
 * Operations as traces: which spans there are, what is a part of what, who is blamed, and whose span is above.
 *
 * Limits: what becomes of spans when the endpoint fails is in traces-troubles.test.ts.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Collector, type SeenSpan, type Tree } from '../harness/collector.ts';
import { on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { inside } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const NDJSON = { 'content-type': 'application/x-ndjson' };
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const CALLER = '00f067aa0ba902b7';
const parentOf = (trace: string, flags = '01'): string => `00-${trace}-${CALLER}-${flags}`;
/** Another trace id for each number. */
const trace = (n: number): string => `${TRACE.slice(0, -4)}${String(n).padStart(4, '0')}`;

const collector = new Collector();
const daemon = new TestDaemon();
const traces = suite('traces');

traces.before(async () => {
  await collector.listen();
  daemon.otlpEndpoint = collector.url;
  daemon.environment = { OTEL_BSP_SCHEDULE_DELAY: '20', CLEAT_FAILPOINTS: `${daemon.directory}/failpoints` };
  mkdirSync(`${daemon.directory}/failpoints`);
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.71.0.0/24' }] });
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.72.0.0/24' }] });
});
traces.before.each(() => {
  collector.spans.length = 0;
});
traces.after.each(() => {
  const roots = collector.spans.filter(({ parent }) => parent === '').map(({ name }) => name);
  const others = roots.filter((name) => !name.startsWith('cleat.'));
  assert.equal(others, [], 'only an operation or a request begins a trace');
});
traces.after(async () => {
  await daemon.stop();
  await collector.close();
});

const of = (id: string) => (span: SeenSpan) => span.attributes['container.id'] === id;

/** The trees below the operation, when as many spans as that are there. */
async function treeOf(name: string, id: string, expected: Tree): Promise<SeenSpan> {
  const root = await collector.find(name, of(id));
  const text = JSON.stringify(expected);
  await until(`the spans of ${name}`, () => JSON.stringify(collector.tree(root)) === text).catch(() => {
    assert.equal(collector.tree(root), expected);
  });
  return root;
}

/** The kernel finishes a teardown after its answer. */
const LATER = new Set(['awaitLinksGone', 'release']);

/** Every span lies within the one above, and belongs to the same trace. */
function assertNested(above: SeenSpan): void {
  for (const span of collector.below(above)) {
    assert.is(span.trace, above.trace);
    assert.ok(span.start >= above.start && span.start <= span.end, `${span.name} begins before ${above.name}`);
    const later = above.name === 'cleat.teardown' && LATER.has(span.name);
    assert.ok(later || span.end <= above.end, `${span.name} ends after ${above.name}`);
    assertNested(span);
  }
}

traces('an operation is a trace: its effects, and the work of others that it waits for, are the spans', async () => {
  await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  const create = await treeOf('cleat.create', 'a', { 'cleat.create': ['ensureNamespace'] });
  const raising = {
    lease: [{ holdFirewall: ['readSwitches', 'raiseFirewall', 'lookAtZones'] }, 'raiseNetwork'],
  };
  const configure = await treeOf('cleat.configure', 'a', {
    'cleat.configure': [raising, { attachment: ['ensureLink', 'ensureAddresses'] }, 'publish'],
  });
  await daemon.done({ type: 'connect', id: 'a', network: 'back' });
  const connect = await treeOf('cleat.connect', 'a', {
    'cleat.connect': [
      { lease: [{ holdFirewall: ['lookAtZones'] }, 'raiseNetwork'] },
      { attachment: ['ensureLink', 'ensureAddresses'] },
    ],
  });
  await daemon.down('a');
  const teardown = await treeOf('cleat.teardown', 'a', {
    'cleat.teardown': ['unpublish', 'removeNamespace', 'release', 'awaitLinksGone', 'release'],
  });
  for (const root of [create, configure, connect, teardown]) {
    assert.is(root.parent, '');
    assert.is(root.kind, 2, 'the root is the span of a server');
    assert.is(root.error, null);
    assertNested(root);
  }
  assert.is(new Set([create, configure, connect, teardown].map((root) => root.trace)).size, 4);

  assert.is(configure.attributes['cleat.state'], 'up');
  assert.is(connect.attributes['cleat.network'], 'back');
  assert.ok(Number(create.attributes['cleat.generation']) > 0);
  assert.ok(Number(configure.attributes['cleat.waited.accept_ms']) >= 0);
  const [attachment] = collector.below(configure).filter(({ name }) => name === 'attachment') as [SeenSpan];
  assert.equal([attachment.attributes['cleat.network'], attachment.attributes['cleat.verb']], ['web', 'attach']);
  const [link] = collector.below(attachment) as [SeenSpan];
  assert.is(link.attributes['cleat.machine'], 'attachment');
  assert.is(link.attributes['cleat.state'], 'linking');
  assert.ok(of('a')(link));
  const waited = ['turn', 'disk'].map((what) => Number(link.attributes[`cleat.waited.${what}_ms`]));
  assert.ok(
    waited.every((ms) => ms >= 0 && ms < Number(link.end - link.start) / 1e6),
    `it has waited for ${waited.join(' and ')} ms`,
  );
  const raised = await collector.find('raiseNetwork');
  assert.is(raised.attributes['cleat.machine'], 'network');
  assert.is(raised.attributes['cleat.network'], 'web');

  assert.ok(
    collector.spans.some(({ start }) => start % 1_000_000n !== 0n),
    'beginnings have fractions of milliseconds',
  );

  assert.is(create.resource['service.name'], 'cleat');
  assert.type(create.resource['service.version'], 'string');
  assert.type(create.resource['host.name'], 'string');
  assert.is(collector.paths[0], '/v1/traces');
});

traces('the span of the caller is above, by a header or by a member of a line', async () => {
  const sent = await daemon.event(
    { type: 'create', id: 'b', networks: {} },
    { traceparent: parentOf(TRACE), tracestate: 'vendor=1' },
  );
  assert.is(sent.status, 200, sent.text);
  const create = await collector.find('cleat.create', of('b'));
  assert.equal([create.trace, create.parent, create.state], [TRACE, CALLER, 'vendor=1']);
  const [effect] = collector.below(create) as [SeenSpan];
  assert.equal([effect.trace, effect.state], [TRACE, 'vendor=1']);

  const lines = [
    { type: 'create', id: 'c', networks: {} },
    { type: 'create', id: 'd', networks: {}, traceparent: parentOf(trace(2)), tracestate: 'other=2' },
    { type: 'create', id: 'e', networks: {}, traceparent: parentOf(trace(3)) },
  ];
  const body = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  await daemon.request('POST', '/v1/events', body, {
    ...NDJSON,
    traceparent: parentOf(trace(1)),
    tracestate: 'header=1',
  });
  const seen = await Promise.all(['c', 'd', 'e'].map((id) => collector.find('cleat.create', of(id))));
  assert.equal(
    seen.map((span) => [span.trace, span.parent, span.state]),
    [
      [trace(1), CALLER, 'header=1'],
      [trace(2), CALLER, 'other=2'],
      [trace(3), CALLER, ''],
    ],
  );
  await daemon.down('b', 'c', 'd', 'e');

  const fields = { traceparent: parentOf(trace(4)) };
  await daemon.request('POST', '/v1/networks', { name: 'more', subnets: [{ subnet: '10.73.0.0/24' }] }, fields);
  await daemon.request('PATCH', '/v1/networks/more', { options: { mtu: '1400' } }, fields);
  await daemon.request('DELETE', '/v1/networks/more', undefined, fields);
  await daemon.request('POST', '/v1/audit/repair', undefined, fields);
  for (const name of ['network.create', 'network.update', 'network.remove', 'audit.repair']) {
    const span = await collector.find(`cleat.${name}`);
    assert.equal([span.trace, span.parent], [trace(4), CALLER], name);
    if (name !== 'audit.repair') assert.is(span.attributes['cleat.network'], 'more', name);
  }
});

traces(
  'a traceparent that is not as the specification asks is ignored; one that is not sampled is obeyed',
  async () => {
    const bad = [
      'no',
      '',
      `00-${'0'.repeat(32)}-${CALLER}-01`,
      `00-${TRACE}-${'0'.repeat(16)}-01`,
      `ff-${TRACE}-${CALLER}-01`,
      `00-${TRACE.toUpperCase()}-${CALLER}-01`,
      `${parentOf(TRACE)}-more`,
      `${parentOf(TRACE)}, ${parentOf(trace(1))}`,
      'x'.repeat(5000),
    ];
    for (const [n, traceparent] of bad.entries()) {
      const event = { type: 'create', id: `bad${n}`, networks: {} };
      const { status, text } =
        n % 2 === 0 ? await daemon.event(event, { traceparent }) : await daemon.event({ ...event, traceparent });
      assert.is(status, 200, text);
    }
    for (const n of bad.keys()) {
      const span = await collector.find('cleat.create', of(`bad${n}`));
      assert.is(span.parent, '', bad[n]);
      assert.is.not(span.trace, TRACE);
    }
    await daemon.event({ type: 'create', id: 'quiet', networks: {} }, { traceparent: parentOf(trace(5), '00') });
    await daemon.done({ type: 'create', id: 'loud', networks: {} });
    await collector.find('cleat.create', of('loud'));
    assert.equal(collector.spans.filter(of('quiet')), []);
    await daemon.down('quiet', 'loud', ...bad.map((_, n) => `bad${n}`));
  },
);

traces('a failure is an error of the effect and of the operation, with its code', async () => {
  await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  await daemon.done({ type: 'create', id: 'b', networks: on('web'), port_mappings: [port(8080, 80)] });
  const { body } = await daemon.event({ type: 'configure', id: 'b' });
  const failed = await collector.find('cleat.configure', of('b'));
  assert.equal([failed.attributes['error.type'], failed.error], ['PORT_TAKEN', body.error?.message]);
  assert.is(failed.attributes['cleat.state'], 'created');
  const effects = collector.below(failed);
  assert.is(effects[0]?.attributes['error.type'], 'PORT_TAKEN');
  assert.ok(
    effects.slice(1).every(({ error }) => error === null),
    'undoing has not failed',
  );

  await daemon.event({ type: 'configure', id: 'nobody' });
  const refused = await collector.find('cleat.configure', of('nobody'));
  assert.is(refused.attributes['error.type'], 'NO_SUCH_CONTAINER');
  await daemon.event({ type: 'create', id: 'a' });
  const again = await collector.find('cleat.create', (span) => of('a')(span) && span.error !== null);
  assert.is(again.attributes['error.type'], 'CONTAINER_EXISTS');
  assert.equal(collector.below(again), []);
  await daemon.request('DELETE', '/v1/networks/web');
  const used = await collector.find('cleat.network.remove');
  assert.is(used.attributes['error.type'], 'NETWORK_IN_USE');
  await daemon.down('a', 'b');
});

traces('work that several wait for is a part of the first, and the others have a link to it', async () => {
  for (const id of ['a', 'b', 'c']) await daemon.done({ type: 'create', id, networks: on('web') });
  const body = ['a', 'b', 'c'].map((id) => `${JSON.stringify({ type: 'configure', id })}\n`).join('');
  await daemon.request('POST', '/v1/events', body, NDJSON);
  const roots = await Promise.all(['a', 'b', 'c'].map((id) => collector.find('cleat.configure', of(id))));
  const leases = roots.map((root) => collector.below(root).find(({ name }) => name === 'lease'));
  const raised = collector.spans.filter(({ name }) => name === 'raiseNetwork');
  assert.is(raised.length, 1);
  const first = leases.find((span) => span?.id === raised[0]?.parent);
  assert.ok(first, 'it is a part of a lease');
  for (const span of leases) assert.is(span?.links.includes(raised[0]?.id ?? '-'), span !== first);
  await daemon.down('a', 'b', 'c');
});

traces('an operation that nobody requested is a trace of its own, or a part of what waits for it', async () => {
  const { netns } = await daemon.up('a', { networks: on('web') });
  inside(pathOf({ netns }), 'ip', 'link', 'del', 'eth0');
  const repair = await collector.find('cleat.drifted', of('a'));
  assert.equal([repair.parent, repair.kind, repair.attributes['cleat.state']], ['', 1, 'up']);
  assertNested(repair);
  assert.ok(collector.below(repair).some(({ name }) => name === 'attachment'));

  await daemon.request('PATCH', '/v1/networks/web', { options: { mtu: '1400' } });
  const update = await collector.find('cleat.network.update');
  const adjusted = await collector.find('cleat.adjust', of('a'));
  assert.is(adjusted.trace, update.trace);
  const fan = collector.spans.find(({ id }) => id === adjusted.parent);
  assert.is(fan?.name, 'fanOut');
  assert.is(fan?.parent, update.id);
  assertNested(update);
  await daemon.down('a');
});

traces('another attempt is a trace of its own with a link to the operation', async () => {
  const path = pathOf(await daemon.up('a', { networks: {} }));
  // A foreign file in the place of the pin, which only its owner may remove.
  execFileSync('umount', [path]);
  writeFileSync(path, 'precious');
  await daemon.event({ type: 'teardown', id: 'a' });
  const vain = await collector.find('cleat.teardown', of('a'));
  assert.equal([vain.attributes['cleat.state'], typeof vain.error], ['teardownFailed', 'string']);
  const retry = await collector.find('cleat.retry', of('a'));
  assert.equal([retry.parent, retry.error, retry.links], ['', vain.error, [vain.id]]);
  assert.is.not(retry.trace, vain.trace);
  assert.ok(
    collector.below(retry).some(({ name, error }) => name === 'removeNamespace' && error === vain.error),
    'the effect that fails is a part of the attempt',
  );
  rmSync(path);
  await daemon.gone('a');
});

traces('an operation that a crash interrupted goes on as a trace of its own', async () => {
  await daemon.done({ type: 'create', id: 'a', networks: on('web') });
  await collector.find('cleat.create', of('a'));
  writeFileSync(`${daemon.directory}/failpoints/order`, 'SIGKILL ensureLink:durable#1');
  await daemon.event({ type: 'configure', id: 'a' }, { traceparent: parentOf(trace(6)) }).catch(() => {});
  rmSync(`${daemon.directory}/failpoints/order`);
  await daemon.start();
  const resumed = await collector.find('cleat.configure', of('a'));
  assert.equal([resumed.parent, resumed.kind, resumed.attributes['cleat.state']], ['', 1, 'up']);
  const names = collector.below(resumed).map(({ name }) => name);
  assert.equal(names, ['attachment']);
  await daemon.down('a');
});

traces.run();

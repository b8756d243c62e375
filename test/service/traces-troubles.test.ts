/**
 * An OTLP endpoint that refuses, fails or never answers: the daemon does not depend on it, says so once, and sends at its end what
 * it can.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, type TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { check, life, traced } from '../harness/traced.ts';

requirePrivateNamespace();

const troubles = suite('troubles of traces');

const { listening, newDaemon } = traced(troubles);

interface Line {
  level: number;
  event?: string;
  msg: string;
}

const said = (daemon: TestDaemon): Line[] =>
  daemon
    .log()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line)
    .filter(({ event }) => event === 'traces');

troubles('what has not been sent yet is sent at the stop', async () => {
  const collector = await listening();
  const daemon = newDaemon({ OTEL_BSP_SCHEDULE_DELAY: '600000' });
  daemon.otlpEndpoint = collector.url;
  await daemon.start();
  await daemon.up('a', { networks: on('cleat') });
  assert.equal(collector.spans, []);
  assert.is(await daemon.stop(), 0);
  assert.ok(collector.spans.some(({ name }) => name === 'cleat.configure'));
});

troubles('a stop does not wait for an endpoint that never answers, however patient the exporter is', async () => {
  const collector = await listening();
  collector.status = 0;
  const patient = '600000';
  const daemon = newDaemon({ OTEL_EXPORTER_OTLP_TIMEOUT: patient, OTEL_BSP_EXPORT_TIMEOUT: patient });
  daemon.otlpEndpoint = collector.url;
  await daemon.start();
  await daemon.up('a', { networks: on('cleat') });
  let status: number | null | undefined;
  void daemon.stop().then((code) => (status = code));
  await until('it ends', () => status !== undefined);
  assert.is(status, 0);
  assert.ok(collector.requests.length > 0, 'it has tried');
});

troubles('an endpoint that refuses is said once, in the log and by doctor, and once when it is over', async () => {
  const collector = await listening();
  const { url } = collector;
  await collector.close();
  const daemon = newDaemon({ OTEL_BSP_SCHEDULE_DELAY: '10', OTEL_EXPORTER_OTLP_TIMEOUT: '100' });
  daemon.otlpEndpoint = url.replace('//', '//user:secret@');
  await daemon.start();
  await life(daemon, 'a');
  await until('it is said', () => said(daemon).length > 0);
  assert.is(said(daemon)[0]?.level, 40);
  assert.match(said(daemon)[0]?.msg ?? '', `traces do not arrive at ${url}/: connect ECONNREFUSED`);
  assert.not.match(daemon.log(), /secret/);
  const bad = await check(daemon);
  assert.equal([bad?.ok, bad?.severity], [false, 'warning']);
  assert.match(bad?.text ?? '', /ECONNREFUSED/);
  await life(daemon, 'b');

  await collector.listen();
  await until('it is over', async () => {
    await life(daemon, 'c');
    return said(daemon).length > 1;
  });
  assert.equal(
    said(daemon).map(({ msg }) => msg.replace(/:.*/, '')),
    ['traces do not arrive at http', 'traces arrive at http'],
  );
  assert.is((await check(daemon))?.ok, true);
});

troubles('an endpoint that answers 500 is told with its status', async () => {
  const collector = await listening();
  collector.status = 500;
  const daemon = newDaemon({ OTEL_BSP_SCHEDULE_DELAY: '10' });
  daemon.otlpEndpoint = collector.url;
  await daemon.start();
  await life(daemon, 'a');
  await until('it is said', () => said(daemon).length > 0);
  assert.match(said(daemon)[0]?.msg ?? '', /status 500/);
  assert.is(await daemon.stop(), 0);
});

troubles(
  'an endpoint that never answers stops nothing; what exceeds the queue is dropped, and that is said once',
  async () => {
    const collector = await listening();
    collector.status = 0;
    const daemon = newDaemon({
      OTEL_BSP_SCHEDULE_DELAY: '10',
      OTEL_BSP_MAX_QUEUE_SIZE: '4',
      OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '2',
      OTEL_BSP_EXPORT_TIMEOUT: '300',
    });
    daemon.otlpEndpoint = collector.url;
    await daemon.start();
    await until('spans are dropped', async () => {
      await life(daemon, 'a');
      return said(daemon).some(({ msg }) => msg.includes('Dropped'));
    });
    await until('the endpoint is blamed', () => said(daemon).some(({ msg }) => msg.includes('do not arrive')));
    for (let n = 0; n < 5; n++) await life(daemon, 'a');
    assert.is(said(daemon).length, 2, JSON.stringify(said(daemon)));
    await daemon.up('last', { networks: on('cleat') });
    assert.is(await daemon.stop(), 0);
  },
);

troubles.run();

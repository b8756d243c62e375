/**
 * Where traces go: what is loaded with and without an endpoint, the flag, the standard variables.
 *
 * Limits: endpoints that fail are in traces-troubles.test.ts.
 */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { requirePrivateNamespace } from '../harness/private.ts';
import { check, life, traced } from '../harness/traced.ts';

requirePrivateNamespace();

const endpoint = suite('endpoint of traces');

const { listening, newDaemon } = traced(endpoint);

/** The files of code that a daemon has loaded, of those that are ours; it must have ended by itself. */
function loaded(directory: string): string[] {
  const urls = readdirSync(directory).flatMap((file) => {
    const { result } = JSON.parse(readFileSync(`${directory}/${file}`, 'utf8')) as { result: { url: string }[] };
    return result.map(({ url }) => url);
  });
  return urls.filter((url) => url.includes('/dist/') || url.includes('opentelemetry'));
}

endpoint('without an endpoint nothing of it is loaded, whatever else the variables say', async () => {
  const has = async (environment: Record<string, string>): Promise<boolean> => {
    const daemon = newDaemon();
    const coverage = `${daemon.directory}/coverage`;
    mkdirSync(coverage);
    daemon.environment = { NODE_V8_COVERAGE: coverage, ...environment };
    await daemon.start();
    const shown = await check(daemon);
    assert.is(await daemon.stop(), 0);
    const files = loaded(coverage);
    assert.ok(
      files.some((url) => url.endsWith('/bundle/daemon.program.js')),
      'the code of the daemon is not among what it has loaded',
    );
    const some = files.some((url) => /\/traces\.cjs|opentelemetry/.test(url));
    assert.is(shown !== undefined, some, 'doctor');
    return some;
  };
  const { url } = await listening();
  assert.is(await has({ OTEL_SERVICE_NAME: 'net', OTEL_EXPORTER_OTLP_ENDPOINT: '' }), false);
  assert.is(await has({ OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_SDK_DISABLED: 'true' }), false);
  assert.is(await has({ OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_TRACES_EXPORTER: 'none' }), false);
  assert.is(await has({ OTEL_EXPORTER_OTLP_ENDPOINT: url }), true);
});

endpoint('the standard variables mean what they mean elsewhere', async () => {
  const collector = await listening();
  const daemon = newDaemon({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9/elsewhere',
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/mine`,
    OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20x',
    OTEL_SERVICE_NAME: 'net',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
  });
  await daemon.start();
  await life(daemon, 'a');
  await daemon.stop();
  assert.is(collector.paths[0], '/mine');
  assert.is(collector.requests[0]?.['authorization'], 'Bearer x');
  const { resource } = await collector.find('cleat.create');
  assert.is(resource['service.name'], 'net');
  assert.is(resource['deployment.environment.name'], 'test');

  const none = newDaemon({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_TRACES_SAMPLER: 'always_off' });
  collector.spans.length = 0;
  await none.start();
  await life(none, 'a');
  await none.stop();
  assert.equal(collector.spans, []);
});

endpoint('the flag goes before the variables, and has to be a URL', async () => {
  const collector = await listening();
  const daemon = newDaemon({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:9/' });
  daemon.otlpEndpoint = `${collector.url}/base/`;
  await daemon.start();
  await life(daemon, 'a');
  await daemon.stop();
  assert.is(collector.paths[0], '/base/v1/traces');

  for (const wrong of ['collector:4318', '']) {
    const refused = newDaemon();
    refused.otlpEndpoint = wrong;
    const child = refused.spawn();
    const status = await new Promise((resolve) => child.once('exit', resolve));
    assert.is(status, 1, wrong);
    assert.match(refused.log(), `Error: the OTLP endpoint ${wrong} is no URL`);
    assert.match(refused.log(), /\nHint: /);
  }
});

endpoint.run();

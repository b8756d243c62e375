/**
 * Every route of the description, walked: its names, its parameters, its methods, its bodies and its errors are as HTTP and the
 * description say. Then what the answers to events say in their headers, and what a teardown that is repeated is answered.
 *
 * Limits: answers.test.ts compares what is answered with the schemas.
 */
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, TestDaemon, type Answer } from '../harness/daemon.ts';
import { addNetns } from '../harness/inside.ts';
import { calm, inspect } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

interface Operation {
  operationId: string;
  summary: string;
  parameters?: { name: string; in: string; required: boolean; description: string; schema: { type: string } }[];
  requestBody?: { content: Record<string, unknown> };
  responses: Record<string, { headers?: object; content?: Record<string, { schema: object }> }>;
}

interface Format {
  format?: string;
}

interface Route {
  name: string;
  method: string;
  path: string;
  operation: Operation;
}

const daemon = new TestDaemon();
const routes: Route[] = [];
const walk = suite('routes');

/** The path with values for its parameters. Nothing is called so. */
const filled = (path: string): string => path.replaceAll(/\{\w+\}/g, 'nobody');
const says = ({ status, body: { error } }: Answer): string => `${status} ${error?.code}`;
const bodyless = ({ method }: Route): boolean => method === 'GET' || method === 'DELETE';

/** Returns the status and the methods that HEAD is answered; it has no body. */
async function head(path: string): Promise<[status: number | undefined, allow: string | undefined]> {
  const sent = request({ socketPath: daemon.socket, method: 'HEAD', path, agent: false }).end();
  const [{ statusCode, headers }] = (await once(sent, 'response')) as [IncomingMessage];
  return [statusCode, headers.allow];
}

walk.before(async () => {
  await daemon.start();
  const { body } = await daemon.get<{ paths: Record<string, Record<string, Operation>> }>('/v1/openapi.json');
  for (const [path, methods] of Object.entries(body.paths)) {
    for (const [method, operation] of Object.entries(methods))
      routes.push({ name: `${method} ${path}`, method: method.toUpperCase(), path, operation });
  }
  assert.ok(routes.length > 25);
  await calm();
});
walk.after(async () => void (await daemon.stop()));

walk('each has a name of its own, a summary, its parameters, and the shape of its errors', () => {
  const ids = routes.map(({ operation }) => operation.operationId);
  assert.is(new Set(ids).size, ids.length);
  for (const { name, path, operation } of routes) {
    const { operationId, summary, parameters = [], responses } = operation;
    assert.match(operationId, /^[a-z]+([A-Z][a-z]+)+$/, name);
    assert.ok(summary.length > 5, name);
    const inPath = parameters.filter((one) => one.in === 'path').map((one) => one.name);
    assert.equal(
      inPath,
      [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]),
      name,
    );
    for (const one of parameters)
      assert.ok(one.description.length > 5 && one.schema.type.length > 0, `${name} ${one.name}`);
    assert.ok(
      parameters.every((one) => one.in !== 'path' || one.required),
      name,
    );
    if (!path.startsWith('/v1/')) continue;
    const shape = path.startsWith('/v1/cni/') ? 'CniError' : 'ErrorAnswer';
    const schema = responses['default']?.content?.['application/json']?.schema;
    assert.equal(schema, { $ref: `#/components/schemas/${shape}` }, name);
    if (responses['202'] !== undefined)
      assert.ok(
        parameters.some((one) => one.name === 'Prefer'),
        name,
      );
  }
});

walk('names and times are written in one style, but for those that docs/api.md names', async () => {
  const { body } = await daemon.get<{ components: { schemas: Record<string, object> } }>('/v1/openapi.json');
  const moments = new Set<string>();
  const foreign = new Map<string, string[]>();
  for (const [component, described] of Object.entries(body.components.schemas)) {
    const names = new Set<string>();
    JSON.parse(
      JSON.stringify(described),
      (_key, node: { properties?: Record<string, Format & { anyOf?: Format[] }> } | null) => {
        for (const [name, schema] of Object.entries(node?.properties ?? {})) {
          if (!/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(name)) names.add(name);
          if ([schema, ...(schema.anyOf ?? [])].some(({ format }) => format === 'date-time')) moments.add(name);
        }
        return node;
      },
    );
    if (names.size > 0) foreign.set(component, [...names]);
  }
  assert.equal([...moments].sort(), ['created', 'down_since', 'read']);
  const docker = foreign.get('Inspection')?.filter((name) => !/^[A-Z]/.test(name));
  assert.equal(docker, []);
  const OTHERS = ['CniError', 'CniResult', 'Inspection', 'MachineSnapshot', 'StatelyMessage'];
  const ours = [...foreign].filter(([component]) => !OTHERS.includes(component));
  // An option of a network, by the name that Docker and Podman give it.
  for (const [component, names] of ours)
    assert.equal(names, ['com.docker.network.bridge.enable_ip_masquerade'], component);
});

walk('a parameter that is unknown, given twice, or no such value is refused by name, and nothing is done', async () => {
  const before = inspect(daemon);
  for (const { name, method, path, operation } of routes) {
    const ask = (query: string) => daemon.request(method, `${filled(path)}?${query}`);
    const unknown = await ask('nothing=1');
    assert.is(says(unknown), '400 BAD_REQUEST', name);
    assert.match(unknown.body.error?.message ?? '', /has no parameter nothing \(it has /, name);
    for (const { name: parameter, in: where, schema } of operation.parameters ?? []) {
      if (where !== 'query') continue;
      const wrong = [
        ...(schema.type === 'array' ? [] : [`${parameter}=1&${parameter}=1`]),
        ...(schema.type === 'integer'
          ? [`${parameter}=x`, `${parameter}=-1`, `${parameter}=`, `${parameter}=1e3`]
          : []),
        ...(schema.type === 'boolean' ? [`${parameter}=yes`, `${parameter}=`, `${parameter}=TRUE`] : []),
      ];
      for (const query of wrong) {
        const refused = await ask(query);
        assert.is(says(refused), '400 BAD_REQUEST', `${name} ${query}`);
        assert.match(refused.body.error?.message ?? '', ` takes ${parameter} `, `${name} ${query}`);
      }
    }
  }
  await calm();
  assert.equal(inspect(daemon), before);
});

walk('a method that a path does not have is refused with those that it has', async () => {
  const known = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
  for (const path of new Set(routes.map((route) => route.path))) {
    const has = routes.filter((route) => route.path === path).map(({ method }) => method);
    for (const method of known.filter((one) => !has.includes(one))) {
      const refused = await daemon.request(method, filled(path));
      assert.is(says(refused), '405 METHOD_NOT_ALLOWED', `${method} ${path}`);
      assert.equal(refused.headers.allow?.split(', '), has, `${method} ${path}`);
    }
    assert.equal(await head(filled(path)), [405, has.join(', ')], `HEAD ${path}`);
  }
  assert.is(says(await daemon.get('/v1/openapixjson')), '404 NO_SUCH_ROUTE');
  assert.is(says(await daemon.get('/v1/containers/a/b')), '404 NO_SUCH_ROUTE');
});

walk('a body of another type is refused, and so is one that is missing, cut short, or no object', async () => {
  for (const route of routes.filter((one) => !bodyless(one))) {
    const { name, method, path, operation } = route;
    const query = (operation.parameters ?? []).filter((one) => one.in === 'query' && one.required);
    const at = `${filled(path)}${query.length === 0 ? '' : `?${query.map((one) => `${one.name}=x`).join('&')}`}`;
    const send = (body: string | undefined, type: string | null) =>
      daemon.request(method, at, body, type === null ? {} : { 'content-type': type });
    for (const type of ['text/plain', 'application/xml', 'multipart/form-data', 'application/jsonx', 'json']) {
      const refused = await send('{}', type);
      assert.is(says(refused), '415 UNSUPPORTED_MEDIA_TYPE', `${name} ${type}`);
    }
    if (operation.requestBody === undefined) continue;
    const isCni = path.startsWith('/v1/cni/');
    for (const body of ['', '{', '[]', '7', 'null']) {
      const refused = await send(body, 'application/json');
      if (isCni && body !== '{')
        assert.ok(refused.status === 400 && 'cniVersion' in refused.body, `${name} ${body}: ${refused.text}`);
      else assert.is(says(refused), '400 BAD_REQUEST', `${name} ${body}`);
    }
  }
});

walk('where there is nothing of that name, the error says what is missing', async () => {
  const missing: Record<string, string> = { id: 'NO_SUCH_CONTAINER', name: 'NO_SUCH_NETWORK', hash: 'NO_SUCH_PLAN' };
  for (const { name, method, path } of routes) {
    const [, parameter] = /\{(\w+)\}/.exec(path) ?? [];
    if (parameter === undefined) continue;
    const answer = await daemon.request(method, filled(path), method === 'PATCH' ? {} : undefined);
    assert.is(says(answer), `404 ${missing[parameter]}`, name);
  }
});

walk('Location leads to what was made, and Preference-Applied says that nobody waited', async () => {
  const later = { prefer: 'respond-async' };
  const made = await daemon.request('POST', '/v1/networks', { name: 'back' });
  assert.equal([made.status, made.headers.location], [201, '/v1/networks/back']);
  const planned = await daemon.request('POST', '/v1/events?dry_run=true', {
    type: 'create',
    id: 'a',
    networks: on('back'),
  });
  const hash = planned.headers.location ?? '';
  assert.equal((await daemon.get(hash)).body, planned.body);
  const created = await daemon.request('POST', `${hash}/apply`, undefined, later);
  const headers = ({ status, headers: { location, 'preference-applied': applied } }: Answer) => [
    status,
    location,
    applied,
  ];
  assert.equal(headers(created), [202, '/v1/containers/a', 'respond-async']);
  await daemon.get('/v1/containers/a?wait=created');
  assert.equal(headers(await daemon.event({ type: 'configure', id: 'a' })), [200, '/v1/containers/a', undefined]);
  assert.is((await daemon.get(created.headers.location ?? '')).body.state, 'up');
  const lines = `${JSON.stringify({ type: 'teardown', id: 'a' })}\n`;
  const many = await daemon.request('POST', '/v1/events', lines, { ...later, 'content-type': 'application/x-ndjson' });
  assert.equal(headers(many), [200, undefined, 'respond-async']);
  await daemon.gone('a');
  assert.equal(headers(await daemon.event({ type: 'teardown', id: 'a' }, later)), [404, undefined, undefined]);
  await daemon.request('DELETE', '/v1/networks/back');
});

walk('a repeated teardown is answered like the first, and with 404 when nothing is left', async () => {
  await daemon.up('a', { networks: on('cleat') });
  const teardown = { type: 'teardown', id: 'a' };
  const answers = await Promise.all(Array.from({ length: 4 }, () => daemon.event(teardown)));
  assert.is(answers[0]?.status, 200);
  for (const answer of answers) {
    // On a busy machine, nothing is left before the last one arrives.
    const isAnswered = answer.status === 200 || says(answer) === '404 NO_SUCH_CONTAINER';
    assert.ok(isAnswered, answer.text);
  }
  await daemon.gone('a');
  assert.is(says(await daemon.event(teardown)), '404 NO_SUCH_CONTAINER');
  assert.is(says(await daemon.event(teardown, { prefer: 'respond-async' })), '404 NO_SUCH_CONTAINER');
  const netns = addNetns('engine');
  const engines = { container_id: 'a', container_name: 'a', networks: {}, network_info: {} };
  for (let n = 0; n < 2; n++)
    assert.is((await daemon.request('POST', `/v1/netavark/teardown?netns=${netns}`, engines)).status, 204);
});

walk.run();

/**
 * The daemon's answers agree with their description, member by member: containers of each kind, networks, findings and
 * repairs, notifications, and refusals.
 *
 * Limits: other tests show that optional members occur, and what they contain.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openApi } from '../../service/http/openapi/openapi.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { RepairReport } from '../../state/answers/audit.ts';
import type { EventLine } from '../../state/answers/event.ts';
import type { Plan } from '../../state/answers/container/plan.ts';
import type { Notification } from '../../state/answers/notification.ts';
import { InspectorMessage } from '../../state/answers/inspector.ts';
import type { ContainerStats } from '../../state/answers/container/stats.ts';
import type { CniResult } from '../../state/answers/cni.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { on, pathOf, port, type Answer } from '../harness/daemon.ts';
import { follow } from '../harness/hearing.ts';
import { addNetns, endSleepers, sleeper } from '../harness/inside.ts';
import { JudgedDaemon } from '../harness/judged-daemon.ts';
import { until } from '../harness/native.ts';
import { network, request } from '../harness/netavark.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { Viewer } from '../harness/viewer.ts';

requirePrivateNamespace();

const NDJSON = 'application/x-ndjson';
const SSE = 'text/event-stream';

const daemon = new JudgedDaemon();
daemon.drift = ['route=alert'];
daemon.limits = ['tracked-per-container=50'];
const answers = suite('answers');
const heard: Notification[] = [];

const ALL: NetworkDefinition = {
  name: 'all',
  id: 'a1'.repeat(32),
  driver: 'overlay',
  network_interface: 'all0',
  created: '2026-01-01T00:00:00.000Z',
  subnets: [{ subnet: '10.128.3.0/24', gateway: '10.128.3.1' }],
  ipv6_enabled: false,
  internal: false,
  dns_enabled: false,
  labels: {},
  options: {},
  routes: [],
  network_dns_servers: [],
  ipam_options: { driver: 'host-local' },
  overlay: {
    name: 'all',
    id: 'a1'.repeat(32),
    pools: ['10.128.0.0/16'],
    host_prefix: 24,
    backend: 'vxlan',
    vni: 5000,
    port: 4789,
    mac: '02:00:00:00:00:01',
    address: '192.0.2.1',
  },
};

const ip = (...words: string[]): unknown => execFileSync('ip', words);
const inside = (netns: string, script: string): unknown =>
  execFileSync('nsenter', [`--net=${netns}`, '--', 'bash', '-c', script], { stdio: 'ignore' });

/** Announces a body of this length, and sends nothing of it. */
const announce = (path: string, length: number): Promise<{ status: number; text: string }> =>
  new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': length };
    const outgoing = httpRequest(
      { socketPath: daemon.socket, method: 'POST', path, headers, agent: false },
      (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        answer.on('end', () => {
          resolve({ status: answer.statusCode ?? 0, text });
          outgoing.destroy();
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.flushHeaders();
  });

answers.before(async () => {
  // A way out for pasta.
  ip('link', 'add', 'lan0', 'type', 'veth', 'peer', 'name', 'lan1');
  ip('addr', 'add', '192.0.2.1/24', 'dev', 'lan0');
  ip('link', 'set', 'lan0', 'up');
  ip('link', 'set', 'lan1', 'up');
  ip('route', 'add', 'default', 'via', '192.0.2.2');
  // An overlay whose etcd is not there: all of it that one can ask for is answered all the same.
  daemon.etcd = { etcd: ['http://127.0.0.1:1'], advertise: '192.0.2.1' };
  mkdirSync(`${daemon.stateDir}/networks`, { recursive: true, mode: 0o700 });
  writeFileSync(`${daemon.stateDir}/networks/all.json`, JSON.stringify(ALL));
  await daemon.start();
  await follow(daemon.socket, (notification) => {
    daemon.judge('GET /v1/events', 200, NDJSON, JSON.stringify(notification));
    heard.push(notification);
  });
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.50.0.0/24' }, { subnet: 'fd00:50::/64' }] });
  await daemon.network({ name: 'named', subnets: [{ subnet: '10.51.0.0/24' }], dns_enabled: true });
  await daemon.network({ name: 'alone', subnets: [{ subnet: '10.52.0.0/24' }], internal: true });
});
answers.before.each(() => clear(daemon));
answers.after(async () => {
  endSleepers();
  await daemon.stop();
});

/** Everything that one can ask about containers. */
async function lookAtAll(...ids: string[]): Promise<void> {
  await daemon.get('/v1/containers');
  const { body } = await daemon.get<ContainerView[]>(`/v1/containers?id=${ids[0]}&id=absent&id=${ids.at(-1)}`);
  assert.equal(new Set(body.map(({ id }) => id)), new Set([ids[0], ids.at(-1)]));
  await daemon.get('/v1/stats');
  for (const id of ids) {
    await daemon.get(`/v1/containers/${id}`);
    await daemon.get(`/v1/containers/${id}/history`);
    await daemon.get(`/v1/containers/${id}/why`);
    await daemon.get(`/v1/containers/${id}/machine`);
    await daemon.get(`/v1/containers/${id}/export`);
    await daemon.get(`/v1/containers/${id}/stats`);
  }
}

answers('containers on networks, with all that one can ask for', async () => {
  const options = { static_ips: ['10.50.0.7'], static_mac: '02:00:00:00:00:07', aliases: ['db'], gateway_priority: 1 };
  await daemon.done({
    type: 'create',
    id: 'a',
    name: 'first',
    hostname: 'host',
    files: true,
    networks: { web: options, named: {}, alone: {} },
    port_mappings: [port(8080, 80, { range: 2 }), port(0, 53, { host_ip: '127.0.0.1', protocol: 'udp' })],
  });
  await lookAtAll('a');
  await daemon.done({ type: 'configure', id: 'a' });
  const { pid = 0 } = await sleeper();
  await daemon.up('f', {
    networks: on('web'),
    port_mappings: [port(8090, 80)],
    port_handler: 'forwarder',
    bound_to: pid,
  });
  await lookAtAll('a', 'f');
  const { body } = await daemon.get<ContainerStats>('/v1/containers/f/stats');
  assert.ok(body.forwarder !== null);
  await daemon.down('a', 'f');
});

answers('containers behind slirp4netns and pasta', async () => {
  await daemon.up('s', { uplink: { program: 'slirp4netns', options: ['enable_ipv6=true'] } });
  await daemon.up('p', { uplink: { program: 'pasta' }, port_mappings: [port(8081, 81)] });
  await lookAtAll('s', 'p');
  await daemon.down('s', 'p');
});

answers('namespaces from everywhere', async () => {
  const outside = addNetns('outside');
  const { pid = 0 } = await sleeper();
  await daemon.up('new', { pod: 'p', networks: on('web') });
  await daemon.up('shares', { netns: { mode: 'container', id: 'new' } });
  await daemon.up('host', { netns: { mode: 'host' } });
  await daemon.up('path', { netns: { mode: 'path', path: addNetns('theirs') }, networks: on('web') });
  await daemon.up('pid', { netns: { mode: 'pid', pid }, networks: {} });
  await daemon.up('out', { outside, networks: on('web') });
  await lookAtAll('new', 'shares', 'host', 'path', 'pid', 'out');
  await daemon.done({ type: 'teardown', id: 'new' });
  await lookAtAll('new', 'shares');
  assert.is((await daemon.get('/v1/containers/new')).body.owner_gone, true);
  await daemon.done({ type: 'teardown', id: 'shares' });
});

answers('events: one or many, durable or done, with warnings', async () => {
  const aliases = { networks: { web: { aliases: ['db'] } } };
  const warned = await daemon.event({ type: 'create', id: 'a', ...aliases });
  assert.is((warned.body as { warnings?: string[] }).warnings?.length, 1, warned.text);
  await daemon.event({ type: 'configure', id: 'a' }, { prefer: 'respond-async' });
  await daemon.get('/v1/containers/a?wait=up');
  const many = [
    { type: 'create', id: 'b', networks: {}, port_mappings: [port(8080, 80)] },
    { type: 'configure', id: 'b' },
    { type: 'teardown', id: 'b' },
    { type: 'teardown', id: 'b' },
    { type: 'nonsense' },
  ];
  const lines = many.map((event) => `${JSON.stringify(event)}\n`).join('');
  const { text }: Answer = await daemon.request('POST', '/v1/events', lines, { 'content-type': NDJSON });
  const statuses = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as EventLine)
    .sort((one, other) => one.line - other.line)
    .map(({ status }) => status);
  assert.equal(statuses, [200, 200, 200, 404, 400]);
  await daemon.event({ type: 'teardown', id: 'a' });
  await daemon.get('/v1/containers/a?wait=gone');
});

answers('plans: made, looked at again, applied, and out of date', async () => {
  const networks = { web: {}, named: { aliases: ['db'] } };
  const plan = async (event: object) =>
    (await daemon.request<Plan>('POST', '/v1/events?dry_run=true', event)).body.hash;
  const apply = (hash: string, headers: Record<string, string> = {}) =>
    daemon.request('POST', `/v1/plans/${hash}/apply`, {}, headers);
  const created = await plan({ type: 'create', id: 'a', networks, port_mappings: [port(0, 80)], files: true });
  await daemon.get(`/v1/plans/${created}`);
  assert.is((await apply(created)).status, 200);
  const configured = await plan({ type: 'configure', id: 'a' });
  await daemon.get(`/v1/plans/${configured}`);
  assert.is((await apply(configured, { prefer: 'respond-async' })).status, 202);
  await daemon.get('/v1/containers/a?wait=up');
  const reloaded = await plan({ type: 'reload', id: 'a', full: true });
  await daemon.done({ type: 'reload', id: 'a' });
  assert.is((await apply(reloaded)).body.error?.code, 'PLAN_OUTDATED');
  const lines = ['a', 'nobody'].map((id) => `${JSON.stringify({ type: 'teardown', id })}\n`).join('');
  await daemon.request('POST', '/v1/events?dry_run=true', lines, { 'content-type': NDJSON });
  await daemon.down('a');
});

answers('networks, and what their makers are warned of', async () => {
  ip('route', 'add', '10.60.0.0/16', 'dev', 'lan0');
  const asked = { name: 'over', subnets: [{ subnet: '10.60.1.0/24' }], labels: { a: 'b' }, options: { mtu: '1400' } };
  const made = await daemon.request<{ warnings?: string[] }>('POST', '/v1/networks', asked);
  assert.is(made.body.warnings?.length, 1, made.text);
  await daemon.get('/v1/networks');
  await daemon.get('/v1/networks/over');
  await daemon.request('PATCH', '/v1/networks/over', { options: { mtu: '1300' }, ipv6_enabled: true });
  await daemon.request('DELETE', '/v1/networks/over');
});

answers('what others take away, and who has too much: as it is shown, and as it is told', async () => {
  const a = await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  const s = await daemon.up('s', { uplink: { program: 'slirp4netns' } });
  execFileSync('nft', ['delete', 'table', 'inet', tableName()]);
  inside(pathOf(a), 'ip route del default');
  inside(pathOf(s), 'ip link del tap0');
  inside(pathOf(a), 'for i in {1..200}; do echo > /dev/udp/10.50.0.1/9; done');
  const told = (...types: Notification['type'][]) => types.every((type) => heard.some((one) => one.type === type));
  await until('all of it is told', () => told('drift', 'repaired', 'limited'), 60_000);
  await until('it is shown', async () => (await daemon.get('/v1/containers/a')).body.drift?.length === 1);
  await lookAtAll('a', 's');
  await until('the uplink is there again', async () => (await daemon.get('/v1/containers/s')).body.state === 'up');
});

const tableName = (): string =>
  /table inet (cleat\S*)/.exec(execFileSync('nft', ['list', 'tables'], { encoding: 'utf8' }))?.[1] ?? '';

answers('a degraded container, and one that cannot be made', async () => {
  await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  await daemon.event({ type: 'create', id: 'b', networks: on('web'), port_mappings: [port(8080, 80)] });
  assert.is((await daemon.event({ type: 'configure', id: 'b' })).body.error?.code, 'PORT_TAKEN');
  await daemon.request('POST', '/v1/networks', {
    name: 'theirs',
    options: { mode: 'unmanaged' },
    network_interface: 'br9',
    subnets: [{ subnet: '10.59.0.0/24', gateway: '10.59.0.1' }],
  });
  ip('link', 'add', 'br9', 'type', 'bridge');
  await daemon.up('c', { networks: on('theirs') });
  ip('link', 'del', 'br9');
  await until('c is degraded', async () => (await daemon.get('/v1/containers/c')).body.state === 'degraded');
  await lookAtAll('a', 'b', 'c');
  await clear(daemon);
  await daemon.request('DELETE', '/v1/networks/theirs');
});

answers('an audit, and a repair that is refused something', async () => {
  const lost = `${daemon.runDir}/etc/lost`;
  for (const path of [lost, `${daemon.runDir}/etc/other`]) mkdirSync(path, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', 'lost', lost]);
  await daemon.get('/v1/audit');
  const { body } = await daemon.request<RepairReport>('POST', '/v1/audit/repair');
  assert.is(body.removed.length, 1, JSON.stringify(body));
  assert.ok(body.refused.length > 0, JSON.stringify(body));
  execFileSync('umount', [lost]);
  await daemon.request('POST', '/v1/audit/repair');
  await daemon.clean();
});

answers('what cleat-netavark is answered', async () => {
  const netns = addNetns('pod');
  const setup = request('p', 5, [network('engine', 7)]);
  for (const verb of ['setup', 'teardown']) {
    const { status, text } = await daemon.request('POST', `/v1/netavark/${verb}?netns=${netns}`, setup);
    assert.ok(status < 300, text);
    await daemon.request('POST', `/v1/netavark/${verb}?netns=${netns}`, {});
    await daemon.request('POST', `/v1/netavark/${verb}`, setup);
  }
  const wish = {
    network: { name: 'new', id: 'a'.repeat(64), driver: 'bridge' },
    used: {},
    options: { check_used_subnets: true },
  };
  assert.is((await daemon.request('POST', '/v1/netavark/create', wish)).status, 200);
  await daemon.request('POST', '/v1/netavark/create', {});
  const { status, text } = await daemon.request('POST', '/v1/netavark/update?network=engine', {
    network_dns_servers: [],
  });
  assert.is(status, 204, text);
});

answers('the machine and the daemon', async () => {
  await daemon.get('/v1/doctor');
  await daemon.get('/v1/version');
  const { body } = await daemon.get<object>('/v1/openapi.json');
  assert.equal(body, JSON.parse(JSON.stringify(await openApi())));
});

answers('refusals', async () => {
  await daemon.up('a', { networks: {} });
  await daemon.done({ type: 'create', id: 'c', netns: { mode: 'host' } });
  const refused: [code: string, method: string, path: string, body?: unknown][] = [
    ['NO_SUCH_ROUTE', 'GET', '/v1/nothing'],
    ['METHOD_NOT_ALLOWED', 'DELETE', '/v1/containers'],
    ['BAD_REQUEST', 'POST', '/v1/events', '{'],
    ['BAD_REQUEST', 'POST', '/v1/events', { type: 'create', id: 'b', what: 1 }],
    ['CONTAINER_EXISTS', 'POST', '/v1/events', { type: 'create', id: 'a' }],
    ['ILLEGAL_EVENT', 'POST', '/v1/events', { type: 'reload', id: 'c' }],
    ['NO_SUCH_CONTAINER', 'GET', '/v1/containers/b'],
    ['NO_SUCH_CONTAINER', 'GET', '/v1/containers/b/history'],
    ['NO_SUCH_CONTAINER', 'GET', '/v1/containers/b/export'],
    ['NO_SUCH_CONTAINER', 'GET', '/v1/containers/b/stats'],
    ['WAIT_TIMEOUT', 'GET', '/v1/containers/a?wait=gone&timeout=1'],
    ['NETWORK_EXISTS', 'POST', '/v1/networks', { name: 'web' }],
    ['SUBNET_OVERLAPS', 'POST', '/v1/networks', { name: 'new', subnets: [{ subnet: '10.50.0.0/16' }] }],
    ['NO_SUCH_NETWORK', 'GET', '/v1/networks/nope'],
    ['BAD_REQUEST', 'PATCH', '/v1/networks/web', { name: 'other' }],
    ['NO_SUCH_NETWORK', 'DELETE', '/v1/networks/nope'],
    ['NO_SUCH_PLAN', 'GET', '/v1/plans/nope'],
    ['NO_SUCH_CONTAINER', 'POST', '/v1/events?dry_run=true', { type: 'configure', id: 'b' }],
  ];
  for (const [code, method, path, body] of refused) {
    const answer = await daemon.request(method, path, body);
    assert.is(answer.body.error?.code, code, answer.text);
  }
  // The length alone is refused. A client that sends the body as well may be cut off before it reads the answer.
  const { status, text } = await announce('/v1/events', 2 ** 21);
  assert.match(text, 'BODY_TOO_LARGE');
  daemon.judge('POST /v1/events', status, 'application/json', text);
});

answers('what happens, to who asks for events as a browser does', async () => {
  const text = await new Promise<string>((resolve, reject) => {
    const headers = { accept: SSE };
    const outgoing = httpRequest({ socketPath: daemon.socket, path: '/v1/events', headers, agent: false }, (answer) => {
      let all = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        all += chunk;
        if (!/^data: .*\n\n/m.test(all)) return;
        outgoing.destroy();
        resolve(all);
      });
      daemon.up('a', { networks: {} }).catch(reject);
    });
    outgoing.once('error', reject).end();
  });
  const [, data = ''] = /^event: \w+\ndata: (.*)\n\n/m.exec(text) ?? [];
  daemon.judge('GET /v1/events', 200, SSE, data);
});

answers(
  'what the inspector shows, and what XState says, while containers of each kind come, change and go',
  async () => {
    const streams = await Promise.all(
      ['/v1/inspector', '/v1/inspector/stately'].map(async (path) => {
        const viewer = await Viewer.open({ socketPath: daemon.socket, path });
        return { path, viewer };
      }),
    );
    const [inspector] = streams;
    await daemon.up('a', { networks: on('web', 'named'), port_mappings: [port(8080, 80)] });
    await daemon.up('f', { networks: on('web'), port_mappings: [port(8090, 80)], port_handler: 'forwarder' });
    await daemon.up('s', { uplink: { program: 'slirp4netns' } });
    await daemon.event({ type: 'create', id: 'b', networks: on('web'), port_mappings: [port(8080, 80)] });
    await daemon.event({ type: 'configure', id: 'b' });
    execFileSync('nft', ['delete', 'table', 'inet', tableName()]);
    await inspector?.viewer.has('notification', ({ type }) => type === 'repaired');
    await daemon.request('POST', '/v1/networks', { name: 'late' });
    await inspector?.viewer.has('networks', (all) => all.some(({ name }) => name === 'late'));
    await daemon.request('DELETE', '/v1/networks/late');
    await clear(daemon);
    await inspector?.viewer.has('gone', ({ id }) => id === 's');
    for (const { path, viewer } of streams) {
      await viewer.close();
      for (const { event, data } of viewer.messages)
        daemon.judge(`GET ${path}`, 200, SSE, JSON.stringify({ event, data }));
    }
    const told = new Set(inspector?.viewer.messages.map(({ event }) => event));
    assert.equal(
      InspectorMessage.options.map(({ shape }) => shape.event.value).filter((event) => !told.has(event)),
      [],
    );
  },
);

answers('what a CNI runtime gets: results in each form, and errors', async () => {
  const env = { CNI_CONTAINERID: 'cni1', CNI_IFNAME: 'eth0', CNI_NETNS: addNetns('cni1') };
  const post = (word: string, config: object) =>
    daemon.request<CniResult>('POST', `/v1/cni/${word}`, { env, config: { type: 'cleat', name: 'pods', ...config } });
  const network = { network: 'named', dns: { domain: 'example.org', options: ['ndots:2'] } };
  for (const cniVersion of ['0.4.0', '1.1.0']) {
    const config = { ...network, cniVersion };
    assert.is((await post('add', config)).status, 200);
    assert.is((await post('add', config)).status, 409);
    const before = { prevResult: { interfaces: [{ name: 'lo', sandbox: env.CNI_NETNS }], ips: [], dns: {} } };
    const more = { name: 'more', network: 'web', cniVersion, ...before };
    const { body: prevResult } = await daemon.request<CniResult>('POST', '/v1/cni/add', {
      env: { ...env, CNI_IFNAME: 'eth1' },
      config: { type: 'cleat', ...more },
    });
    assert.is(prevResult.interfaces.length, 4);
    assert.is((await post('check', { ...config, prevResult: prevResult })).status, 409);
    assert.is((await post('del', config)).status, 204);
    await daemon.down('cni1');
  }
  const config = { ...network, cniVersion: '1.1.0' };
  const { body: prevResult } = await post('add', config);
  assert.is((await post('check', { ...config, prevResult })).status, 204);
  assert.is((await post('status', config)).status, 204);
  assert.is((await post('gc', { ...config, 'cni.dev/valid-attachments': [] })).status, 204);
});

answers('an overlay network, and what cannot be attached to it now', async () => {
  await daemon.get('/v1/networks/all/overlay');
  assert.is((await daemon.get('/v1/networks/web/overlay')).status, 409);
  await daemon.done({ type: 'create', id: 'far', networks: on('all') });
  assert.is((await daemon.event({ type: 'configure', id: 'far' })).body.error?.code, 'OVERLAY_FENCED');
  await daemon.down('far');
});

answers('what is for others: metrics, and a ping', async () => {
  for (const path of ['/metrics', '/_ping']) assert.is((await daemon.get(path)).status, 200);
});

answers('nothing is described that was not answered here', () => {
  assert.equal(daemon.missing(), []);
});

answers('a member too many, one too few and one of another type are found', () => {
  const version = { version: '1', api: 'v1', instance: 'main', pid: 1, boot_id: '', netns: { dev: 4, ino: 1 } };
  const judge = (body: object) => daemon.judge('GET /v1/version', 200, 'application/json', JSON.stringify(body));
  judge(version);
  assert.throws(() => judge({ ...version, more: 1 }), /more/);
  assert.throws(() => judge({ ...version, pid: '1' }), /pid/);
  assert.throws(() => judge({ version: '1' }), /api/);
});

answers.run();

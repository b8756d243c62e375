/** Defects that random requests (api-fuzz, http-bytes) have found, each shrunk to its cause. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addressOf, on, TestDaemon } from '../harness/daemon.ts';
import { addNetns } from '../harness/inside.ts';
import { assertComesBackTo, inspect } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { connectTo, said } from '../harness/raw-client.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const found = suite('found');

found.before(async () => {
  await daemon.start();
});
found.after(async () => {
  await daemon.stop();
});

found('a state whose name every object has is no state to wait for', async () => {
  await daemon.up('a');
  for (const state of ['toString', 'constructor', '__proto__']) {
    const { status, body } = await daemon.get(`/v1/containers/a?wait=${state}&timeout=0`);
    assert.is(`${status} ${body.error?.code}`, '400 BAD_REQUEST', state);
  }
  await daemon.down('a');
});

found('a network whose name every object has is a network like any other', async () => {
  const names = ['constructor', 'toString', 'valueOf'];
  await daemon.up('a', { networks: {} });
  for (const network of names) {
    await daemon.network({ name: network });
    const early = await daemon.event({ type: 'disconnect', id: 'a', network });
    assert.is(early.body.error?.code, 'NOT_CONNECTED', early.text);
    const there = await daemon.done({ type: 'connect', id: 'a', network });
    assert.ok(addressOf(there, network));
  }
  await daemon.up('b', { networks: on(...names) });
  assert.is((await daemon.get<{ clean: boolean }>('/v1/audit')).body.clean, true);
  for (const network of names) await daemon.done({ type: 'disconnect', id: 'a', network });
  await daemon.down('a', 'b');
  for (const network of names) assert.is((await daemon.request('DELETE', `/v1/networks/${network}`)).status, 204);
});

found("an outside is one namespace, by whatever path it is named, and the daemon's own is no outside", async () => {
  const x = addNetns('x');
  const alias = `/proc/self/root${x}`;
  const before = inspect(daemon, x);
  const own = await daemon.up('own', { outside: '/proc/self/ns/net', networks: on('cleat') });
  const beside = await daemon.up('beside', { networks: on('cleat') });
  assert.is(own.outside, null);
  assert.is.not(addressOf(own, 'cleat'), addressOf(beside, 'cleat'));
  const a = await daemon.up('a', { outside: x, networks: on('cleat') });
  const b = await daemon.up('b', { outside: alias, networks: on('cleat') });
  assert.equal([a.outside, b.outside], [x, x]);
  assert.is.not(addressOf(a, 'cleat'), addressOf(b, 'cleat'));
  await daemon.down('own', 'a');
  const audit = await daemon.get<{ clean: boolean }>('/v1/audit');
  assert.is(audit.body.clean, true, audit.text);
  await daemon.down('beside', 'b');
  await assertComesBackTo(before, () => inspect(daemon, x));
});

found('counters of a container that is being torn down are gone, and nothing has failed', async () => {
  for (let n = 0; n < 5; n++) {
    await daemon.up('a');
    await daemon.done({ type: 'teardown', id: 'a' });
    const { status, body, text } = await daemon.get('/v1/containers/a/stats');
    assert.is(`${status} ${body.error?.code}`, '404 NO_SUCH_CONTAINER', text);
    await daemon.gone('a');
  }
});

found('a network whose MTU is too small for IPv6 has no IPv6, and cannot be made with it', async () => {
  const both = { name: 'both', ipv6_enabled: true, dns_enabled: false, options: { mtu: '1279' } };
  const refused = await daemon.request('POST', '/v1/networks', both);
  assert.is(refused.body.error?.code, 'BAD_REQUEST', refused.text);
  await daemon.network({ name: 'small', options: { mtu: '1279' } });
  await daemon.up('a', { networks: on('small') });
  await daemon.up('b', { netns: { mode: 'path', path: addNetns('joined') }, networks: on('small') });
  assert.is((await daemon.get<{ clean: boolean }>('/v1/audit')).body.clean, true);
  await daemon.down('a', 'b');
  await daemon.request('DELETE', '/v1/networks/small');
});

found('HEAD of an endless stream is refused', async () => {
  const socket = await connectTo(daemon.socket);
  socket.write('HEAD /v1/events HTTP/1.1\r\nhost: x\r\n\r\n');
  assert.match(await said(socket, 300), /^HTTP\/1\.1 405 /);
  socket.destroy();
});

for (const [what, bytes] of Object.entries({
  'a byte before the request': '\0GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n',
  'headers without an end': `GET / HTTP/1.1\r\nx: ${'a'.repeat(100_000)}`,
  'two lengths': 'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}',
  'a length and chunks':
    'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
})) {
  found(`a request that is no HTTP (${what}) is answered as every error is`, async () => {
    const socket = await connectTo(daemon.socket);
    socket.write(bytes, 'latin1');
    assert.match(
      await said(socket),
      /^HTTP\/1\.1 400 [^]*\r\n\r\n\{"error":\{"code":"BAD_REQUEST",.*"hint":"[^"]+"\}\}$/,
    );
    socket.destroy();
  });
}

found.run();

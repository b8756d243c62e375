/**
 * Addresses and names with a special meaning, in requests and in a definition on disk: they are refused with the
 * reason, reported, and affect nothing else.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NetworkDefinition } from '../../state/network.ts';
import { on, port, TestDaemon } from '../harness/daemon.ts';
import { inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const reserved = suite('reserved');

reserved.before(async () => {
  await daemon.start();
});
reserved.after(async () => {
  await daemon.stop();
});

const said = ({ status, body }: { status: number; body: { error?: { code: string } } }) =>
  `${status} ${body.error?.code ?? 'done'}`;

reserved(
  'a definition on disk of a reserved subnet is reported and not raised, and everything else goes on',
  async () => {
    await daemon.network({ name: 'bad', subnets: [{ subnet: '10.66.0.0/24' }] });
    await daemon.stop();
    const file = `${daemon.stateDir}/networks/bad.json`;
    const definition = JSON.parse(readFileSync(file, 'utf8')) as NetworkDefinition;
    const subnets = [{ subnet: '127.7.0.0/24', gateway: '127.7.0.1' }];
    writeFileSync(file, JSON.stringify({ ...definition, subnets }));
    await daemon.start();
    const { text } = await daemon.get('/v1/doctor');
    assert.match(
      text,
      /network bad is not raised: subnet 127\.7\.0\.0\/24 can be no network: 127\.0\.0\.0\/8 is loopback/,
    );
    const before = inspectKernel();
    await daemon.done({ type: 'create', id: 'a', networks: on('bad') });
    assert.is(said(await daemon.event({ type: 'configure', id: 'a' })), '400 SUBNET_RESERVED');
    await daemon.down('a');
    assert.equal(inspectKernel(), before);
    await daemon.network({ name: 'good' });
    await daemon.up('b', { networks: on('good') });
    assert.is(said(await daemon.event({ type: 'connect', id: 'b', network: 'bad' })), '400 SUBNET_RESERVED');
    await daemon.down('b');
    for (const name of ['bad', 'good']) assert.is((await daemon.request('DELETE', `/v1/networks/${name}`)).status, 204);
  },
);

reserved('create and update of a network refuse reserved subnets, in both families', async () => {
  await daemon.network({ name: 'web' });
  for (const subnet of ['127.0.0.0/24', '0.0.0.0/1', '::ffff:127.0.0.0/120', 'fe80::/64', '::/0']) {
    const subnets = [{ subnet }];
    assert.is(
      said(await daemon.request('POST', '/v1/networks', { name: 'x', subnets })),
      '400 SUBNET_RESERVED',
      subnet,
    );
    assert.is(said(await daemon.request('PATCH', '/v1/networks/web', { subnets })), '400 SUBNET_RESERVED', subnet);
  }
  await daemon.request('DELETE', '/v1/networks/web');
});

reserved('no port is published on an address that no host has, and an IPv4-mapped one counts as IPv4', async () => {
  await daemon.up('a', { networks: on('cleat') });
  for (const host_ip of ['224.0.0.1', '255.255.255.255', '0.0.0.1', 'ff02::1']) {
    const port_mappings = [port(8080, 80, { host_ip })];
    assert.is(said(await daemon.event({ type: 'publish', id: 'a', port_mappings })), '400 BAD_REQUEST', host_ip);
    assert.is(said(await daemon.event({ type: 'create', id: 'x', port_mappings })), '400 BAD_REQUEST', host_ip);
  }
  const port_mappings = [port(8080, 80, { host_ip: '::ffff:127.0.0.1' })];
  const { ports } = await daemon.done({ type: 'publish', id: 'a', port_mappings });
  assert.equal(
    ports.map(({ host_ip }) => host_ip),
    ['127.0.0.1'],
  );
  await daemon.down('a');
});

reserved('an alias that means the asker’s own host is refused, by create and by connect', async () => {
  await daemon.network({ name: 'web' });
  await daemon.up('a', { networks: {} });
  for (const alias of ['localhost', 'db.localhost', 'host.docker.internal', 'Host.Containers.Internal']) {
    const options = { aliases: [alias] };
    assert.is(said(await daemon.event({ type: 'create', id: 'x', networks: { web: options } })), '400 BAD_REQUEST');
    assert.is(said(await daemon.event({ type: 'connect', id: 'a', network: 'web', options })), '400 BAD_REQUEST');
  }
  await daemon.done({ type: 'connect', id: 'a', network: 'web', options: { aliases: ['www.example.com'] } });
  await daemon.down('a');
});

reserved.run();

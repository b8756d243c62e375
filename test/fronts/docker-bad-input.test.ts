/**
 * Bad input to the socket for Docker's clients, route by route: a status and a message in Docker's form, and nothing has changed.
 *
 * as user: every day
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, TestDaemon } from '../harness/daemon.ts';
import { assertComesBackTo, calm, inspect, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
daemon.dockerSocket = `${daemon.directory}/docker.sock`;
const bad = suite('docker bad input');
let before: Picture;

bad.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }] });
  await daemon.up('c1', { networks: on('web') });
  await calm();
  before = inspect(daemon);
});
bad.after.each(() => assertComesBackTo(before, () => inspect(daemon)));
bad.after(async () => {
  await daemon.stop();
});

type Row = [method: string, path: string, body: unknown, status: number, message: RegExp];

async function refused([method, path, body, status, message]: Row): Promise<void> {
  const answer = await daemon.docker(method, path, body);
  const said = `${method} ${path} ${JSON.stringify(body)}: ${answer.status} ${answer.text}`;
  assert.is(answer.status, status, said);
  assert.is(answer.headers['content-type'], 'application/json', said);
  assert.equal(Object.keys(answer.body), ['message'], said);
  assert.match(answer.body.message, message, said);
}

const CREATE = '/v1.50/networks/create';
const filters = (text: string) => `filters=${encodeURIComponent(text)}`;
const long = 'x'.repeat(5000);

const ROWS: Record<string, Row[]> = {
  'a body that is no JSON, or not of the form': [
    ['POST', CREATE, '', 400, /no body/],
    ['POST', CREATE, '{', 400, /JSON/],
    ['POST', CREATE, 'null', 400, /./],
    ['POST', CREATE, '[]', 400, /./],
    ['POST', CREATE, '{"__proto__":{"Name":"x"}}', 400, /./],
    ['POST', CREATE, {}, 400, /^Name: /],
    ['POST', CREATE, { Name: 1 }, 400, /^Name: /],
    ['POST', CREATE, { name: 'x' }, 400, /./],
    ['POST', CREATE, { Name: 'x', Options: { mtu: 1500 } }, 400, /^Options\.mtu: /],
    ['POST', CREATE, { Name: 'x', Labels: [] }, 400, /^Labels: /],
    ['POST', CREATE, { Name: 'x', IPAM: { Config: {} } }, 400, /^IPAM\.Config: /],
    [
      'POST',
      CREATE,
      { Name: 'x', IPAM: { Config: Array.from({ length: 17 }, () => ({ Subnet: '10.1.0.0/24' })) } },
      400,
      /./,
    ],
    ['POST', '/networks/web/connect', '', 400, /no body/],
    ['POST', '/networks/web/connect', {}, 400, /^Container: /],
    ['POST', '/networks/web/connect', { Container: 'c1', EndpointConfig: [] }, 400, /^EndpointConfig: /],
    ['POST', '/networks/web/disconnect', '', 400, /no body/],
    ['POST', '/networks/web/disconnect', { Container: 'c1', Force: 'yes' }, 400, /^Force: /],
  ],
  'names that can be none': [
    ['POST', CREATE, { Name: '' }, 400, /network name/],
    ['POST', CREATE, { Name: '../x' }, 400, /network name/],
    ['POST', CREATE, { Name: long }, 400, /./],
    ['POST', CREATE, { Name: 'x', Driver: '__proto__' }, 400, /could not find plugin/],
    ['POST', CREATE, { Name: 'x', Options: { 'com.docker.network.bridge.name': '../../x' } }, 400, /interface name/],
    ['POST', CREATE, { Name: 'x', Options: { 'com.docker.network.bridge.name': 'all' } }, 400, /./],
    ['GET', '/networks/..%2f..%2fetc', undefined, 404, /not found/],
    ['GET', `/networks/${long}`, undefined, 400, /./],
    ['GET', '/networks/%ff', undefined, 400, /./],
    ['GET', '/networks/toString', undefined, 404, /^network toString not found$/],
    ['DELETE', '/networks/toString', undefined, 404, /^network toString not found$/],
    ['GET', '/containers/..%2fx/json', undefined, 400, /./],
    ['GET', '/containers/toString/json', undefined, 404, /^No such container: toString$/],
    ['POST', '/networks/web/connect', { Container: '' }, 400, /an id is/],
    ['POST', '/networks/web/connect', { Container: 'a b' }, 400, /an id is/],
    ['POST', '/networks/nowhere/connect', { Container: 'c1' }, 404, /^network nowhere not found$/],
    ['POST', '/networks/nowhere/disconnect', { Container: 'c1' }, 404, /^network nowhere not found$/],
    ['POST', '/networks/web/disconnect', { Container: 'nobody' }, 404, /^No such container: nobody$/],
  ],
  'addresses and options that cannot be': [
    ['POST', CREATE, { Name: 'x', IPAM: { Config: [{ Subnet: '10.300.0.0/24' }] } }, 400, /subnet/],
    ['POST', CREATE, { Name: 'x', IPAM: { Config: [{ Subnet: '127.0.0.0/8' }] } }, 400, /./],
    ['POST', CREATE, { Name: 'x', IPAM: { Config: [{ Subnet: '10.1.0.0/24', Gateway: '10.2.0.1' }] } }, 400, /./],
    ['POST', CREATE, { Name: 'x', Options: { 'com.docker.network.driver.mtu': '-1' } }, 400, /mtu/],
    ['POST', CREATE, { Name: 'x', Driver: 'macvlan', Options: { parent: '' } }, 400, /./],
    ['POST', '/networks/web/connect', { Container: 'c1', EndpointConfig: { MacAddress: 'x' } }, 400, /MAC/],
    ['POST', '/networks/web/connect', { Container: 'c1', EndpointConfig: { GwPriority: 2 ** 40 } }, 400, /./],
  ],
  parameters: [
    ['GET', '/networks?colour=red', undefined, 400, /colour/],
    ['GET', '/networks?filters=x', undefined, 400, /^invalid filter/],
    ['GET', `/networks?${filters('{"name":{"web":true}}')}&${filters('{}')}`, undefined, 400, /filters/],
    ['GET', `/networks?${filters('{"__proto__":{"x":true}}')}`, undefined, 400, /^invalid filter/],
    ['GET', `/networks?${filters('{"name":["(((((.*)*)*)*)*)$"]}')}`, undefined, 400, /^invalid filter 'name=/],
    ['GET', '/networks/web?size=1', undefined, 400, /size/],
    ['GET', '/networks/web?scope=swarm', undefined, 404, /not found in scope swarm/],
    ['POST', `${CREATE}?x=1`, { Name: 'x' }, 400, /x/],
    ['POST', '/networks/web/connect?x=1', { Container: 'c1' }, 400, /x/],
    ['DELETE', '/networks/web?force=1', undefined, 400, /force/],
    ['POST', `/networks/prune?${filters('{"dangling":["true"]}')}`, undefined, 400, /^invalid filter 'dangling'/],
    ['POST', `/networks/prune?${filters('{"until":["soon"]}')}`, undefined, 400, /^invalid moment 'soon'/],
    ['GET', '/containers/json?all=perhaps', undefined, 400, /all/],
    ['GET', '/containers/json?limit=-1', undefined, 400, /limit/],
    ['GET', '/containers/json?size=1', undefined, 400, /no size/],
    ['GET', `/containers/json?${filters('{"ancestor":["x"]}')}`, undefined, 400, /^invalid filter 'ancestor'/],
    ['GET', '/containers/c1/json?size=true', undefined, 400, /no size/],
    ['GET', '/events?since=yesterday', undefined, 400, /^invalid moment/],
    ['GET', '/events?until=1e9', undefined, 400, /^invalid moment/],
    ['GET', `/events?${filters('{"type":["image"]}')}`, undefined, 400, /^invalid filter 'type=image'/],
    ['GET', '/events?follow=1', undefined, 400, /follow/],
  ],
  'versions and routes': [
    ['GET', '/v1.51/networks', undefined, 400, /too new/],
    ['GET', '/v9.1/_ping', undefined, 400, /too new/],
    ['GET', '/v1.40/networks', undefined, 400, /too old/],
    ['GET', '/v1.50', undefined, 501, /is not supported/],
    ['GET', '/', undefined, 501, /is not supported/],
    ['GET', '/v1/networks', undefined, 501, /is not supported/],
    ['POST', '/v1/events', { type: 'teardown', id: 'c1' }, 501, /is not supported/],
    ['POST', '/v1.50/containers/create', { Image: 'x' }, 501, /^POST \/v1\.50\/containers\/create is not supported/],
    ['PATCH', '/networks/web', { Name: 'x' }, 501, /is not supported/],
    ['GET', '/images/json', undefined, 501, /is not supported/],
  ],
};

for (const [what, rows] of Object.entries(ROWS)) {
  bad(what, async () => {
    for (const row of rows) await refused(row);
  });
}

bad.run();

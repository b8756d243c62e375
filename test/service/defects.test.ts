// slow: 30 s, a machine that containers share is created again only after a second
/**
 * A defect that is planted in one action of a machine stops that machine and nothing else. The snapshot of a container
 * stays as it was, and the next event or the next start takes it up. A machine that containers share is created again a
 * second later, with everything that they have.
 */
import { readFileSync, rmSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addressOf, on, port, TestDaemon } from '../harness/daemon.ts';
import { defective, plant } from '../harness/defects.ts';
import { endSleepers, sleeper } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { calm, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { rounds } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const file = `${daemon.directory}/defect`;
daemon.environment = defective(file);
const defects = suite('defects');
const twice = rounds(defects, daemon);

const mend = () => rmSync(file, { force: true });
const fileOf = (id: string) => readFileSync(`${daemon.runDir}/containers/${id}.json`, 'utf8');

defects.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.78.0.0/24' }, { subnet: 'fd00:78::/64' }] });
  await daemon.network({ name: 'one', subnets: [{ subnet: '10.79.0.0/30' }] });
  await daemon.network({ name: 'named', subnets: [{ subnet: '10.80.0.0/24' }], dns_enabled: true });
});
defects.after(async () => {
  mend();
  endSleepers();
  await daemon.stop();
});
defects.after.each(mend);

/**
 * Checks that waiting requests are answered, the daemon and its other containers go on, and nothing on disk or in the
 * kernel changes.
 */
async function stopped(id: string, cause: () => Promise<{ status: number; text: string }>): Promise<void> {
  const [pid, snapshot] = [daemon.pid, fileOf(id)];
  const waits = daemon.get(`/v1/containers/${id}?wait=teardownFailed&timeout=5000`);
  const { status, text } = await cause();
  assert.is(status, 500, text);
  assert.match(text, /"INTERNAL".*a defect in cleat has stopped the machine of container .*planted in/);
  assert.match((await waits).text, /planted in/);
  const late = await daemon.get(`/v1/containers/${id}?wait=created&timeout=5000`);
  assert.match(late.text, /planted in/);
  const { body } = await daemon.get(`/v1/containers/${id}`);
  assert.equal([body.state, body.fault?.code], ['error', 'INTERNAL']);
  const history = await daemon.get<{ to: string }[]>(`/v1/containers/${id}/history`);
  assert.is(history.body.at(-1)?.to, 'error');
  assert.is((await daemon.event({ type: 'create', id })).body.error?.code, 'CONTAINER_EXISTS');
  const other = await daemon.up('other', { networks: on('web') });
  await daemon.down('other');
  assert.is.not(addressOf(other, 'web'), '');
  assert.equal([daemon.pid, fileOf(id)], [pid, snapshot]);
}

const WAYS = {
  'the next event': () => daemon.done({ type: 'reload', id: 'a' }),
  'a start after a stop': () => daemon.stop().then(() => daemon.start()),
  'a start after a kill': () => daemon.kill().then(() => daemon.start()),
};
for (const [what, way] of Object.entries(WAYS)) {
  twice(`a defect in a container that is up is an error, and ${what} brings it up again`, async () => {
    const up = await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
    await calm();
    const kernel = inspectKernel();
    plant(file, 'beginReload');
    await stopped('a', () => daemon.event({ type: 'reload', id: 'a' }));
    mend();
    await way();
    const { body } = await daemon.get('/v1/containers/a?wait=up');
    assert.equal([body.state, body.fault, body.networks, body.ports], ['up', null, up.networks, up.ports]);
    assert.equal(inspectKernel(), kernel);
    await daemon.clean();
    await daemon.down('a');
  });
}

twice('a defect in the middle of an operation releases what was granted, and the container can go on', async () => {
  await daemon.done({ type: 'create', id: 'a', networks: on('one') });
  const configure = () => daemon.event({ type: 'configure', id: 'a' });
  for (const word of ['plan', 'nextTodo', 'adopt']) {
    plant(file, word);
    const { status, body } = await configure();
    assert.equal([status, body.error?.code], [500, 'INTERNAL'], word);
    mend();
    // The snapshot decides where the container goes on: before the request, or in the middle of it.
    const again = await configure();
    assert.ok([200, 409].includes(again.status), again.text);
    assert.is((await daemon.get('/v1/containers/a?wait=up')).body.state, 'up');
    await daemon.clean();
    await daemon.done({ type: 'disconnect', id: 'a', network: 'one' });
    await daemon.done({ type: 'teardown', id: 'a' });
    await daemon.gone('a');
    await daemon.done({ type: 'create', id: 'a', networks: on('one') });
  }
  plant(file, 'plan');
  assert.is((await configure()).status, 500);
  mend();
  // Its network has one address, which is free for the next container.
  await daemon.down('a');
  await daemon.up('b', { networks: on('one') });
  await daemon.down('b');
});

twice('a defect at a create leaves no container, and it can be created then', async () => {
  plant(file, 'noNamespace');
  const { status, body } = await daemon.event({ type: 'create', id: 'a' });
  assert.equal([status, body.error?.code], [500, 'INTERNAL']);
  assert.is((await daemon.get('/v1/containers/a')).status, 404);
  mend();
  await daemon.up('a', { networks: on('web') });
  await daemon.down('a');
});

twice('a container in error is torn down when its process ends', async () => {
  const { pid = 0 } = await sleeper();
  await daemon.up('a', { networks: on('web'), bound_to: pid });
  plant(file, 'beginReload');
  assert.is((await daemon.event({ type: 'reload', id: 'a' })).status, 500);
  mend();
  process.kill(pid);
  await until('it is gone', async () => (await daemon.get('/v1/containers/a')).status === 404);
});

/** Each machine that containers share, and the action in it that is made to fail. */
const SHARED = {
  'a network, when somebody joins': 'join',
  'the firewall, when it is compared': 'noteVerifier',
  'the resolver, when a name is given': 'register',
  'the host ports, when one is claimed': 'claim',
};
for (const [what, word] of Object.entries(SHARED)) {
  twice(
    `a defect in ${what}: the request is refused, others keep what they have, and the machine is back`,
    async () => {
      const ports = (host: number) => ({ port_mappings: [port(host, 80)] });
      await daemon.up('a', { networks: on('named'), ...ports(8080) });
      await daemon.up('c', { networks: on('named'), ...ports(8082) });
      const kernel = inspectKernel();
      plant(file, word);
      await daemon.done({ type: 'create', id: 'b', networks: on('named'), ...ports(8081) });
      const { status, body } =
        word === 'noteVerifier'
          ? await daemon.event({ type: 'reload', id: 'a' })
          : await daemon.event({ type: 'configure', id: 'b' });
      assert.equal([status, body.error?.code], [500, 'INTERNAL'], JSON.stringify(body));
      assert.match(body.error?.message ?? '', /planted in/);
      const doctor = await daemon.get<{ checks: { text: string }[] }>('/v1/doctor');
      assert.ok(
        doctor.body.checks.some(({ text }) => text.includes('planted in')),
        doctor.text,
      );
      mend();
      await until('it is there again', async () => (await daemon.event({ type: 'configure', id: 'b' })).status === 200);
      await daemon.clean();
      // Nobody else has an address or port of before.
      const taken = await daemon.event({ type: 'publish', id: 'b', ...ports(8080) });
      assert.is(taken.body.error?.code, 'PORT_TAKEN');
      const b = (await daemon.get('/v1/containers/b')).body;
      const addresses = await Promise.all(
        ['a', 'c'].map(async (id) => (await daemon.get(`/v1/containers/${id}`)).body),
      );
      assert.not.ok(addresses.some((one) => addressOf(one as never, 'named') === addressOf(b as never, 'named')));
      await daemon.down('b');
      assert.equal(inspectKernel(), kernel);
      await daemon.down('a', 'c');
    },
  );
}

twice('a defect in a network during a disconnect is overcome: the teardown is tried again, and ends', async () => {
  await daemon.up('a', { networks: on('web') });
  plant(file, 'leave');
  await daemon.event({ type: 'teardown', id: 'a' });
  await until('it failed', async () => (await daemon.get('/v1/containers/a')).body.state === 'teardownFailed');
  mend();
  await daemon.gone('a');
});

defects.run();

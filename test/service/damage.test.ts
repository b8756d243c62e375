/** The daemon starts on files that it cannot use: each is set aside and reported, and everything else goes on. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asAnswered, on, TestDaemon } from '../harness/daemon.ts';
import { assertComesBackTo, inspect } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const damage = suite('damage');

damage.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/24' }] });
});
damage.after(async () => {
  await daemon.stop();
});

const file = (id: string) => `${daemon.runDir}/containers/${id}.json`;

/** The doctor's findings about state. */
async function complaints(): Promise<string[]> {
  const { body } = await daemon.get<{ checks: { name: string; ok: boolean; text: string }[] }>('/v1/doctor');
  return body.checks.filter(({ name, ok }) => name === 'state' && !ok).map(({ text }) => text);
}

const DAMAGES: Record<string, (text: string) => string> = {
  'cut-short': (text) => text.slice(0, text.length / 2),
  empty: () => '',
  'no-snapshot': () => '{"machine":"container"}',
  'other-version': (text) => text.replace(/"version":"\d+"/, '"version":"999"'),
  'unknown-state': (text) => text.replace('"value":"up"', '"value":"dancing"'),
  'other-id': (text) => text.replaceAll('"id":"other-id"', '"id":"another"'),
  'no-context': (text) => text.replace('"context":', '"contents":'),
};

damage('snapshots that cannot be used are set aside and reported, and the others live on', async () => {
  const before = inspect(daemon);
  const ids = Object.keys(DAMAGES);
  for (const id of ids) await daemon.up(id, { networks: {} });
  const good = await daemon.up('good', { networks: on('web') });
  await daemon.stop();
  const whole = new Map(ids.map((id) => [id, readFileSync(file(id), 'utf8')]));
  for (const [id, spoil] of Object.entries(DAMAGES)) {
    const text = spoil(whole.get(id)!);
    assert.is.not(text, whole.get(id), id);
    writeFileSync(file(id), text);
  }
  await daemon.start();
  assert.equal(asAnswered((await daemon.get('/v1/containers/good?wait=up')).body), good);
  const told = await complaints();
  for (const [id, spoil] of Object.entries(DAMAGES)) {
    assert.is((await daemon.get(`/v1/containers/${id}`)).status, 404, id);
    assert.is(readFileSync(`${file(id)}.unreadable`, 'utf8'), spoil(whole.get(id)!), id);
    assert.ok(
      told.some((text) => text.includes(`${id}.json.unreadable`)),
      `${id} is not reported`,
    );
  }
  const audit = await daemon.get<{ findings: { kind: string; problem: string }[] }>('/v1/audit');
  assert.is(
    audit.body.findings.filter(({ kind, problem }) => kind === 'namespace' && problem === 'leaked').length,
    ids.length,
  );
  // Once the files are repaired by hand, the daemon goes on from them.
  await daemon.stop();
  for (const id of ids) {
    renameSync(`${file(id)}.unreadable`, file(id));
    writeFileSync(file(id), whole.get(id)!);
  }
  await daemon.start();
  assert.equal(await complaints(), []);
  await daemon.down('good', ...ids);
  await assertComesBackTo(before, () => inspect(daemon));
});

damage('a network definition that cannot be read is set aside, and the others live on', async () => {
  await daemon.stop();
  const path = `${daemon.stateDir}/networks/torn.json`;
  writeFileSync(path, '{"name":"torn"');
  await daemon.start();
  assert.ok(existsSync(`${path}.unreadable`));
  assert.ok((await complaints()).some((text) => text.includes('torn.json.unreadable')));
  assert.is((await daemon.get('/v1/networks/web')).status, 200);
});

damage('a record of an outside that cannot be used is set aside, and the containers there live on', async () => {
  const path = `${daemon.runDir}/outsides/own.json`;
  const good = await daemon.up('good', { networks: on('web') });
  for (const text of ['null', '{}', '{"outside":null,"bootId":1,"found":null}']) {
    await daemon.stop();
    writeFileSync(path, text);
    await daemon.start();
    assert.equal(asAnswered((await daemon.get('/v1/containers/good?wait=up')).body), good, text);
    assert.is(readFileSync(`${path}.unreadable`, 'utf8'), text);
    assert.ok((await complaints()).some((line) => line.includes('own.json.unreadable')));
    rmSync(`${path}.unreadable`);
  }
  await daemon.down('good');
});

damage('records of another boot are dropped: nothing that they name can exist', async () => {
  const up = await daemon.up('old', { networks: {} });
  await daemon.stop();
  const path = up.netns.path ?? '';
  execFileSync('umount', [path]);
  execFileSync('rm', [path]);
  const text = readFileSync(file('old'), 'utf8');
  writeFileSync(file('old'), text.replace(/"bootId":"[^"]*"/, '"bootId":"00000000-0000-0000-0000-000000000000"'));
  await daemon.start();
  assert.is((await daemon.get('/v1/containers/old')).status, 404);
  assert.equal(readdirSync(`${daemon.runDir}/containers`), []);
  assert.equal(readdirSync(`${daemon.runDir}/journal`), []);
  const audit = await daemon.get<{ clean: boolean }>('/v1/audit');
  assert.is(audit.body.clean, true, audit.text);
});

damage.run();

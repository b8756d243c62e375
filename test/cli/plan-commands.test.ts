// slow: 25 s, each command is a process of its own, and Node takes a moment to start
/**
 * `--dry-run` and `cleat apply` as a user types them.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView, Gone } from '../../state/answers/container/container.ts';
import type { Plan } from '../../state/answers/container/plan.ts';
import { on, port } from '../harness/daemon.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { Shell } from './shell.ts';

requirePrivateNamespace();

const shell = new Shell();
const commands = suite('plan-commands');

commands.before(async () => {
  await shell.startDaemon();
  await shell.api.network({ name: 'back', subnets: [{ subnet: '10.90.0.0/24' }] });
});
commands.after(async () => void (await shell.endDaemon('SIGTERM')));
commands.after.each(async () => {
  await clear(shell.api);
  await shell.api.clean();
});

/** Returns the hash that a printed plan names, or the text if it names none. */
const hashIn = (text: string): string => /cleat apply --plan ([0-9a-f]{64})$/m.exec(text)?.[1] ?? text;

commands('every lifecycle command says what it would do, and does nothing', async () => {
  const created = await shell.ok('create', 'web', '--network', 'back:ip=10.90.0.5', '-p', '8080:80', '--dry-run');
  assert.match(
    created,
    /^create web: no container -> created\n {2}1\. container creating: pin the network namespace at \//,
  );
  assert.is((await shell.api.get('/v1/containers/web')).status, 404);

  await shell.api.done({ type: 'create', id: 'web', networks: on('back'), port_mappings: [port(8080, 80)] });
  const configured = await shell.ok('configure', 'web', '--dry-run');
  assert.match(configured, /^configure web: created -> up\n +1\. container configuring\.leasing: request addresses/);
  assert.match(configured, /\nIt gets eth0 on back: 10\.90\.0\.2\/24, MAC \S+\nIt gets \*:8080->80\/tcp\n/);
  await shell.api.done({ type: 'configure', id: 'web' });

  const before = await shell.api.get('/v1/containers/web');
  for (const [line, said] of [
    ['connect cleat web', /It gets eth1 on cleat: 10\./],
    ['disconnect back web', /attachment unlinking: remove the link \S+ to eth0 on /],
    ['publish web 9090', /It gets \*:49152->9090\/tcp/],
    ['unpublish web 8080:80', /no longer lead \*:8080\/tcp to 10\.90\.0\.2:80/],
    ['reload web', /firewall verifying: compare the table/],
    ['reload --full web', /attachment replacing: replace the link/],
    ['reload --all', /^reload web: up -> up\n/],
    ['teardown web', /^teardown web: up -> gone\n/],
  ] as const) {
    assert.match(await shell.ok(...line.split(' '), '--dry-run'), said);
  }
  assert.equal((await shell.api.get('/v1/containers/web')).body, before.body);
});

commands('a plan is applied, and answers as the command that it was made by', async () => {
  await shell.api.done({ type: 'create', id: 'web', networks: on('back') });
  const plan = await shell.json<Plan>('configure', 'web', '--dry-run');
  assert.is(plan.to, 'up');
  assert.is(await shell.ok('apply', '--plan', plan.hash), 'web');
  const published = await shell.ok('publish', 'web', '9090', '--dry-run');
  assert.is(await shell.ok('apply', '--plan', hashIn(published)), '*:49152->9090/tcp');
  const reloaded = hashIn(await shell.ok('reload', 'web', '--dry-run'));
  assert.is((await shell.json<ContainerView>('apply', '--plan', reloaded)).state, 'up');
});

commands('several are planned and applied side by side; a missing container is no error with --ignore', async () => {
  for (const id of ['a', 'b']) await shell.api.up(id, { networks: on('back') });
  const { code, stdout, stderr } = await shell.cleat('teardown', 'a', 'nobody', 'b', '--dry-run');
  assert.equal(
    [code, stderr.split('\n')[0]],
    [1, 'Error: no container with name or ID "nobody" found: no such container'],
  );
  const hashes = [...stdout.matchAll(/--plan (\w+)/g)].map(([, hash = '']) => hash);
  assert.is(hashes.length, 2);
  const plans = await shell.json<Plan[]>('teardown', '--ignore', 'a', 'nobody', 'b', '--dry-run');
  assert.equal(
    plans.map(({ id }) => id),
    ['a', 'b'],
  );
  const gone = await shell.json<Gone[]>('apply', ...hashes.flatMap((hash) => ['--plan', hash]));
  assert.equal(gone, [
    { id: 'a', state: 'gone' },
    { id: 'b', state: 'gone' },
  ]);
});

commands('what cannot be, or is not so any more, is said with a code of its own', async () => {
  const missing = await shell.cleat('configure', 'web', '--dry-run', '--format', 'json');
  assert.is(missing.code, 1);
  assert.is((JSON.parse(missing.stderr) as { error: { code: string } }).error.code, 'NO_SUCH_CONTAINER');
  const unknown = await shell.cleat('apply', '--plan', 'nonsense/../../x');
  assert.equal([unknown.code, unknown.stdout], [1, '']);
  assert.match(
    unknown.stderr,
    /^Error: no plan nonsense\/\.\.\/\.\.\/x of uid 0 is kept\nHint: A plan is kept ten minutes/,
  );
  await shell.api.done({ type: 'create', id: 'web', networks: on('back') });
  const hash = hashIn(await shell.ok('configure', 'web', '--dry-run'));
  await shell.api.done({ type: 'publish', id: 'web', port_mappings: [port(8080, 80)] });
  const outdated = await shell.cleat('apply', '--plan', hash);
  assert.is(outdated.code, 1);
  assert.match(
    outdated.stderr,
    /^Error: the configure of web is not what was planned: container web: created after publish/,
  );
  const none = await shell.cleat('apply');
  assert.equal([none.code, none.stdout], [2, '']);
});

commands.run();

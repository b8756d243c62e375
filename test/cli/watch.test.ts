// slow: 25 s, each command is a process of its own, and the daemon ends and starts while one watches
/**
 * `cleat watch` in a terminal, as a person sees it, and in a pipe; and `cleat why`, whose exit code scripts rely on.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Why } from '../../state/answers/container/why.ts';
import { on, port } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { Screen, type Look } from './screen.ts';
import { Shell } from './shell.ts';

requirePrivateNamespace();

const shell = new Shell();
const { api } = shell;
const watch = suite('watch');
const open: Screen[] = [];

const inTerminal = (size: [number, number], ...args: string[]): Screen => {
  const screen = new Screen(shell.environment, size, ...args);
  open.push(screen);
  return screen;
};
const row = (id: string, state: string) => new RegExp(`^${id} +${id} +${state} `);
const shows =
  (...patterns: RegExp[]) =>
  ({ screen, alternate }: Look): boolean =>
    alternate && patterns.every((pattern) => screen.some((line) => pattern.test(line)));

/** The terminal is as it was before the command. */
function assertGivenBack({ alternate, cursor, wrap, screen }: Look): void {
  assert.equal([alternate, cursor, wrap], [false, true, true]);
  assert.equal(
    screen.filter((line) => line !== ''),
    [],
  );
}

watch.before(async () => {
  await shell.startDaemon();
  await api.network({ name: 'web', subnets: [{ subnet: '10.98.0.0/24' }] });
});
watch.after.each(async () => {
  for (const screen of open.splice(0)) screen.close();
  await clear(api);
});
watch.after(async () => void (await shell.endDaemon('SIGTERM')));

watch('a live table: each change is seen, only changed lines are drawn, and q gives the terminal back', async () => {
  await api.done({ type: 'create', id: 'a', networks: on('web'), port_mappings: [port(8080, 80)] });
  await api.done({ type: 'create', id: 'b', networks: on('web') });
  const screen = inTerminal([12, 100], 'watch');
  const first = await screen.until('both are shown', shows(row('a', 'created'), row('b', 'created'), /^q ends$/));
  assert.match(first.screen[0] ?? '', /^ID +NAME +STATE +NETWORKS +ADDRESSES +PORTS +AGE$/);
  assert.equal([first.cursor, first.raw, first.screen[11]], [false, true, 'q ends']);
  assert.is(first.written.split('\x1b[2J').length, 2, 'the screen is cleared once');
  await api.done({ type: 'configure', id: 'a' });
  const up = await screen.until('a is up', shows(/^a +a +up +web +10\.98\.0\.\d+ +\*:8080->80\/tcp +\d+s$/));
  assert.not.ok(up.written.includes('\x1b[12;1H'), 'the last line has not changed');
  assert.not.ok(up.written.includes('\x1b[2J'), 'nothing is cleared');
  await api.done({ type: 'create', id: 'c', networks: {} });
  await screen.until('c has come', shows(row('c', 'created')));
  await api.down('b');
  const gone = await screen.until('b has gone', ({ screen: lines }) => !lines.some((line) => line.startsWith('b ')));
  assert.ok(shows(row('a', 'up'), row('c', 'created'))(gone));
  await screen.type('x\x1b[Zé'); // keys without a meaning
  await screen.type('q');
  const end = await screen.ended();
  assert.is(end.ended, 0);
  assertGivenBack(end);
});

watch('Ctrl-C ends it, as signals do; Ctrl-Z stops it, and it goes on where it was', async () => {
  await api.done({ type: 'create', id: 'a', networks: {} });
  const screen = inTerminal([10, 80], 'watch');
  await screen.until('a is shown', shows(row('a', 'created')));
  await screen.type('\x1a');
  const stopped = await screen.until('it has stopped', (look) => look.stopped);
  assertGivenBack(stopped);
  assert.is(stopped.raw, false);
  await api.done({ type: 'configure', id: 'a' });
  await screen.signal(18); // SIGCONT
  await screen.until('a is up', shows(row('a', 'up')));
  await screen.type('\x03');
  const end = await screen.ended();
  assert.is(end.ended, 0);
  assertGivenBack(end);
  for (const signal of [1, 3]) {
    const other = inTerminal([10, 80], 'watch');
    await other.until('a is shown', shows(row('a', 'up')));
    await other.signal(signal);
    const killed = await other.ended();
    assert.is(killed.ended, 128 + signal);
    assertGivenBack(killed);
  }
});

watch('another size is drawn at once, and more rows than fit are scrolled', async () => {
  const ids = Array.from({ length: 20 }, (_, n) => `c${String(n).padStart(2, '0')}`);
  await Promise.all(ids.map((id) => api.done({ type: 'create', id, networks: {} })));
  const order = (await api.get<ContainerView[]>('/v1/containers')).body.map(({ id }) => id);
  const [first = '', second = ''] = order;
  const last = order.at(-1) ?? '';
  const screen = inTerminal([8, 60], 'watch');
  await screen.until('the first rows', shows(row(first, 'created'), /^rows 1-6 of 20; arrows scroll; q ends$/));
  await screen.type('\x1b[B');
  const down = await screen.until('one further', shows(/^rows 2-7 of 20/));
  assert.match(down.screen[1] ?? '', row(second, 'created'));
  await screen.type('G');
  await screen.until('the end', shows(row(last, 'created'), /^rows 15-20 of 20/));
  await screen.type('\x1b[5~k');
  await screen.until('a page and a row back', shows(/^rows 8-13 of 20/));
  await screen.resize(24, 30);
  const large = await screen.until('all of them', shows(row(first, ''), /^q ends$/));
  assert.ok(large.screen.every((line) => line.length <= 30));
  await screen.resize(3, 60);
  await screen.until('one of them', shows(/^rows 1-1 of 20/));
  await screen.resize(1, 5);
  await screen.until('nothing but the heading', ({ screen: lines }) => lines.join() === 'ID');
  await screen.type('q');
  assert.is((await screen.ended()).ended, 0);
});

watch('the daemon ends: the last table stays and says so, and goes on when it runs again', async () => {
  await api.done({ type: 'create', id: 'a', networks: on('web') });
  const screen = inTerminal([10, 90], 'watch');
  await screen.until('a is shown', shows(row('a', 'created')));
  const list = shell.start('watch');
  await until('it is listed', () => /^a +a +created/m.test(list.so().stdout));
  await shell.endDaemon('SIGKILL');
  await screen.until('it says so', shows(row('a', 'created'), /^the daemon does not answer; waiting for it; q ends$/));
  await until('it says so', () => list.so().stderr === 'the daemon does not answer; waiting for it\n');
  await shell.startDaemon();
  await screen.until('it goes on', shows(row('a', 'created'), /^q ends$/));
  await api.done({ type: 'configure', id: 'a' });
  await screen.until('a is up', shows(row('a', 'up')));
  await until('a is up', () => /^a +a +up +web +10\.98\.0\.\d+/m.test(list.so().stdout));
  list.child.kill('SIGINT');
  const { code, stdout, stderr } = await list.ended;
  assert.is(code, 0);
  assert.is(stderr, 'the daemon does not answer; waiting for it\nthe daemon answers again\n');
  assert.is(stdout.match(/created/g)?.length, 1, 'what has not changed is not said again');
  await screen.signal(15);
  const end = await screen.ended();
  assert.is(end.ended, 128 + 15);
  assertGivenBack(end);
});

watch(
  'in a pipe: a heading, a row for each container, then one for each change; as JSON, one object a line',
  async () => {
    await api.done({ type: 'create', id: 'a', networks: on('web') });
    const [table, json] = [shell.start('watch'), shell.start('watch', '--format', 'json')];
    const views = () =>
      json
        .so()
        .stdout.split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as ContainerView);
    await until('it is listed', () => table.so().stdout.includes('created') && views().length > 0);
    await api.done({ type: 'configure', id: 'a' });
    await until('it is up', () => /^a +a +up/m.test(table.so().stdout) && views().some(({ state }) => state === 'up'));
    await api.down('a');
    await until('it is gone', () => /^a +gone$/m.test(table.so().stdout) && views().at(-1)?.state === 'gone');
    const lines = table.so().stdout.split('\n');
    assert.match(lines[0] ?? '', /^ID +NAME/);
    assert.not.ok(table.so().stdout.includes('\x1b'));
    assert.equal(views().at(-1), { id: 'a', state: 'gone' });
    for (const { child, ended } of [table, json]) {
      child.kill('SIGINT');
      assert.is((await ended).code, 0);
    }
    const absent = await shell.cleat('watch', '--socket', '/run/absent');
    assert.equal([absent.code, absent.stdout], [3, '']);
  },
);

watch('why: the verdict first, 0 when all is well and 1 when not', async () => {
  await api.done({ type: 'create', id: 'a', name: 'shop', networks: on('web') });
  const before = await shell.cleat('why', 'shop');
  assert.equal([before.code, before.stderr], [1, '']);
  const lines = before.stdout.split('\n');
  assert.is(lines[0], 'shop has no network yet: it was created, and is not configured.');
  assert.match(before.stdout, /^ {2}waiting {2}attachment web {2}is made by `configure`$/m);
  assert.match(before.stdout, /^What led there:\n {2}\S+Z {2}It was created\.$/m);
  assert.match(before.stdout, /^What blocks it:\n {2}- Nobody has configured it yet\.$/m);
  assert.match(before.stdout, /^What helps:\n {2}- `cleat configure shop` makes what was requested\.$/m);
  assert.match(before.stdout, /^Possible now: configure, .*teardown$/m);
  await shell.ok('configure', 'shop'); // what it says helps
  assert.match(await shell.ok('why', 'a'), /^shop is up, and nothing is missing\.\n/);
  const why = await shell.json<Why>('why', 'a');
  assert.equal([why.id, why.name, why.well], ['a', 'shop', true]);
  const absent = await shell.cleat('why', 'absent');
  assert.equal([absent.code, absent.stdout], [1, '']);
  assert.match(absent.stderr, /no such container/);
});

watch('events --follow is events', async () => {
  const [plain, follows, short] = [['events'], ['events', '--follow'], ['events', '-f', '--id', 'a']].map((words) =>
    shell.start(...words),
  );
  assert.ok(plain !== undefined && follows !== undefined && short !== undefined);
  await until('all of them have begun to listen', async () => {
    await api.event({ type: 'create', id: 'a', networks: {} });
    await api.down('a');
    return [plain, follows, short].every((one) => one.so().stdout.includes('create done'));
  });
  for (const { child, ended } of [plain, follows, short]) {
    child.kill('SIGINT');
    assert.is((await ended).code, 0);
  }
});

watch.run();

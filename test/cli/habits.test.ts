// slow: 40 s, each command is a process of its own, and Node takes a moment to start
/**
 *
 * What users of Docker, Podman and systemd type, beyond docs/compatibility.md: wrong input of each verb and flag changes nothing, the past
 * of events, lists in a terminal and in colours, completion in the shells themselves, manual pages.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Notification } from '../../state/answers/notification.ts';
import { on } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';
import { Screen } from './screen.ts';
import { Shell } from './shell.ts';

requirePrivateNamespace();

const shell = new Shell();
const { api } = shell;
const habits = suite('habits');
const open: Screen[] = [];
const AWAY = /^Error: cleat does not answer at .*\n/;

habits.before(async () => {
  await shell.startDaemon();
  await api.network({ name: 'back', subnets: [{ subnet: '10.90.0.0/24' }] });
});
habits.after.each(async () => {
  for (const screen of open.splice(0)) screen.close();
  await clear(api);
  await api.clean();
});
habits.after(async () => void (await shell.endDaemon('SIGTERM')));

habits('wrong input is refused in words, and changes nothing', async () => {
  await api.up('web', { networks: on('back') });
  const everything = async () => [
    (await api.get('/v1/networks')).text,
    await shell.ok('ps', '--format', 'id,state,ports'),
  ];
  const before = await everything();
  const cases: [string, number, RegExp][] = [
    ['network create --subnet x', 2, /invalid --subnet "x"/],
    ['network create --subnet 10.90.0.0/25', 1, /10\.90\.0\.0/],
    ['network create host --ignore', 2, /means something else/],
    ['network create back', 1, /already used\nHint: .*`cleat network rm back`/],
    ['create web', 1, /Hint: .*`cleat rm web`/],
    ['network rm back', 1, /is being used by web\nHint: .*`cleat network rm -f back`/],
    ['network rm nowhere', 1, /nowhere/],
    ['network exists', 2, /missing required argument/],
    ['network prune', 2, /nobody is there to be asked/],
    ['network prune -f --filter stage', 2, /invalid --filter "stage"/],
    ['network prune -f --filter name=x', 2, /invalid --filter "name=x"/],
    ['network connect nowhere web', 1, /nowhere/],
    ['network disconnect cleat web', 1, /not connected/],
    ['network reload', 2, /name containers, or give --all/],
    ['network ls -f driver', 2, /invalid --filter "driver"/],
    ['network ls --format nope', 2, /no column "nope"/],
    ['ps -f nope=1', 2, /invalid --filter "nope=1"/],
    ['ps --format {{.nope}}', 2, /no field "nope"/],
    ['up other --format nope', 2, /invalid --format "nope"/],
    ['up other --ip 10.90.0.1 --network back', 1, /10\.90\.0\.1/],
    ['up', 2, /missing required argument 'id'/],
    ['up ../x', 1, /an id is letters/],
    ['stop', 2, /missing required argument/],
    ['wait nobody', 1, /no container with name or ID "nobody"/],
    ['port web x', 2, /invalid port "x"/],
    ['port web 80', 1, /web has no published port 80\/tcp/],
    ['port nobody', 1, /nobody/],
    ['events --since yesterday', 2, /invalid time "yesterday"/],
    ['events --until x', 2, /invalid time "x"/],
    ['events -f nope=1 --until now', 2, /invalid --filter/],
    ['stats nobody --no-stream', 1, /nobody/],
    ['stats -f name=x', 2, /invalid --filter/],
    ['info much', 2, /too many arguments/],
    ['ps -q --format {{.id}}', 2, /-q prints names alone/],
    ['network ls -q --format name', 2, /-q prints names alone/],
    ['events --filter', 2, /argument missing/],
    ['network create --ignore', 2, /--ignore is about a name/],
    ['network create other --internal --dns 192.0.2.53', 2, /--internal and --dns exclude each other/],
    ['network update back --opt mtu=1400 --opt-drop mtu', 2, /exclude each other/],
    [
      'network update back --subnet-drop 10.90.0.0/24 --ip-range-drop 10.90.0.0/24',
      1,
      /to be changed, and to be removed/,
    ],
    ['run --network host --dns 192.0.2.53 -- true', 125, /--dns is for a namespace of its own/],
    ['run --network container:web --add-host a:192.0.2.1 -- true', 125, /--add-host is for a namespace of its own/],
    ['up other --network host --hostname name', 2, /shares a namespace: it has no hostname name of its own/],
    ['run --expose 80 -- true', 125, /--expose names what -P publishes/],
    ['completion tcsh', 2, /Allowed choices are bash, zsh, fish/],
    ['man', 2, /missing required argument/],
    ['man /dev/null/man', 1, /cannot write \/dev\/null\/man/],
    ['start web', 2, /Here that is `cleat up ID`/],
  ];
  // Several at once, because Node takes a moment to start.
  while (cases.length > 0) {
    await Promise.all(
      cases.splice(0, 6).map(async ([line, code, message]) => {
        const { code: ended, stdout, stderr } = await shell.cleat(...line.split(' '));
        assert.is(ended, code, `${line}: ${stderr}`);
        assert.match(stderr, message, line);
        if (!line.startsWith('stats')) assert.is(stdout, '', line);
      }),
    );
  }
  assert.equal(await everything(), before);
});

habits('network rm -f disconnects who uses it; network create without a name takes the next free one', async () => {
  await api.up('web', { networks: on('back', 'cleat') });
  assert.is(await shell.ok('network', 'create'), 'net1');
  assert.is(await shell.ok('network', 'create', 'net3'), 'net3');
  assert.equal([await shell.ok('network', 'create'), await shell.ok('network', 'create')], ['net2', 'net4']);
  await shell.ok('network', 'connect', 'net1', 'web');
  await shell.ok('create', 'later', '--network', 'net1');
  assert.is(await shell.ok('network', 'rm', '-f', 'net1', 'nowhere'), 'net1\nnowhere');
  assert.is(await shell.ok('inspect', 'web', '--format', '{{.state}} {{.drift}}'), 'up []');
  assert.equal((await shell.ok('network', 'prune', '--force')).split('\n').sort(), ['net2', 'net3', 'net4']);
  assert.equal(await shell.ok('network', 'ls', '-q'), 'back\ncleat');
});

habits('events of networks, machines and the daemon are shown as sentences, and filters know them', async () => {
  const start = String(Date.now() / 1000);
  const past = async (since: string, ...filters: string[]) =>
    (await shell.ok('events', '--since', since, '--until', 'now', ...filters.flatMap((one) => ['--filter', one])))
      .split('\n')
      .map((line) => line.replace(/^\S+ {2}/, ''));
  await shell.ok('network', 'create', 'told', '--subnet', '10.92.0.0/24');
  await shell.ok('up', 'told1', '--network', 'told');
  await shell.ok('rm', 'told1');
  await shell.ok('network', 'rm', 'told');
  assert.equal(await past(start, 'network=told', 'event=network.create', 'event=network.remove'), [
    '-  network.create told requested',
    '-  network.create told done',
    '-  network.remove told requested',
    '-  network.remove told done',
  ]);
  assert.equal(await past(start, 'machine=network', 'network=told'), [
    '-  network told: up',
    '-  network told: up -> down',
  ]);
  assert.equal(await past(start, 'machine=network', 'state=down', 'network=told'), ['-  network told: up -> down']);
  const [started = ''] = await past('0', 'type=daemon', 'action=started');
  assert.match(started, /^- {2}daemon \(pid \d+\) started: version \d/);
});

habits('events of the past come first, once, and --until ends the stream', async () => {
  const start = Date.now();
  await api.up('a', { networks: {} });
  await api.up('b', { networks: {} });
  const past = async (...args: string[]) =>
    (await shell.ok('events', '--since', String(start / 1000), '--until', 'now', '--format', 'json', ...args))
      .split('\n')
      .map((line) => JSON.parse(line) as Notification);
  const all = await past();
  const done = all.filter(({ type }) => type === 'done');
  assert.equal(
    done.map(({ id }) => id),
    ['a', 'a', 'b', 'b'],
  );
  assert.equal(
    [...all].sort((x, y) => x.t - y.t),
    all,
  );
  assert.equal(
    await past('--id', 'b'),
    all.filter(({ id }) => id === 'b'),
  );
  assert.equal(
    await past('-f', 'event=configure', '-f', 'id=a'),
    all.filter((one) => one.id === 'a' && 'event' in one && one.event === 'configure'),
  );
  const following = shell.start(
    'events',
    '--since',
    String(start / 1000),
    '--until',
    String(Date.now() / 1000 + 2),
    '-f',
    'type=done',
  );
  const { code, stdout } = await following.ended;
  assert.is(code, 0);
  assert.is(stdout.trim().split('\n').length, 4);
  for (const query of ['since=x', 'until=-1', 'since=1e3', 'sinse=1'])
    assert.is((await api.get(`/v1/events?${query}`)).status, 400, query);
});

habits(
  'when the daemon ends and no other comes in time, events end with 3 and say why; watch goes on with the next, and a template is for each change',
  async () => {
    const [events, watch] = [
      shell.start('events', '-f'),
      shell.start('watch', '--format', '{{.id}} {{.name}} {{.state}}'),
    ];
    try {
      await until('both hear', async () => {
        await api.up('web', { networks: {}, name: 'other' });
        await api.down('web');
        return events.so().stdout !== '' && watch.so().stdout.includes('web other gone\n');
      });
      assert.match(watch.so().stdout, /^(web other \S+\n)+$/);
      // Who reads the socket itself can tell a stop from a crash by the end of the answer.
      const asked = get({ socketPath: shell.socket, path: '/v1/events' });
      const [answer] = (await once(asked, 'response')) as [IncomingMessage];
      await shell.endDaemon('SIGTERM');
      for await (const _ of answer);
      assert.ok(answer.complete);
      const { code, stderr } = await events.ended;
      assert.is(code, 3);
      assert.match(stderr, AWAY);
      await shell.startDaemon();
      const again = shell.start('events');
      await until('both hear the next daemon', async () => {
        await api.up('new', { networks: {} });
        await api.down('new');
        return again.so().stdout !== '' && watch.so().stdout.includes('new new gone\n');
      });
      await shell.endDaemon('SIGKILL');
      const killed = await again.ended;
      assert.is(killed.code, 3);
      assert.match(killed.stderr, AWAY);
      await shell.startDaemon();
    } finally {
      watch.child.kill('SIGINT');
    }
    assert.is((await watch.ended).code, 0);
  },
);

habits('a template of audit is for each finding, also when there is none', async () => {
  assert.is(await shell.ok('audit', '--format', '{{.KIND}} {{.OBJECT}}'), '');
});

habits('on a terminal, states have colours and stats are live; NO_COLOR and pipes have neither', async () => {
  await api.up('web', { networks: on('back') });
  const inTerminal = (environment: NodeJS.ProcessEnv, ...args: string[]) => {
    const screen = new Screen({ ...shell.environment, ...environment }, [10, 110], ...args);
    open.push(screen);
    return screen;
  };
  const [red, green, end] = [31, 32, 39].map((code) => `\u001b[${code}m`);
  assert.ok((await inTerminal({}, 'ps').ended()).written.includes(`${green}up${end}`));
  assert.not((await inTerminal({ NO_COLOR: '1' }, 'ps').ended()).written.includes('\u001b'));
  assert.not((await shell.ok('ps')).includes('\u001b'));
  assert.ok((await inTerminal({}, 'port', 'nobody').ended()).written.includes(`${red}Error:${end} no container`));
  assert.match((await inTerminal({}, 'stats', '--no-stream').ended()).screen[1] ?? '', /^web +eth0 +back/);
  assert.match((await inTerminal({}, 'stats', '--noheading').ended()).screen[0] ?? '', /^web +eth0 +back/);
  assert.is((await inTerminal({}, 'stats', 'web', 'nobody').ended()).ended, 1);
  const live = inTerminal({}, 'stats');
  await live.until(
    'the table',
    ({ screen, alternate }) => alternate && screen.some((line) => /^web +eth0 +back/.test(line)),
  );
  await api.down('web');
  await live.until('web is gone', ({ screen }) => !screen.some((line) => line.startsWith('web')));
  await live.type('q');
  assert.is((await live.ended()).ended, 0);
});

habits('the completion of each shell offers commands, flags, values and names', async () => {
  await api.up('web', { networks: on('back') });
  const complete = (...words: string[]) => shell.ok('complete', '--', ...words);
  assert.is(await complete('netw'), 'network');
  assert.equal((await complete('network', '')).split('\n').includes('prune'), true);
  assert.is(await complete('exec', 'w'), 'web');
  assert.is(await complete('connect', 'ba'), 'back');
  assert.is(await complete('connect', 'back', ''), 'web');
  assert.is(await complete('network', 'rm', '-f', 'b'), 'back');
  assert.is(await complete('run', '--network', 'b'), 'back');
  assert.is(await complete('run', '--port-handler', 'fi'), 'firewall');
  assert.is(await complete('ps', '--noh'), '--noheading');
  assert.is(await complete('--socket', '/run/none', 'exec', ''), '');
  assert.is(await complete('nonsense', ''), '');

  const directory = join(shell.directory, 'bin');
  mkdirSync(directory);
  writeFileSync(
    join(directory, 'cleat'),
    `#!/bin/sh\nexec ${process.execPath} ${join(import.meta.dirname, '../../bundle/cleat.cjs')} "$@"\n`,
  );
  chmodSync(join(directory, 'cleat'), 0o755);
  const env = { ...shell.environment, PATH: `${directory}:${process.env.PATH}` };
  const script =
    'source <(cleat completion bash); COMP_WORDS=(cleat exec w); COMP_CWORD=2; _cleat; echo "${COMPREPLY[@]}"';
  assert.is(execFileSync('bash', ['--norc', '-c', script], { encoding: 'utf8', env }), 'web\n');
  for (const other of ['zsh', 'fish']) {
    const text = await shell.ok('completion', other);
    const checked = spawnSync(other, ['-n'], { input: text, encoding: 'utf8' });
    // Not every machine has these shells.
    if (checked.error === undefined) assert.is(checked.status, 0, checked.stderr);
    assert.match(text, /cleat complete -- /);
  }
});

habits('there is a manual page for each command, which groff reads without a warning', async () => {
  const directory = join(shell.directory, 'man');
  assert.match(await shell.ok('man', directory), /^\d+ pages in /);
  const pages = readdirSync(directory);
  for (const page of ['cleat.1', 'cleat-run.1', 'cleat-network-prune.1']) assert.ok(pages.includes(page), page);
  const run = readFileSync(join(directory, 'cleat-run.1'), 'utf8');
  assert.match(run, /^\.TH "CLEAT-RUN" "1"/);
  assert.match(run, /^\.SH EXAMPLES$/m);
  assert.match(run, /\\-\\-network\\-alias/);
  const read = spawnSync('groff', ['-man', '-Tutf8', '-ww', '-z', ...pages.map((page) => join(directory, page))], {
    encoding: 'utf8',
  });
  if (read.error === undefined) assert.equal([read.status, read.stderr], [0, '']);
});

habits.run();

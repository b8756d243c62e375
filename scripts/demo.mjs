/**
 * Shows cleat in half a minute: two real containers, a published port, a daemon that is killed during a transfer, and nothing
 * left at the end. `npm run demo`; with `-- --stay` a shell opens before the containers are stopped.
 *
 * Guarantees: root's runs in network, mount, pid and IPC namespaces of its own with a /run and a /sys of its own, so it does not
 * touch the machine; an ordinary user's (demo-user.mjs) cannot. An interrupt ends everything that it started. The exit code is 0 only if every check succeeds; else it
 * names the failed step and shows the end of the daemon's log.
 * Limits: it needs crun, iproute2, nftables (scripts/setup.mjs) and a finished `npm run build`.
 */
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeBundle } from './demo-bundle.mjs';
import { showAsUser } from './demo-user.mjs';
import {
  begin,
  Daemon,
  demand,
  demandRun,
  differences,
  echo,
  killDuringTransfer,
  lookAround,
  run,
  say,
  show,
  tell,
  through,
  typist,
  until,
} from './demo-world.mjs';

const PORT = 8080;
const GUEST_PORT = 8082;

const root = join(import.meta.dirname, '..');
const main = join(root, 'dist/bundle/cleat.cjs');
const hook = join(root, 'build/Release/cleat-oci-hook');

/**
 * As in test/run.ts. /sys is mounted anew because it shows the network namespace of the process that mounted it. Only cgroup v2
 * is below it, because crun refuses a machine that mixes v1 and v2.
 */
const PRELUDE = `
set -e
mkdir "$TMPDIR/sys"
mount -t sysfs sysfs "$TMPDIR/sys"
mount -t cgroup2 cgroup2 "$TMPDIR/sys/fs/cgroup"
mount --move "$TMPDIR/sys" /sys
rmdir "$TMPDIR/sys"
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
set +e
"$@"
exit $?
`;

if (process.argv.includes('--inside')) {
  // After a failed demo the daemon is still a child: do not wait for it.
  const directory = process.env.TMPDIR;
  const socket = join(directory, 'cleat.sock');
  const places = ['run', 'state', 'netns'].flatMap((name) => [`--${name}-dir`, join(directory, name)]);
  const daemon = new Daemon({ directory, main, socket, options: [...places, '--socket', socket] });
  process.exit(await tell(daemon, () => story(directory, daemon)));
} else {
  process.exitCode = await begins();
}

/** Needs a finished build. Root's demo runs in namespaces, a user's on the machine as it is. */
async function begins() {
  for (const path of [main, hook]) {
    if (existsSync(path)) continue;
    console.error(`demo: ${path} is missing: npm run build`);
    return 1;
  }
  return process.getuid() === 0 ? enter() : showAsUser(main);
}

/** Starts this file again in namespaces where it can break nothing. */
async function enter() {
  const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'cleat-demo-')));
  chmodSync(scratch, 0o711); // the DNS server runs as another user and must be able to pass through
  const isolate = ['--net', '--mount', '--pid', '--ipc', '--mount-proc', '--propagation', 'private'];
  const again = [process.execPath, import.meta.filename, '--inside', ...process.argv.slice(2)];
  const command = ['unshare', ...isolate, '--fork', '--kill-child', '--', 'sh', '-c', PRELUDE, 'demo', ...again];
  const env = { ...process.env, TMPDIR: scratch };
  for (const key of Object.keys(env)) if (key.startsWith('CLEAT_') || key === 'NODE_OPTIONS') delete env[key];
  // If this process is killed, the death signal ends everything inside.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command], { stdio: 'inherit', env });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill('SIGKILL'));
  const code = await new Promise((settle) => {
    child.on('error', (error) => {
      console.error(`demo: ${error.message}`);
      settle(1);
    });
    child.on('exit', (status) => settle(status ?? 1));
  });
  rmSync(scratch, { recursive: true, force: true });
  return code;
}

async function story(directory, daemon) {
  const { cleat, type, ask } = typist(main);
  const inspect = async (id) => (await ask('inspect', id))[0];
  const crun = (...args) => ['crun', '--root', join(directory, 'crun'), '--cgroup-manager=disabled', ...args];
  const bundle = (id, args, annotations) => {
    const place = join(directory, id);
    mkdirSync(place);
    const files = { '/demo/node': realpathSync(process.execPath), '/demo/program.mjs': program };
    const words = ['/demo/node', '/demo/program.mjs', ...args];
    const hookLog = join(place, 'hook.log');
    writeFileSync(hookLog, '');
    writeBundle({ directory: place, args: words, annotations, files, hook, socket: daemon.socket, hookLog });
    return { id, place, hookLog, log: join(place, 'log') };
  };
  const start = async (container) => {
    const words = ['run', '--detach', '--bundle', container.place, container.id];
    echo(['crun', ...words]);
    const { code } = await run(crun(...words), { log: container.log });
    const said = `${readFileSync(container.log, 'utf8')}${readFileSync(container.hookLog, 'utf8')}`;
    return { code, said };
  };
  const mustStart = async (container) => {
    const { code, said } = await start(container);
    demand(code === 0, `crun run ${container.id} ended with ${code}\n${said}`);
  };
  const program = join(root, 'scripts/demo-program.mjs');
  const before = await lookAround();

  begin('The daemon starts');
  say(
    `in namespaces of its own: this machine's network is not touched. cleat is ${join('dist', 'bundle', 'cleat.cjs')}`,
  );
  echo(['cleat', 'daemon', '&']);
  say(`it answers after ${await daemon.start()} ms`);
  await type('version');

  begin('A network with IPv4 and IPv6');
  await type('network', 'create', 'web', '--ipv6');
  await type('network', 'ls');
  const [network] = await ask('network', 'inspect', 'web');

  begin('Two containers, run by crun; an OCI hook tells cleat about them');
  const page = bundle('page', ['serve'], { 'cleat.network': 'web', 'cleat.ports': `${PORT}:80/tcp` });
  const reader = bundle('reader', ['sleep'], { 'cleat.network': 'web' });
  say('page asks for network web and port 8080 in its annotations, reader for network web only:');
  show(JSON.stringify({ 'cleat.network': 'web', 'cleat.ports': `${PORT}:80/tcp` }));
  await mustStart(page);
  await mustStart(reader);
  await until('the server in page listens', () => readFileSync(page.log, 'utf8').includes('listening'));
  await type('ps');
  const addresses = Object.values((await inspect('page')).networks.web.interfaces)[0].subnets.map(
    ({ ipnet }) => ipnet.split('/')[0],
  );
  demand(addresses.length === 2, `page has the addresses ${addresses.join(' ')}, not one of each family`);
  say('reader fetches the page by its addresses:');
  for (const address of addresses) {
    const url = `http://${address.includes(':') ? `[${address}]` : address}/`;
    const words = ['exec', 'reader', '/demo/node', '/demo/program.mjs', 'fetch', url];
    echo(['crun', ...words]);
    const output = await demandRun(crun(...words));
    show(output);
    demand(output.startsWith('hello '), `reader got ${JSON.stringify(output)} from ${url}`);
  }

  begin('The host fetches it through the published port');
  say('by loopback, and by an address of the host in each family:');
  const gateways = network.subnets.map(({ gateway }) => gateway);
  for (const host of ['127.0.0.1', ...loopback6(), ...gateways]) await through(host, PORT);

  begin('The daemon is killed while a long transfer runs through the port');
  await killDuringTransfer({ daemon, port: PORT, type, ask });

  begin('A third container wants the same port');
  const third = bundle('third', ['sleep'], { 'cleat.network': 'web', 'cleat.ports': `${PORT}:80/tcp` });
  const refusal = await start(third);
  show(refusal.said);
  demand(refusal.code !== 0, 'it was started');
  demand(
    refusal.said.includes('PORT_TAKEN') && refusal.said.includes('page'),
    'the message does not say who has the port',
  );
  await type('history', 'page');
  await until('nothing of it is left', async () => !(await ask('ps')).some(({ id }) => id === 'third'));

  begin('page gets one more network and one more port, while it runs');
  await type('network', 'create', 'back', '--subnet', '10.90.0.0/24');
  await type('connect', 'back', 'page', '--alias', 'front-page');
  await type('publish', 'page', '9000:80');
  await through('127.0.0.1', 9000);

  begin('Somebody flushes the firewall');
  echo(['nft', 'flush', 'ruleset']);
  await demandRun(['nft', 'flush', 'ruleset']);
  await until('the audit finds everything in its place', async () => (await run(cleat('audit'))).code === 0);
  for (const port of [PORT, 9000]) await through('127.0.0.1', port);
  await type('disconnect', 'back', 'page');
  await type('ps');

  begin('A process behind slirp4netns, without a bridge, and slirp4netns is killed');
  const guestWords = ['run', '--name', 'guest', '--network', 'slirp4netns', '-p', `${GUEST_PORT}:80`, '--'];
  echo(['cleat', ...guestWords, 'node', 'demo-program.mjs', 'serve', '&']);
  const guest = spawn(process.execPath, [main, ...guestWords, process.execPath, program, 'serve'], { stdio: 'ignore' });
  const guestEnded = new Promise((settle) => guest.on('exit', settle));
  const served = async () =>
    (await run(['curl', '-sS', '--max-time', '1', `http://127.0.0.1:${GUEST_PORT}/`])).code === 0;
  await until('guest serves', served);
  await through('127.0.0.1', GUEST_PORT);
  await type('ps');
  const { pid: slirp } = (await inspect('guest')).uplink.process;
  echo(['kill', '-9', String(slirp)]);
  process.kill(slirp, 'SIGKILL');
  await until('it runs again', async () => {
    const { state, pid, down_ms: down } = (await inspect('guest')).uplink.process;
    return state === 'ready' && pid !== slirp && down > 0 ? (say(`it was away for ${down} ms`) ?? true) : undefined;
  });
  await through('127.0.0.1', GUEST_PORT);
  guest.kill('SIGTERM');
  await guestEnded;
  await until('guest is gone', async () => !(await ask('ps')).some(({ id }) => id === 'guest'));

  if (process.argv.includes('--stay')) stay(directory, daemon);

  begin('The containers stop; the hook tells cleat');
  for (const { id } of [page, reader]) {
    echo(['crun', 'delete', '--force', id]);
    await demandRun(crun('delete', '--force', id));
  }
  await until('all containers are gone', async () => (await ask('ps')).length === 0);
  await type('ps');

  begin('Nothing is left');
  await type('audit');
  await daemon.end('SIGTERM');
  say('and without asking cleat, compared with what was there before step 1, byte for byte:');
  const after = await until('the kernel is done', async () => {
    const now = await lookAround();
    return differences(before, now).length === 0 ? now : undefined;
  }).catch(async () => lookAround());
  const different = differences(before, after);
  demand(different.length === 0, different.join('\n'));
  show(Object.keys(after).join(', '));
  if (!process.argv.includes('--stay')) say('to look around before the end: npm run demo -- --stay');
}

/** Returns [::1], or nothing on a machine on which it cannot work (docs/firewall.md). */
function loopback6() {
  const key = 'net/bridge/bridge-nf-call-ip6tables';
  const path = `/proc/sys/${key}`;
  if (!existsSync(path) || readFileSync(path, 'utf8').trim() === '0') return ['::1'];
  say(`([::1] is left out: ${key.replaceAll('/', '.')} is 1 here; \`cleat doctor\` says so too)`);
  return [];
}

/** Opens a shell for the user; the demo continues when the shell ends. */
function stay(directory, daemon) {
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  const script = (name, words) => writeFileSync(join(bin, name), `#!/bin/sh\nexec ${words} "$@"\n`, { mode: 0o755 });
  script('cleat', `'${process.execPath}' '${main}'`);
  script(
    'crun',
    `/usr/bin/env PATH='${process.env.PATH}' crun --root '${join(directory, 'crun')}' --cgroup-manager=disabled`,
  );
  console.log(
    '\nA shell in here: try `cleat inspect page`, `nft list ruleset`, `cleat publish page 9000:80`; then `exit`.',
  );
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}`, CLEAT_SOCKET: daemon.socket };
  spawnSync('sh', ['-i'], { stdio: 'inherit', env });
}

/**
 * The demo of an ordinary user: containers on a network of their own, a published port, a daemon that is killed during a transfer, and
 * what leads out killed too; nothing is left at the end. No step needs root, or an option of the daemon.
 *
 * Guarantees: it has a runtime and a state directory of its own, so a daemon that the user has already is not disturbed. Ports
 * are such as are free. An interrupt ends everything that it started.
 * Limits: it needs what docs/rootless.md lists.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  begin,
  Daemon,
  demand,
  demandRun,
  differences,
  echo,
  killDuringTransfer,
  run,
  say,
  show,
  tell,
  through,
  typist,
  until,
} from './demo-world.mjs';

const root = join(import.meta.dirname, '..');
const program = join(root, 'scripts/demo-program.mjs');
const launcher = join(root, 'build/Release/cleat-rootless');

export async function showAsUser(main) {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'cleat-demo-')));
  const runtime = join(directory, 'runtime');
  mkdirSync(runtime, { mode: 0o700 });
  for (const key of Object.keys(process.env)) {
    if (key.startsWith('CLEAT_') || key === 'NODE_OPTIONS') delete process.env[key];
  }
  Object.assign(process.env, { XDG_RUNTIME_DIR: runtime, XDG_STATE_HOME: join(directory, 'state') });
  const daemon = new Daemon({ directory, main, socket: join(runtime, 'cleat/cleat.sock'), options: [] });
  const end = () => {
    for (const pid of ours(runtime)) kill(pid);
    rmSync(directory, { recursive: true, force: true });
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      end();
      process.exit(1);
    });
  }
  const code = await tell(daemon, () => story(main, daemon, runtime));
  end();
  return code;
}

async function story(main, daemon, runtime) {
  const { cleat, type, ask } = typist(main);
  /** Starts a container in the background: `cleat run`, whose end is the container's. */
  const start = (...args) => {
    echo(['cleat', 'run', ...args.map((word) => word.replace(process.execPath, 'node').replace(`${root}/`, '')), '&']);
    return spawn(process.execPath, [main, 'run', ...args], { stdio: 'ignore' });
  };
  const before = await lookAround();
  const [port, other] = await freePorts(2);

  begin(`The daemon starts, as user ${process.getuid()}`);
  say('without an option; its directories are in XDG_RUNTIME_DIR and XDG_STATE_HOME');
  echo(['cleat', 'daemon', '&']);
  say(`it answers after ${await daemon.start()} ms`);
  await type('version');

  begin('A network with IPv4 and IPv6, and a container on it');
  await type('network', 'create', 'web', '--ipv6');
  const serve = ['--', process.execPath, program, 'serve'];
  const page = start('--name', 'page', '--network', 'web', '-p', `${port}:80`, ...serve);
  const ended = new Promise((settle) => page.on('exit', settle));
  await until('page serves', async () => (await run(['curl', '-sS', `http://127.0.0.1:${port}/`])).code === 0);
  await type('ps');

  begin('Another container fetches the page by its addresses');
  const addresses = Object.values((await ask('inspect', 'page'))[0].networks.web.interfaces)[0].subnets.map(
    ({ ipnet }) => ipnet.split('/')[0],
  );
  demand(addresses.length === 2, `page has the addresses ${addresses.join(' ')}, not one of each family`);
  for (const address of addresses) {
    const url = `http://${address.includes(':') ? `[${address}]` : address}/`;
    echo(['cleat', 'run', '--network', 'web', '--', 'curl', '-sS', url]);
    const text = await demandRun(cleat('run', '--network', 'web', '--', 'curl', '-sS', '--max-time', '10', url));
    show(text);
    demand(text.startsWith('hello '), `${url} answered ${JSON.stringify(text)}`);
  }

  begin('The host fetches it through the published port');
  await through('127.0.0.1', port);
  const links = await demandRun(['ip', '-br', 'link']);
  demand(links === before['ip -br link'], `the host has other links than before:\n${links}`);
  say('no link, address or rule of the host is new: networks are in a namespace of the user');
  echo(['cleat-rootless', '--net', '/run/netns/rootless', '--', 'ip', '-br', 'link']);
  show(await demandRun([launcher, '--net', '/run/netns/rootless', '--', 'ip', '-br', 'link']));

  begin('The daemon is killed while a long transfer runs through the port');
  await killDuringTransfer({ daemon, port, type, ask });

  begin('Another container wants the same port');
  const wants = ['run', '--network', 'web', '-p', `${port}:80`, '--', 'true'];
  echo(['cleat', ...wants]);
  const refusal = await run(cleat(...wants));
  show(refusal.output);
  demand(
    refusal.code !== 0 && refusal.output.includes('page'),
    'it was started, or the message does not say who has it',
  );

  begin('page gets one more network and one more port, while it runs');
  await type('network', 'create', 'back');
  await type('connect', 'back', 'page');
  await type('publish', 'page', `${other}:80`);
  await through('127.0.0.1', other);

  begin('Somebody flushes the rules of the networks');
  const flush = ['--net', '/run/netns/rootless', '--', 'nft', 'flush', 'ruleset'];
  echo(['cleat-rootless', ...flush]);
  await demandRun([launcher, ...flush]);
  await until('the audit finds everything in its place', async () => (await run(cleat('audit'))).code === 0);
  for (const each of [port, other]) await through('127.0.0.1', each);

  begin('What leads out of the networks is killed');
  const out = wayOut(runtime);
  demand(out !== null, 'nothing leads out');
  echo(['kill', '-9', String(out)]);
  kill(out);
  await until('it runs again', () => ![null, out].includes(wayOut(runtime)));
  await until('page is well', async () => (await ask('why', 'page')).well);
  await type('why', 'page');

  begin('The container stops, and nothing is left');
  page.kill('SIGTERM');
  await ended;
  await until('it is gone', async () => (await ask('ps')).length === 0);
  await type('ps');
  await type('audit');
  await daemon.end('SIGTERM');
  await until('no process is left', () => ours(runtime).length === 0);
  say('and without asking cleat, compared with what was there before step 1, byte for byte:');
  const after = await lookAround();
  const different = differences(before, after);
  demand(different.length === 0, different.join('\n'));
  show(Object.keys(after).join(', '));
}

/** The network of the host, as any user sees it. */
async function lookAround() {
  const said = {};
  for (const what of ['ip -br link', 'ip -br address', 'ip -4 route', 'ip -6 route']) {
    said[what] = await demandRun(what.split(' '));
  }
  return { ...said, mounts: readFileSync('/proc/self/mountinfo', 'utf8') };
}

/** Ports of the host that nobody listens on. */
async function freePorts(count) {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise((listening) => server.listen(0, listening));
      return server;
    }),
  );
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  return ports;
}

/** The processes, but for us, that were started with this runtime directory, or with the name that it has in the namespaces. */
function ours(runtime) {
  const inside = `/run/cleat-${process.getuid()}-${statSync(join(runtime, 'cleat'), { throwIfNoEntry: false })?.ino}/`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter(
      (pid) =>
        read(`/proc/${pid}/cmdline`).includes(inside) ||
        read(`/proc/${pid}/environ`).split('\0').includes(`XDG_RUNTIME_DIR=${runtime}`),
    );
}

/** The pid of the program that leads out of the networks: the child of its keeper. */
function wayOut(runtime) {
  const keeper = ours(runtime).find((pid) => read(`/proc/${pid}/cmdline`).includes('/rootless/uplink\0'));
  if (keeper === undefined) return null;
  return Number(read(`/proc/${keeper}/task/${keeper}/children`).trim().split(' ')[0]) || null;
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it has ended, or is somebody else's
  }
}

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended
  }
}

/**
 * The rights of each process, compared with the table in docs/security.md: user, capabilities, filter, descriptors.
 *
 * The daemon has exactly the capabilities of the unit. Every kind of helper runs at once, does its work, and is
 * recognised by its command line below the daemon's directory.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findUser, type User, type UserName } from '../../effects/processes/users.ts';
import { on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { dig } from '../harness/dns.ts';
import { withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { openOutside } from '../../native/index.ts';
import { asUser } from '../harness/peer.ts';
import { assertComesBackTo, inspect } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { ROOT } from '../harness/sanitized.ts';
import { capabilitiesOfTheUnit, launcherOfTheUnit, maskOf, prepareUplinks, rightsOf } from '../harness/unit.ts';

requirePrivateNamespace();

interface Row {
  process: string;
  user: string;
  capabilities: string;
  'new privileges': string;
  filter: string;
  descriptors: string;
}

/** The table under "What each process may do". */
function table(): Row[] {
  const page = readFileSync(join(ROOT, 'docs/security.md'), 'utf8');
  const [, text = ''] = page.split('## What each process may do');
  const lines = /(?:^\|.*\n)+/m.exec(text)?.[0].trim().split('\n') ?? [];
  const [head = [], , ...rows] = lines.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  return rows.map((row) => Object.fromEntries(head.map((name, n) => [name, row[n]])) as unknown as Row);
}

const daemon = new TestDaemon();
daemon.launcher = launcherOfTheUnit();
const outside = openOutside();
const processes = suite('processes');
const PROGRAMS: Record<string, string> = {
  'aardvark-dns': 'aardvark-dns',
  'cleat-forwarder': 'forwarder',
  'cleat-keeper': 'keeper',
  slirp4netns: 'slirp4netns',
  pasta: 'pasta',
  'pasta.avx2': 'pasta',
};

/** The arguments of a process that are paths. */
function wordsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return []; // the process has gone meanwhile
  }
}

/**
 * Returns, by the names of the table, the pids of processes that were started below the daemon's directory, and by a
 * keeper.
 */
function running(): Map<string, number[]> {
  const found = new Map<string, number[]>([['daemon', [daemon.pid]]]);
  const add = (pid: number, words: string[]) => {
    const name = PROGRAMS[basename(words[0] ?? '')] ?? words[0] ?? '';
    found.set(name, [...(found.get(name) ?? []), pid]);
    if (name !== 'keeper') return;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    for (const child of children.filter((text) => text !== '').map(Number)) add(child, wordsOf(child));
  };
  for (const name of readdirSync('/proc').filter((text) => /^\d+$/.test(text))) {
    const words = wordsOf(Number(name));
    if (!(basename(words[0] ?? '') in PROGRAMS) || !words.some((word) => word.startsWith(daemon.runDir))) continue;
    add(Number(name), words);
  }
  return found;
}

const idsOf = (name: string): User => (name === 'root' ? { uid: 0, gid: 0 } : findUser(name as UserName));

/** The expectation of a row, in the form that rightsOf returns. */
function expected(row: Row) {
  const { uid, gid } = idsOf(row.user);
  const names = row.capabilities === 'those of its unit' ? capabilitiesOfTheUnit() : row.capabilities.split(' ');
  const mask = row.capabilities === 'none' ? 0n : maskOf(names);
  const own = rightsOf(daemon.pid).descriptors;
  return {
    uids: Array(4).fill(uid),
    gids: Array(4).fill(gid),
    permitted: mask,
    effective: mask,
    // pasta drops one by itself, and leaves the bounding set as it is.
    bounding: row.process === 'pasta' ? mask | maskOf(['NET_ADMIN']) : mask,
    noNewPrivileges: row['new privileges'] === 'no',
    filtered: row.filter === 'yes',
    descriptors: row.descriptors === 'as started' ? own : Math.min(own, Number(row.descriptors)),
  };
}

let before: ReturnType<typeof inspect>;
processes.before(async () => {
  // A machine that keeps /dev/net/tun for root would need CAP_MKNOD in the unit too (native/keeper/child.cc).
  prepareUplinks();
  daemon.environment = { CLEAT_TEST_SECRET: 'of the daemon', http_proxy: 'http://192.0.2.1:3128' };
  await daemon.start();
  before = inspect(daemon);
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.71.0.0/24' }], dns_enabled: true });
  await daemon.network({ name: 'closed', subnets: [{ subnet: '10.72.0.0/24' }], dns_enabled: true, internal: true });
  await daemon.up('a', { networks: on('web'), port_handler: 'forwarder', port_mappings: [port(80, 80)] });
  await daemon.up('b', { networks: on('closed') });
  await daemon.up('c', { uplink: { program: 'slirp4netns' } });
  await daemon.up('d', { uplink: { program: 'pasta' } });
  // pasta reports that it is ready a moment before it takes its filter (isolate_postfork of passt).
  await until(
    'pasta has its filter',
    () =>
      running()
        .get('pasta')
        ?.every((pid) => rightsOf(pid).filtered) ?? false,
  );
});
processes.after(async () => {
  await daemon.kill();
});

processes('each process has the rights that the table says, and no others', () => {
  const found = running();
  // wireguard-go needs other hosts: test/overlay/wireguard.test.ts has its row.
  const rows = table().filter(({ process }) => process !== 'wireguard-go');
  assert.equal([...found.keys()].sort(), rows.map((row) => row.process).sort());
  assert.equal(
    rows.map((row) => found.get(row.process)?.length),
    rows.map(({ process }) => ({ 'aardvark-dns': 2, keeper: 2 })[process] ?? 1),
  );
  for (const row of rows) {
    for (const pid of found.get(row.process) ?? []) {
      const { groups, ambient, ...rights } = rightsOf(pid);
      assert.equal(rights, expected(row), row.process);
      if (row.user !== 'root') assert.is(groups, '', row.process);
      // Only a program that is not ours must get its rights at exec.
      assert.is(ambient, row.process === 'aardvark-dns' ? rights.permitted : 0n, row.process);
    }
  }
});

processes('no process has anything of the daemon in its environment', () => {
  const environmentOf = (pid: number) => readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').filter(Boolean);
  assert.ok(environmentOf(daemon.pid).includes('CLEAT_TEST_SECRET=of the daemon'));
  const helpers = [...running()].filter(([name]) => name !== 'daemon');
  const found = helpers.flatMap(([name, pids]) =>
    pids.flatMap((pid) => environmentOf(pid).map((text) => `${name} ${text}`)),
  );
  // The DNS server of internal networks has no upstream servers (effects/names/aardvark.ts).
  assert.equal(found, ['aardvark-dns AARDVARK_NO_PROXY=1']);
});

processes('every thread of these processes has these rights', () => {
  for (const [name, pids] of running()) {
    if (name === 'daemon') continue;
    for (const pid of pids) {
      const threads = readdirSync(`/proc/${pid}/task`).map((id) =>
        readFileSync(`/proc/${pid}/task/${id}/status`, 'utf8').match(/^(Uid|Gid|Cap...|NoNewPrivs|Seccomp):.*$/gm),
      );
      for (const thread of threads) assert.equal(thread, threads[0], name);
    }
  }
});

processes('the processes do their work: names, and a low port', async () => {
  const { body: a } = await daemon.get('/v1/containers/a');
  await withAgents([pathOf(a as never), null], async (inside, host) => {
    await inside.serve('a', 'tcp', 80);
    assert.match(await host.dial('tcp', '127.0.0.1', 80), /^a /);
  });
  assert.is(await dig(outside, undefined, '10.71.0.1', 'a'), 'NOERROR 10.71.0.2');
});

processes('the DNS server changes nothing of the daemon, and its user reads only what it is given', () => {
  const { uid, gid } = findUser('cleat-dns');
  const as = (script: string): string => {
    try {
      return execFileSync('setpriv', [...asUser(uid, gid), 'sh', '-c', script].slice(1), {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      }).trim();
    } catch (error) {
      return String((error as { stderr: unknown }).stderr);
    }
  };
  const directory = `${daemon.runDir}/dns/own/open`;
  assert.equal(as(`ls ${directory}`).split('\n').sort(), ['aardvark.pid', 'web.zone']);
  assert.match(as(`cat ${directory}/web.zone`), /10\.71\.0\.1/);
  for (const script of [
    `echo >> ${directory}/web.zone`,
    `rm -f ${directory}/web.zone`,
    `mv ${directory}/aardvark.pid ${directory}/x`,
    `touch ${directory}/x`,
    `ls ${daemon.runDir}`,
    `ls ${daemon.runDir}/dns`,
    `ls ${daemon.runDir}/containers`,
    `ls ${daemon.runDir}/forwarder`,
    `ls ${daemon.stateDir}`,
    `cat ${daemon.runDir}/lock`,
  ]) {
    assert.match(as(script), /denied|not permitted/, script);
  }
});

processes('a server that an earlier version has started as root is replaced, with its files', async () => {
  const directory = `${daemon.runDir}/dns/own/open`;
  const pid = Number(readFileSync(`${directory}/aardvark.pid`, 'utf8'));
  const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  await daemon.kill();
  process.kill(pid, 'SIGKILL');
  await until('it has gone', () => !isThere(pid));
  execFileSync('chown', ['-R', '0:0', `${daemon.runDir}/dns`]);
  execFileSync('chmod', ['-R', 'go=', `${daemon.runDir}/dns`]);
  execFileSync('chmod', ['750', daemon.runDir]);
  execFileSync(words[0] ?? '', words.slice(1), { env: {} });
  const server = () => Number(readFileSync(`${directory}/aardvark.pid`, 'utf8'));
  await until('it serves', () => server() > 0);
  const old = server();
  await daemon.start();
  await until('there is another', () => !isThere(old) && isThere(server()));
  assert.is(rightsOf(server()).uids[0], findUser('cleat-dns').uid);
  assert.is(await dig(outside, undefined, '10.71.0.1', 'a'), 'NOERROR 10.71.0.2');
  assert.is((statSync(`${directory}/web.zone`).mode & 0o777).toString(8), '640');
});

processes('in a directory that is closed to it, the DNS server sees its own files and no others', async () => {
  const shut = new TestDaemon();
  await shut.start();
  chmodSync(shut.directory, 0o700);
  await shut.network({ name: 'web', subnets: [{ subnet: '10.73.0.0/24' }], dns_enabled: true });
  await shut.done({ type: 'create', id: 'e', networks: on('web') });
  await shut.done({ type: 'configure', id: 'e' });
  const directory = `${shut.runDir}/dns/own/open`;
  const server = Number(readFileSync(`${directory}/aardvark.pid`, 'utf8'));
  const seen = (path: string) => readdirSync(`/proc/${server}/root${path}`);
  assert.equal(seen(shut.directory), ['run']);
  assert.equal(seen(shut.runDir), ['dns']);
  assert.equal(seen(`${shut.runDir}/dns/own`), ['open']);
  assert.equal(seen(directory), readdirSync(directory));
  assert.is(rightsOf(server).uids[0], findUser('cleat-dns').uid);
  // What is written later reaches it too.
  await shut.done({ type: 'create', id: 'f', networks: on('web') });
  const { netns } = await shut.done({ type: 'configure', id: 'f' });
  assert.match(await dig(outside, netns.path ?? undefined, '10.73.0.1', 'e'), /^NOERROR 10\.73\.0\./);
  await shut.down('e', 'f');
  await shut.stop();
});

processes('a uid that another user has is refused by name, and nothing is started', async () => {
  const passwd = readFileSync('/etc/passwd', 'utf8');
  const changed = '/run/passwd';
  writeFileSync(changed, `${passwd}bob:x:${findUser('cleat-forwarder').uid}:1000::/:/bin/sh\n`);
  execFileSync('mount', ['--bind', changed, '/etc/passwd']);
  await daemon.done({ type: 'unpublish', id: 'a', port_mappings: [port(80, 80)] });
  await until('the forwarder has ended', () => !running().has('forwarder'));
  const refused = await daemon.event({ type: 'publish', id: 'a', port_mappings: [port(80, 80)] });
  execFileSync('umount', ['/etc/passwd']);
  assert.is(refused.body.error?.code, 'USER_TAKEN');
  assert.match(refused.body.error?.message ?? '', /cleat-forwarder cannot run as uid \d+: that is bob/);
  assert.is(running().has('forwarder'), false);
});

processes('with the capabilities of the unit, all helpers can be ended, and nothing is left', async () => {
  await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(80, 80)] });
  assert.is((await daemon.get<{ clean: boolean }>('/v1/audit')).body.clean, true);
  await daemon.kill();
  await daemon.start();
  await daemon.down('a', 'b', 'c', 'd');
  for (const name of ['web', 'closed']) await daemon.request('DELETE', `/v1/networks/${name}`);
  await assertComesBackTo(before, () => inspect(daemon));
  assert.equal([...running().keys()], ['daemon']);
  // Nor was there anything that it could not do and skipped.
  const lines = daemon.log().match(/^\{"level":[456]0,.*$/gm) ?? [];
  // Lines that the test itself causes: an owner of a uid is refused, the DNS server is killed. And one of this machine: br_netfilter.
  const expected =
    /cleat-forwarder cannot run as uid|resolver is restarting: aardvark-dns ended|published-on-loopback6/;
  assert.equal(
    lines.filter((line) => !expected.test(line)),
    [],
  );
});

const isThere = (pid: number): boolean => {
  try {
    readFileSync(`/proc/${pid}/stat`);
    return true;
  } catch {
    return false;
  }
};

processes.run();

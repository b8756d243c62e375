/**
 * The resolver with the real aardvark-dns: the answers that containers get, the queries that leave the machine, and the
 * names after a crash of either, or of both.
 */
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findAardvark } from '../../effects/names/aardvark.ts';
import { resolvConf } from '../../plan/containers/resolv-conf.ts';
import { leaseOf } from '../harness/fixtures.ts';
import { dig, Upstream } from '../harness/dns.ts';
import { ended } from '../harness/inside.ts';
import { addContainer, addNetwork, ip, TestResolver } from '../harness/names.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const installed = (await findAardvark())!;
const isOld = execFileSync(installed, ['--version'], { encoding: 'utf8' }).includes(' 1.4.');
ip('link add world type bridge\nlink set world up\naddr add 10.99.1.2/24 dev world\naddr add 10.99.2.2/24 dev world\n');
const hostResolvConf = '/run/resolv.conf';
writeFileSync(hostResolvConf, 'nameserver 10.99.1.2\n');
execFileSync('mount', ['--bind', hostResolvConf, '/etc/resolv.conf']);
const host = await Upstream.at('10.99.1.2', '7.7.7.1');
const special = await Upstream.at('10.99.2.2', '7.7.7.2');

const front = addNetwork('front', { prefix6: 'fd00:89' });
const back = addNetwork('back', { internal: true });
const own = addNetwork('own', { servers: ['10.99.2.2'] });
const web = addContainer('web', 2, ['web', 'www', 'shop', '0123456789ab'], [front]);
const db = addContainer('db', 3, ['db', 'shop', 'ba9876543210'], [front]);
const vault = addContainer('vault', 4, ['vault'], [back]);
const both = addContainer('both', 5, ['both'], [front, back]);
const mail = addContainer('mail', 6, ['mail'], [own]);

const names = suite('the resolver');
let resolver: TestResolver;
names.before.each(() => {
  resolver = new TestResolver();
  host.asked.length = special.asked.length = 0;
  writeFileSync(hostResolvConf, 'nameserver 10.99.1.2\n');
});
names.after.each(async () => {
  await resolver.end();
  assert.equal(resolver.processes(), []);
  assert.equal(readdirSync(resolver.runDir), []);
});
names.after(() => {
  host.close();
  special.close();
});

/** Queries from inside the container, at the gateway of its first network. */
const from = (container: typeof web, name: string, type: 'A' | 'AAAA' | 'PTR' | 'MX' = 'A', at = 0) =>
  dig(resolver.outside, container[0]!.netns, container[0]!.listen[at]!, name, type);

names('containers find each other by name, alias and short id', async () => {
  assert.equal(await resolver.register('web:1', web), { type: 'named' });
  assert.equal(await resolver.register('db:1', db), { type: 'named' });
  assert.is(await from(web, 'db'), 'NOERROR 10.89.0.3');
  assert.is(await from(db, 'WWW'), 'NOERROR 10.89.0.2');
  assert.is(await from(db, '0123456789ab'), 'NOERROR 10.89.0.2');
  assert.is(await from(db, 'web.dns.podman'), 'NOERROR 10.89.0.2');
  assert.is(await from(db, 'web', 'AAAA'), 'NOERROR fd00:89::2');
  assert.is(await from(db, 'web', 'A', 1), 'NOERROR 10.89.0.2', 'at the IPv6 gateway');
  assert.is(await from(web, 'shop'), 'NOERROR 10.89.0.2 10.89.0.3', 'an alias may belong to two');
  assert.is(await from(web, '3.0.89.10.in-addr.arpa', 'PTR'), 'NOERROR ba9876543210 db shop');
});

names('a name that was removed is not known any more, and the others are', async () => {
  await Promise.all([resolver.register('web:1', web), resolver.register('db:1', db)]);
  assert.equal(await resolver.unregister('web:1', ['front']), { type: 'unnamed' });
  await resolver.until('serving');
  await until('web is forgotten', async () => (await from(db, 'web')) === 'NXDOMAIN');
  assert.is(await from(web, 'shop'), 'NOERROR 10.89.0.3');
});

names('queries for its own zone never go to the world, all others do', async () => {
  await resolver.register('web:1', web);
  assert.is(await from(web, 'example.com'), 'NOERROR 7.7.7.1');
  assert.equal(host.asked.splice(0), ['example.com A']);
  for (const name of ['nobody.dns.podman', 'a.b.dns.podman']) assert.is(await from(web, name), 'NXDOMAIN');
  assert.is(await from(web, 'web'), 'NOERROR 10.89.0.2');
  assert.is(await from(web, 'web.dns.podman', 'AAAA'), 'NOERROR fd00:89::2');
  // 1.14 has no names for other types than addresses.
  assert.match(await from(web, 'web.dns.podman', 'MX'), /^(NOERROR|NXDOMAIN)$/);
  assert.equal(host.asked, []);
});

names('a name without a dot that no container has is unknown, and 1.4 queries nobody for it', async () => {
  await resolver.register('web:1', web);
  assert.is(await from(web, 'nobody'), 'NXDOMAIN');
  if (isOld) assert.equal(host.asked, []);
});

/** In a mount namespace of its own: the answer of getaddrinfo(3) for $2 with the resolv.conf $1. */
const ASK_C_LIBRARY = 'mount --bind "$1" /etc/resolv.conf && exec getent -s dns ahostsv4 "$2"';

names("with a container's resolv.conf the C library queries no server for a name without a dot", async () => {
  const named = { mac: '02:00:00:00:00:01', ordinal: 0, hostLink: 've0', link: 'eth0', alias: '', aliases: [] };
  const dns = { listen: ['10.99.2.2'], servers: [] }; // that of the world stands for a gateway
  const attachments = [{ ...leaseOf('own'), ...named, gatewayPriority: 0, dns }];
  const file = `${resolver.runDir}/resolv.conf`;
  writeFileSync(file, resolvConf({ attachments, host: { resolvConf: 'search corp.example\n', behindStub: null } }));
  const getent = (name: string) =>
    promisify(execFile)('unshare', ['-m', 'sh', '-c', ASK_C_LIBRARY, 'sh', file, name]).catch(() => ({ stdout: '' }));
  assert.match((await getent('one.example')).stdout, '7.7.7.2');
  assert.equal(special.asked.splice(0), ['one.example A']);
  await getent('nobody');
  rmSync(file);
  assert.equal(
    special.asked.filter((question) => !question.includes('.')),
    [],
  );
  assert.ok(special.asked.includes('nobody.dns.podman A'), String(special.asked));
});

names('an internal network queries no upstream server, not even for a forged address', async () => {
  await resolver.register('vault:1', vault);
  assert.is(await from(vault, 'vault'), 'NOERROR 10.89.1.4');
  for (const name of ['example.com', 'nobody', 'DNS.PODMAN']) assert.is(await from(vault, name), 'NXDOMAIN');
  assert.is(await from(vault, '9.9.9.9.in-addr.arpa', 'PTR'), 'NXDOMAIN');
  const forge = (address: string) =>
    execFileSync('ip', ['-n', 'vault', '-batch', '-'], {
      input: `addr flush dev eth0\naddr add ${address}/24 dev eth0\n`,
    });
  forge('10.89.1.77');
  assert.is(await from(vault, 'example.com'), 'NXDOMAIN');
  forge('10.89.1.4');
  assert.equal([host.asked, special.asked], [[], []]);
});

names('a container on an open and an internal network knows the names of both, and the world', async () => {
  await Promise.all([resolver.register('vault:1', vault), resolver.register('both:1', both)]);
  assert.is(await from(both, 'vault'), 'NOERROR 10.89.1.4');
  assert.is(await from(both, 'both'), 'NOERROR 10.89.0.5 10.89.1.5');
  assert.is(await from(both, 'example.com'), 'NOERROR 7.7.7.1');
  assert.is(await from(vault, 'both'), 'NOERROR 10.89.1.5');
  await resolver.register('web:1', web);
  assert.is(await from(web, 'vault'), 'NXDOMAIN', 'to others the internal network stays unknown');
});

names("servers of a network are queried instead of the host's, and can be changed", async () => {
  await Promise.all([resolver.register('mail:1', mail), resolver.register('web:1', web)]);
  assert.is(await from(mail, 'one.example'), 'NOERROR 7.7.7.2');
  assert.equal(await resolver.revise(own, ['10.99.1.2']), { type: 'revised', network: 'own' });
  // aardvark-dns reads it in its own time: earlier queries may have gone to the old server.
  await until('asks the other one', async () => (await from(mail, 'two.example')) === 'NOERROR 7.7.7.1');
  special.asked.length = 0;
  assert.is(await from(mail, 'three.example'), 'NOERROR 7.7.7.1');
  assert.equal(special.asked, []);
});

names('a refresh reads the resolv.conf of the host again', async () => {
  await resolver.register('web:1', web);
  writeFileSync(hostResolvConf, 'nameserver 10.99.2.2\n');
  assert.is(await from(web, 'one.example'), 'NOERROR 7.7.7.1');
  resolver.actor.send({ type: 'refresh' });
  await until('asks the new one', async () => (await from(web, 'two.example')) === 'NOERROR 7.7.7.2');
});

names('a killed server comes back with all names, and registering does not wait for the backoff', async () => {
  await resolver.register('web:1', web);
  const [pid] = resolver.processes() as [number];
  process.kill(pid, 'SIGKILL');
  await resolver.until('restarting');
  assert.equal(await resolver.register('db:1', db), { type: 'named' });
  assert.is(await from(db, 'web'), 'NOERROR 10.89.0.2');
  assert.is(resolver.processes().length, 1);
  assert.is.not(resolver.processes()[0], pid);
});

names('a killed server comes back by itself', async () => {
  await resolver.register('web:1', web);
  process.kill(resolver.processes()[0]!, 'SIGKILL');
  await resolver.until('restarting');
  await resolver.until('steadying');
  await until('it answers', async () => (await from(web, 'web')) === 'NOERROR 10.89.0.2');
});

names('the next daemon finds the same process, repairs the files, and notices when it ends', async () => {
  await Promise.all([resolver.register('web:1', web), resolver.register('db:1', db)]);
  const before = resolver.processes();
  const file = `${resolver.directory}/open/front.zone`;
  writeFileSync(file, '10.89.0.1\n');
  resolver.forget({ 'web:1': web, 'db:1': db });
  await resolver.until('serving');
  assert.equal(resolver.processes(), before);
  await until('it answers', async () => (await from(web, 'db')) === 'NOERROR 10.89.0.3');
  process.kill(before[0]!, 'SIGKILL');
  await resolver.until('restarting');
  await resolver.until('steadying');
  await until('it answers', async () => (await from(web, 'db')) === 'NOERROR 10.89.0.3');
});

names('the next daemon ends a server without names, with or without a pid file', async () => {
  await resolver.register('web:1', web);
  const [pid] = resolver.processes() as [number];
  execFileSync('rm', [`${resolver.directory}/open/aardvark.pid`]);
  resolver.forget({});
  await resolver.until('idle');
  await ended(pid);
  assert.not(existsSync(resolver.directory));
});

names('a foreign process that has the pid in the file is left alone', async () => {
  await resolver.register('web:1', web);
  const [pid] = resolver.processes() as [number];
  writeFileSync(`${resolver.directory}/open/aardvark.pid`, String(process.pid));
  resolver.forget({ 'web:1': web });
  await resolver.until('serving');
  assert.equal(await resolver.register('db:1', db), { type: 'named' });
  await ended(pid);
  assert.is(resolver.processes().length, 1);
});

names('names that the server cannot serve are refused with the reason, and do not stay', async () => {
  await resolver.register('web:1', web);
  const lost = db.map((entry) => ({ ...entry, listen: ['10.89.0.1', '10.77.0.1'] }));
  const answer = await resolver.register('db:1', lost);
  assert.is(answer.type, 'refused');
  assert.is(answer.type === 'refused' && answer.fault.code, 'DNS_FAILED');
  assert.match(answer.type === 'refused' ? answer.fault.message : '', '10.77.0.1');
  await resolver.until('serving');
  assert.equal(Object.keys(resolver.actor.getSnapshot().context.names), ['web:1']);
});

names('the process that has the port is named', async () => {
  const taken = await Upstream.at('10.89.2.1', '7.7.7.3');
  try {
    const answer = await resolver.register('mail:1', mail);
    assert.match(answer.type === 'refused' ? answer.fault.message : '', `pid ${process.pid}`);
  } finally {
    taken.close();
  }
});

/**
 * A server that ends as 1.14 does when it cannot have one of its addresses, and says why; otherwise the installed one
 * runs.
 */
const STRICT = `#!/usr/bin/python3
import os, socket, sys
directory = sys.argv[sys.argv.index('--config') + 1]
for file in os.listdir(directory):
    if not file.endswith('.zone'): continue
    for address in open(os.path.join(directory, file)).readline().split()[0].split(','):
        try:
            with socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind((address, 53))
        except OSError as e:
            sys.exit(f'Error starting server failed to bind udp listener on {address}:53: {e.strerror}\\nError from child process')
os.execv('${installed}', ['${installed}', *sys.argv[1:]])
`;

/** A server that every user may execute, for the test that gets it. */
async function withProgram(script: string, test: (own: TestResolver) => Promise<void>): Promise<void> {
  const directory = mkdtempSync('/run/program-');
  chmodSync(directory, 0o755);
  writeFileSync(`${directory}/aardvark-dns`, script, { mode: 0o755 });
  const own = new TestResolver([`${directory}/aardvark-dns`]);
  try {
    await test(own);
    await own.end();
    assert.equal(own.processes(), []);
    assert.equal(readdirSync(own.runDir), []);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

names('a version that ends when one address is taken still serves other networks, after a kill too', () =>
  withProgram(STRICT, async (own) => {
    await own.register('web:1', web);
    const taken = await Upstream.at('10.89.2.1', '7.7.7.3');
    try {
      const [refused, named] = await Promise.all([own.register('mail:1', mail), own.register('db:1', db)]);
      assert.match(refused.type === 'refused' ? refused.fault.message : '', `pid ${process.pid}`);
      assert.equal(named, { type: 'named' });
      own.forget({ 'web:1': web, 'db:1': db, 'mail:1': mail });
      await own.until('serving');
      process.kill(own.processes()[0]!, 'SIGKILL');
      await own.until('restarting');
      await own.until('steadying');
      const ask = () => dig(own.outside, web[0]!.netns, '10.89.0.1', 'db');
      await until('the others are answered', async () => (await ask()) === 'NOERROR 10.89.0.3');
    } finally {
      taken.close();
    }
  }),
);

names('the fault contains the output of a server that does not start', () =>
  withProgram(`#!/bin/sh\necho 'failed to get upstream nameservers' >&2; exit 1\n`, async (own) => {
    const answer = await own.register('web:1', web);
    assert.is(answer.type === 'refused' && answer.fault.code, 'DNS_FAILED');
    assert.match(answer.type === 'refused' ? answer.fault.message : '', '(failed to get upstream nameservers)');
  }),
);

names('fifty concurrent requests need only a few rounds', async () => {
  const all = Array.from({ length: 50 }, (_, n) =>
    web.map((entry) => ({ ...entry, addresses: [`10.89.0.${100 + n}`], names: [`n${n}`] })),
  );
  const states: string[] = [];
  const subscription = resolver.actor.subscribe(({ value }) => states.push(value));
  const answers = await Promise.all(all.map((entries, n) => resolver.register(`n${n}:1`, entries)));
  subscription.unsubscribe();
  assert.equal(new Set(answers.map(({ type }) => type)), new Set(['named']));
  const rounds = states.filter((state, n) => state === 'writing' && states[n - 1] !== 'writing').length;
  assert.is(rounds, 2, 'the first alone, all others together');
  assert.is(await from(web, 'n49'), 'NOERROR 10.89.0.149');
});

names('without the program, names are refused as unavailable, and nothing is left', async () => {
  const without = new TestResolver(['/nonexistent/aardvark-dns']);
  const answer = await without.register('web:1', web);
  assert.is(answer.type === 'refused' && answer.fault.code, 'DNS_UNAVAILABLE');
  await without.until('idle');
  assert.equal(readdirSync(without.runDir), []);
  without.actor.stop();
});

names.run();

/**
 * The command line of cleat-netavark, and what it asks of the daemon: every option of netavark in every form, before and after the
 * verb; what is refused, and with which exit code; and daemons that answer badly or not at all. No daemon: a stand-in on the socket.
 */
import { createServer, type Server } from 'node:http';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ROOT, run, type Ended } from '../hook/run.ts';
import { NETAVARK } from '../harness/netavark.ts';

const tests = suite('arguments of cleat-netavark');
const directory = mkdtempSync(join(tmpdir(), 'netavark-'));
const CLEAT_SOCKET = join(directory, 's');
const ANSWER = '{"web":{"interfaces":{}}}';

interface Asked {
  method: string;
  url: string;
  body: string;
}
const asked: Asked[] = [];
let answer: { status: number; body: string };
let server: Server;

tests.before(async () => {
  server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => (body += text));
    request.on('end', () => {
      const { method = '', url = '' } = request;
      asked.push({ method, url, body });
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body);
    });
  });
  await new Promise<void>((listening) => server.listen(CLEAT_SOCKET, listening));
});
tests.before.each(() => {
  asked.length = 0;
  answer = { status: 200, body: ANSWER };
});
tests.after(() => void server.close());

const call = (args: string[], input = '', more: NodeJS.ProcessEnv = {}): Promise<Ended> =>
  run(NETAVARK, args, input, { CLEAT_SOCKET, ...more });

async function sends(args: string[], url: string, body: string, input = ''): Promise<void> {
  asked.length = 0;
  const { code, stdout, stderr } = await call(args, input);
  assert.equal([code, stdout, stderr], [0, `${ANSWER}\n`, ''], args.join(' '));
  assert.equal(asked, [{ method: 'POST', url: `/v1/netavark/${url}`, body }], args.join(' '));
}

/** In the way of clap, which reads netavark's arguments: words on stderr, exit code 2. */
async function isMistake(args: string[], message: RegExp): Promise<void> {
  asked.length = 0;
  const { code, stdout, stderr } = await call(args, '{}');
  assert.equal([code, stdout], [2, ''], args.join(' '));
  assert.match(stderr, message);
  assert.equal(asked, []);
}

async function isError(args: string[], message: RegExp, input = '{}', more: NodeJS.ProcessEnv = {}): Promise<void> {
  const { code, stdout, stderr } = await call(args, input, more);
  assert.equal([code, stderr], [1, ''], args.join(' '));
  assert.match((JSON.parse(stdout) as { error: string }).error, message);
}

tests('the request is passed on as it is, and so is the answer', async () => {
  const input = '{"a": "\\u00e9\u00e9", "b":[1,  2]}\n';
  await sends(['setup', '/run/netns/n'], 'setup?netns=%2Frun%2Fnetns%2Fn', input, input);
  await sends(['teardown', '/proc/1/ns/net'], 'teardown?netns=%2Fproc%2F1%2Fns%2Fnet', '', '');
  await sends(['setup', 'a b&c=d\u00e9%'], 'setup?netns=a%20b%26c%3Dd%C3%A9%25', '{}', '{}');
  await sends(['create'], 'create', '{}', '{}');
  answer = { status: 204, body: '' };
  assert.equal(await call(['teardown', 'n'], '{}').then(({ code, stdout }) => [code, stdout]), [0, '']);
});

tests('each option in each form, before the verb and after it', async () => {
  const options = [
    ['--config', '/run/c'],
    ['--config=/run/c'],
    ['-c', '/run/c'],
    ['-c/run/c'],
    ['-c=/run/c'],
    ['--rootless', 'false'],
    ['--rootless=true'],
    ['-r', 'true'],
    ['-rfalse'],
    ['--aardvark-binary=/a'],
    ['-a', '/a'],
    ['--plugin-directory', '/p', '--plugin-directory=/q'],
    ['--firewall-driver', 'nftables'],
    ['--firewall-driver=iptables'],
  ];
  for (const option of options) {
    await sends([...option, 'setup', 'n'], 'setup?netns=n', '{}', '{}');
    await sends(['setup', ...option, 'n'], 'setup?netns=n', '{}', '{}');
    await sends(['setup', 'n', ...option], 'setup?netns=n', '{}', '{}');
  }
  await sends(['--', 'setup', '--config'], 'setup?netns=--config', '{}', '{}');
});

tests('the request of a file, of a descriptor, or of none', async () => {
  const file = join(directory, 'request.json');
  writeFileSync(file, '{"from":"a file"}');
  for (const form of [['-f', file], ['--file', file], [`--file=${file}`], [`-f${file}`]])
    await sends([...form, 'setup', 'n'], 'setup?netns=n', '{"from":"a file"}', 'not this');
  await sends(['-f', '/dev/fd/0', 'setup', 'n'], 'setup?netns=n', '{"from":"stdin"}', '{"from":"stdin"}');
  await isError(['-f', join(directory, 'none'), 'setup', 'n'], /^failed to load network options: .*none: No such file/);
  await isError(['-f', directory, 'setup', 'n'], /Is a directory/);
  await isError(['setup', 'n'], /larger than 1 MiB/, 'x'.repeat(2 ** 20 + 1));
});

tests('update has a list of servers, which may be empty', async () => {
  const body = (...servers: string[]) => JSON.stringify({ network_dns_servers: servers });
  for (const [words, expected] of [
    [['--network-dns-servers', '192.0.2.1,fd00::1'], body('192.0.2.1', 'fd00::1')],
    [['--network-dns-servers=192.0.2.1', '--network-dns-servers', 'x"y'], body('192.0.2.1', 'x"y')],
    [['--network-dns-servers', ''], body()],
  ] as const) {
    await sends(['update', 'web', ...words], 'update?network=web', expected);
    await sends(['update', ...words, 'web'], 'update?network=web', expected);
  }
  await isMistake(['update', 'web'], /--network-dns-servers/);
  await isMistake(['update', '--network-dns-servers', '192.0.2.1'], /<NETWORK_NAME>/);
  await isMistake(['setup', 'n', '--network-dns-servers', '192.0.2.1'], /'--network-dns-servers'/);
});

tests('what is called wrongly', async () => {
  await isMistake([], /USAGE:/);
  await isMistake(['bogus'], /'bogus'/);
  await isMistake(['setup'], /<NETWORK_NAMESPACE_PATH>/);
  await isMistake(['setup', ''], /<NETWORK_NAMESPACE_PATH>/);
  await isMistake(['setup', 'a', 'b'], /'b'/);
  await isMistake(['version', 'x'], /'x'/);
  await isMistake(['--bogus', 'setup', 'n'], /'--bogus'/);
  await isMistake(['setup', 'n', '-x'], /'-x'/);
  await isMistake(['setup', 'n', '--config'], /'--config' requires a value/);
  await isMistake(['-c', '/a', '-c', '/b', 'setup', 'n'], /'--config' was provided more than once/);
  await isMistake(['-r', 'maybe', 'setup', 'n'], /"maybe"/);
  await isMistake(['setup\x1b[31m\u202e'], /'setup \[31m '/);
});

tests('help and versions', async () => {
  for (const args of [['--help'], ['-h'], ['help'], ['setup', '--help'], ['help', 'update']]) {
    const { code, stdout, stderr } = await call(args);
    assert.equal([code, stderr], [0, ''], args.join(' '));
    assert.match(stdout, /^cleat-netavark, .*USAGE:.*EXAMPLES:/s);
  }
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  assert.is((await call(['--version'])).stdout, `cleat-netavark ${version}\n`);
  assert.is((await call(['-V'])).stdout, (await call(['--version'])).stdout);
  const { code, stdout } = await call(['version']);
  assert.is(code, 0);
  assert.equal(Object.keys(JSON.parse(stdout) as object), ['version', 'commit', 'build_time', 'target']);
  assert.equal(asked, []);
});

tests('what netavark can do and cleat cannot', async () => {
  for (const verb of ['dhcp-proxy', 'firewalld-reload', 'nftables-reload'])
    await isError([verb], /is no part of cleat/);
  await isError(['--firewall-driver', 'none', 'setup', 'n'], /^firewall driver none is not supported$/);
  await isError(['setup', 'n'], /^firewall driver none is not supported$/, '{}', { NETAVARK_FW: 'none' });
  assert.equal(asked, []);
});

tests('errors of the daemon, without what is for readers of its API', async () => {
  answer = {
    status: 409,
    body: '{"error":{"code":"PORT_TAKEN","message":"port 80\\u001b\\u202e is \\"taken\\"","hint":"h"}}',
  };
  await isError(['setup', 'n'], /^port 80 {3}is "taken" \(PORT_TAKEN\)$/);
  for (const body of ['', '{', '[]', '{"error":7}', 'x'.repeat(100_000)]) {
    answer = { status: 500, body };
    await isError(['setup', 'n'], /^the daemon answered with status 500 and no reason$/);
  }
  await isError(['setup', 'n'], /no daemon at .*: No such file or directory/, '{}', {
    CLEAT_SOCKET: join(directory, 'no'),
  });
});

tests.run();

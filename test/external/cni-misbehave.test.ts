// slow: 40 s, plugins hang until they are killed, and the daemon is killed and started again
/**
 * Plugins that crash, print garbage or a megabyte, hang, or refuse; and a daemon that is killed while one is at work. The fault
 * says what happened, in the plugin's own words, and everything is undone: what earlier plugins of the chain made, too.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, pathOf, TestDaemon } from '../harness/daemon.ts';
import { cniGround, rules } from '../harness/conflist.ts';
import { commandLines, until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const ground = cniGround(daemon.directory);
daemon.externals = { cniPlugins: [ground.directory, '/usr/lib/cni'], pluginTimeout: '2' };
const directory = daemon.directory;
const bad = suite('plugins that misbehave');
const running = (word: string): string[][] =>
  [...commandLines().values()].filter((words) => words.some((one) => one.includes(word)));
const links = (): string => execFileSync('ip', ['-json', 'link', 'show', 'type', 'veth'], { encoding: 'utf8' }).trim();

bad.before(() => daemon.start());
bad.after(async () => void (await daemon.stop()));

/** Behaves until it is asked to add something; removals are written down. */
const behaves = (add: string, more = ''): string => `
cat > ${directory}/last
case "$CNI_COMMAND" in
ADD) ${add} ;;
DEL) echo removed >> ${directory}/removed ${more} ;;
esac
`;

let count = 0;
/** A network with a bridge, and this plugin behind it. */
async function network(add: string, more?: string, bridge: object = {}): Promise<string> {
  const name = `bad${count++}`;
  ground.standIn(name, behaves(add, more));
  const conflist = ground.conflist(name, [
    ground.bridge('10.84.0.0/24', { bridge: 'cni2', ...bridge }),
    { type: name },
  ]);
  await daemon.network({ name, driver: 'cni', options: { conflist } });
  return name;
}

async function nothingIsLeft(name: string): Promise<void> {
  assert.equal(ground.leases(name), []);
  await until('the links have gone', () => links() === '[]');
  assert.equal(running(`${ground.directory}/${name}`), []);
  assert.equal(running(`${directory}/last`), [], 'what it has started');
  await daemon.clean();
}

const WAYS: Record<string, { add: string; message: RegExp }> = {
  crashes: { add: 'kill -SEGV $$', message: /signal 11 ended it/ },
  'fails without a word': { add: 'exit 3', message: /it ended with status 3, without a word/ },
  'prints garbage': { add: 'echo "no { json"', message: /it printed no result, but "no \{ json/ },
  'prints nothing': { add: ':', message: /it printed no result/ },
  'prints a list': { add: 'echo "[]"', message: /it printed no result/ },
  'prints a megabyte': { add: 'yes 0123456789 | head -c 1048576', message: /printed more than 262144 bytes/ },
  'prints without an end': { add: 'yes', message: /printed more than 262144 bytes/ },
  hangs: { add: 'sleep 1000', message: /has not ended after 2 s, and was killed/ },
  'hangs with children that ignore signals': {
    add: `trap '' TERM INT HUP; tail -f ${directory}/last >/dev/null 2>&1 & sleep 1001`,
    message: /has not ended after 2 s, and was killed/,
  },
  'hangs with a child in a session of its own': {
    add: `setsid tail -f ${directory}/last >/dev/null 2>&1 & sleep 1001`,
    message: /has not ended after 2 s, and was killed/,
  },
  'refuses, in the form of the specification': {
    add: `echo '{"cniVersion":"1.0.0","code":7,"msg":"no such colour","details":"blue"}'; echo "more of it" >&2; exit 1`,
    message: /no such colour; blue \(code 7\); it said: more of it/,
  },
  'complains without an end': {
    add: 'yes complaint | head -c 3000000 >&2; exit 1',
    message: /it ended with status 1, without a word; it said: \.\.\..*complaint/s,
  },
};

for (const [way, { add, message }] of Object.entries(WAYS)) {
  bad(`a plugin that ${way} leaves nothing`, async () => {
    rmSync(`${directory}/removed`, { force: true });
    const name = await network(add);
    await daemon.done({ type: 'create', id: 'a', networks: on(name) });
    const { body } = await daemon.event({ type: 'configure', id: 'a' });
    assert.is(body.error?.code, 'EXTERNAL_FAILED', JSON.stringify(body));
    assert.match(body.error?.message ?? '', message);
    assert.ok((body.error?.message ?? '').startsWith(`plugin ${name} of conflist ${name} (ADD) failed: `));
    assert.is(body.error?.step, 'addExternal');
    assert.is(body.error?.object, name);
    assert.ok(existsSync(`${directory}/removed`), 'it was asked to remove what it may have made');
    const { body: after } = await daemon.get('/v1/containers/a');
    assert.is(after.state, 'created');
    await nothingIsLeft(name);
    await daemon.down('a');
  });
}

bad('a plugin that is missing is a fault, and so is its removal until it is back', async () => {
  const name = await network(`jq -c .prevResult ${directory}/last`);
  await daemon.up('a', { networks: on(name) });
  const plugin = readFileSync(`${ground.directory}/${name}`, 'utf8');
  rmSync(`${ground.directory}/${name}`);
  const { body } = await daemon.event({ type: 'teardown', id: 'a' });
  assert.match(body.error?.message ?? '', new RegExp(`there is no executable at .*/${name} or /usr/lib/cni/${name}`));
  const { body: left } = await daemon.get('/v1/containers/a');
  assert.is(left.state, 'teardownFailed');
  assert.is(left.leftovers?.[0]?.code, 'EXTERNAL_FAILED');
  // What could be removed is: the bridge's plugin did not wait for the other one.
  assert.equal(ground.leases(name), []);
  ground.standIn(name, plugin.replace('#!/bin/sh\n', ''));
  await daemon.gone('a');
  await nothingIsLeft(name);
});

bad('a removal that hangs is tried again', async () => {
  const name = await network(`jq -c .prevResult ${directory}/last`, `; [ -e ${directory}/healed ] || sleep 1000`);
  await daemon.up('a', { networks: on(name) });
  const { body } = await daemon.event({ type: 'teardown', id: 'a' });
  assert.match(body.error?.message ?? '', /\(DEL\) failed: it has not ended after 2 s/);
  writeFileSync(`${directory}/healed`, '');
  await daemon.gone('a');
  await nothingIsLeft(name);
});

bad(
  'a plugin that needs the result to remove has what its ADD was given, after a failure and after kill -9',
  async () => {
    const left = () => rules().filter((line) => line.includes('10.84.0.'));
    const [fifo, begun] = [`${directory}/fifo-of-late`, `${directory}/late`];
    execFileSync('mkfifo', [fifo]);
    ground.standIn(
      'late',
      behaves(
        `if [ -e ${begun} ]; then jq -c .prevResult ${directory}/last; else touch ${begun}; timeout 20 cat ${fifo}; exit 1; fi`,
      ),
    );
    const conflist = ground.conflist('late', [
      ground.bridge('10.84.0.0/24', { bridge: 'cni2', ipMasq: false }),
      { type: 'firewall', backend: 'iptables' },
      { type: 'late' },
    ]);
    await daemon.network({ name: 'late', driver: 'cni', options: { conflist } });
    await daemon.done({ type: 'create', id: 'a', networks: on('late') });
    // It hangs: the plugin is ended, and the attachment undone.
    assert.is((await daemon.event({ type: 'configure', id: 'a' })).body.error?.code, 'EXTERNAL_FAILED');
    assert.equal(left(), []);
    rmSync(begun);
    const answer = daemon.event({ type: 'configure', id: 'a' }).catch(() => null);
    await until('the plugin waits', () => running(fifo).length > 0);
    assert.is(left().length, 2, 'the address, as source and as destination');
    await daemon.kill();
    await answer;
    await daemon.start();
    const { status, text } = await daemon.get(`/v1/containers/a?wait=up&timeout=15000`);
    assert.is(status, 200, text);
    assert.is(left().length, 2);
    await daemon.clean();
    await daemon.down('a');
    assert.equal(left(), []);
    assert.not(existsSync(`${daemon.runDir}/given`));
    await nothingIsLeft('late');
  },
);

bad('kill -9 while a plugin adds: the next daemon ends it, and begins anew', async () => {
  // It reads the fifo until it is killed: nobody writes. The second time, it answers.
  const fifo = `${directory}/fifo`;
  execFileSync('mkfifo', [fifo]);
  const name = await network(
    `if [ -e ${directory}/begun ]; then jq -c .prevResult ${directory}/last; else touch ${directory}/begun; cat ${fifo}; fi`,
  );
  await daemon.done({ type: 'create', id: 'a', networks: on(name) });
  const answer = daemon.event({ type: 'configure', id: 'a' }).catch(() => null);
  await until('the plugin waits', () => running(fifo).length > 0);
  assert.is(ground.leases(name).length, 1);
  await daemon.kill();
  await answer;
  assert.ok(running(fifo).length > 0, 'the plugin goes on without the daemon');
  await daemon.start();
  const { status, text } = await daemon.get(`/v1/containers/a?wait=up&timeout=15000`);
  assert.is(status, 200, text);
  assert.equal(running(fifo), []);
  assert.is(ground.leases(name).length, 1);
  await daemon.clean();
  await daemon.down('a');
  await nothingIsLeft(name);
});

bad('kill -9 while an attachment is made anew: the next daemon ends the plugin, and begins anew', async () => {
  // The first time it answers, the second time it reads the fifo until it is killed, and then it answers.
  const [fifo, adds] = [`${directory}/fifo`, `${directory}/adds`];
  const name = await network(
    `echo >> ${adds}; if [ "$(wc -l < ${adds})" = 2 ]; then cat ${fifo}; else jq -c .prevResult ${directory}/last; fi`,
    '',
    { capabilities: { ips: true, mac: true } },
  );
  // With the same addresses and MAC, what is half made looks whole.
  const wish = { static_ips: ['10.84.0.9'], static_mac: '02:00:00:00:00:09' };
  const a = await daemon.up('a', { networks: { [name]: wish } });
  execFileSync('nsenter', [`--net=${pathOf(a)}`, 'ip', 'link', 'del', 'eth0']);
  await until('the plugin waits', () => running(fifo).length > 0);
  await daemon.kill();
  await daemon.start();
  const { status, text } = await daemon.get(`/v1/containers/a?wait=up&timeout=15000`);
  assert.is(status, 200, text);
  assert.equal(running(fifo), []);
  assert.is(readFileSync(adds, 'utf8').length, 3, 'it was asked again');
  await daemon.clean();
  await daemon.down('a');
  await nothingIsLeft(name);
});

bad('kill -9 while a plugin removes: the next daemon removes', async () => {
  const name = await network(
    `jq -c .prevResult ${directory}/last`,
    `; if [ ! -e ${directory}/leaving ]; then touch ${directory}/leaving; cat ${directory}/fifo; fi`,
  );
  await daemon.up('a', { networks: on(name) });
  const answer = daemon.event({ type: 'teardown', id: 'a' }).catch(() => null);
  await until('the plugin waits', () => running(`${directory}/fifo`).length > 0);
  await daemon.kill();
  await answer;
  await daemon.start();
  await daemon.gone('a');
  await nothingIsLeft(name);
});

bad('a container that goes while a plugin adds is removed when the plugin has ended', async () => {
  const name = await network(`sleep 1; jq -c .prevResult ${directory}/last`);
  await daemon.done({ type: 'create', id: 'a', networks: on(name) });
  const configure = daemon.event({ type: 'configure', id: 'a' });
  await until('the plugin works', () => running(`${ground.directory}/${name}`).length > 0);
  await daemon.done({ type: 'teardown', id: 'a' });
  await configure;
  await daemon.gone('a');
  await nothingIsLeft(name);
});

bad.run();

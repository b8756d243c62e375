// slow: 25 s, Podman takes a third of a second for each of its thirty commands
/**
 * The real Podman of a plain user on cleat: its helper runs in a network namespace of the user's containers, where a daemon is
 * started on demand. Ports, names, several networks, connect, reload, disconnect; a daemon that is killed; and nothing runs on
 * after the last container.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { commandLines, until } from '../harness/native.ts';
import { IMAGE, Podman } from '../harness/podman.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const tests = suite('rootless podman');
const podman = new Podman({ rootless: true });
const server = (name: string) => [IMAGE, 'sh', '-c', `echo ${name} > /tmp/index.html; exec httpd -f -h /tmp`];

tests.before(async () => {
  execFileSync('ip', ['-batch', '-'], {
    input: `link set lo up
      link add lan0 type veth peer name lan1
      addr add 192.0.2.1/24 dev lan0
      link set lan0 up
      link set lan1 up
      route add default via 192.0.2.2\n`,
  });
  await podman.importImage();
});
tests.after(async () => {
  await podman.do('rm', '--all', '--force', '--time', '0');
});

/** The processes of the daemon and what it runs. */
const running = (word: string): number[] =>
  [...commandLines()].flatMap(([pid, words]) => (words.join(' ').includes(word) ? [pid] : []));
const daemons = () => running('--exit-when-idle');
const answers = (port: number, name: string) =>
  until(`${name} answers at ${port}`, () => {
    const argv = ['-s', '-m', '2', `http://127.0.0.1:${port}/`];
    return spawnSync('curl', argv, { encoding: 'utf8' }).stdout.trim() === name;
  });
const nameOf = async (asker: string, name: string): Promise<string> => {
  const { stdout } = await podman.run('exec', asker, 'nslookup', name);
  return [...new Set([...stdout.matchAll(/^Address: (\S+)$/gm)].map(([, address]) => address))].join(' ');
};

tests('containers of a user, from the first to the last', async () => {
  assert.equal(daemons(), []);
  await podman.do('network', 'create', '--subnet', '10.90.1.0/24', 'one');
  await podman.do('network', 'create', '--subnet', '10.90.2.0/24', 'two');
  await podman.start('web', '--network', 'one', '--ip', '10.90.1.9', '-p', '8080:80', ...server('web'));
  assert.is(daemons().length, 1, 'one daemon was started');
  await podman.start('client', '--network', 'one', IMAGE, 'sleep', '10000');
  assert.is(daemons().length, 1, 'and is the one of the second container, too');
  assert.is(await nameOf('client', 'web'), '10.90.1.9');
  await answers(8080, 'web');
  await podman.do('network', 'connect', 'two', 'web');
  await podman.do('network', 'reload', 'web');
  await podman.do('network', 'disconnect', 'one', 'web');
  await answers(8080, 'web');

  const [daemon = 0] = daemons();
  process.kill(daemon, 'SIGKILL');
  await until('it has ended', () => !daemons().includes(daemon));
  await answers(8080, 'web');
  await podman.do('network', 'connect', '--ip', '10.90.1.10', 'one', 'web');
  assert.is(daemons().length, 1, 'another one was started, and knows the containers');
  assert.is(await nameOf('client', 'web'), '10.90.1.10');

  await podman.do('rm', '--force', '--time', '0', 'web');
  await podman.do('rm', '--force', '--time', '0', 'client');
  await podman.do('network', 'rm', 'one', 'two');
  await until('the daemon has left', () => daemons().length === 0);
  await until('the resolver has left', () => running('aardvark-dns').length === 0);
});

tests.run();

// slow: 25 s, tokens have to end
/**
 * An etcd with users and roles: a daemon goes on when they are enabled, when its token has ended, when a member has forgotten all tokens,
 * and when its password is another one; a wrong password and a role that is too small are said, and change nothing.
 */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Gateway } from '../../effects/etcd/gateway.ts';
import { Store, type Change } from '../../effects/etcd/store.ts';
import type { OverlayView } from '../../state/answers/overlay.ts';
import { addHost, daemonOn, Etcd, program } from '../harness/etcd.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const users = suite('etcd with users');
const TTL = 5;
const TOKEN_S = 1;
const etcd = new Etcd(1, ['--auth-token-ttl', String(TOKEN_S)]);
const root = (...words: string[]): string => etcd.ctl(0, '--user', 'root:root', ...words);
const PASSWORD = '/run/password';
addHost('a', '192.0.2.1');
const daemon = daemonOn('a', '192.0.2.1', etcd.endpoints, TTL);
daemon.etcd = { ...daemon.etcd, etcdUser: 'cleat', etcdPasswordFile: PASSWORD };

const storeOf = (user: string, password: string): Store => {
  const passwordFile = `/run/password-${user}`;
  writeFileSync(passwordFile, `${password}\n`);
  return new Store(
    new Gateway({ endpoints: etcd.endpoints, ca: null, cert: null, key: null, login: { user, passwordFile } }),
  );
};
const view = async (): Promise<OverlayView> => (await daemon.get<OverlayView>('/v1/networks/web/overlay')).body;
async function until(so: () => boolean | Promise<boolean>, what: string, ms = 20_000): Promise<void> {
  for (const end = performance.now() + ms; !(await so());) {
    if (performance.now() > end) assert.unreachable(`${what}: not in ${ms} ms: ${JSON.stringify(await view())}`);
    await sleep(50);
  }
}
/** The share is renewed from now on, under the lease that it had. */
async function isRenewed(): Promise<void> {
  const { lease_ends: before } = await view();
  await until(async () => ((await view()).lease_ends ?? 0) > (before ?? 0) + 500, 'renewed');
}
const message = (work: Promise<unknown>): Promise<string> =>
  work.then(
    (answer) => `answered: ${JSON.stringify(answer)}`,
    (error: Error) => error.message,
  );

users.before(async () => {
  await etcd.start();
  writeFileSync(PASSWORD, 'secret\n', { mode: 0o600 });
  etcd.ctl(0, 'user', 'add', 'root:root');
  etcd.ctl(0, 'user', 'grant-role', 'root', 'root');
  etcd.ctl(0, 'role', 'add', 'cleat');
  etcd.ctl(0, 'role', 'grant-permission', 'cleat', 'readwrite', '--prefix=true', '/cleat/');
  etcd.ctl(0, 'user', 'add', 'cleat:secret');
  etcd.ctl(0, 'user', 'grant-role', 'cleat', 'cleat');
  etcd.ctl(0, 'role', 'add', 'small');
  etcd.ctl(0, 'role', 'grant-permission', 'small', 'read', '--prefix=true', '/cleat/');
  etcd.ctl(0, 'user', 'add', 'small:small');
  etcd.ctl(0, 'user', 'grant-role', 'small', 'small');
  await daemon.start();
});
users.after(async () => {
  await daemon.stop();
  await etcd.stop();
});

users('a daemon that has a user goes on when users are enabled', async () => {
  await daemon.network({ name: 'web', driver: 'overlay', subnets: [{ subnet: '10.140.0.0/16' }] });
  await daemon.up('one', { networks: { web: {} } });
  const before = await view();
  etcd.ctl(0, 'auth', 'enable');
  await isRenewed();
  const { shares, state } = await view();
  assert.equal([state, shares], ['holding.leased', before.shares]);
  const other = await daemon.network({ name: 'other', driver: 'overlay', subnets: [{ subnet: '10.141.0.0/16' }] });
  assert.match(other.subnets[0]?.subnet ?? '', /^10\.141\./);
  assert.is((await daemon.request('DELETE', '/v1/networks/other')).status, 204);
});

users(
  'without a user, with a wrong password, or with a role that is too small it is said why, and nothing changes',
  async () => {
    const revision = () => /"revision":(\d+)/.exec(root('get', 'x', '-w', 'json'))?.[1];
    const before = revision();
    const put = [{ put: '/cleat/v1/x', value: 'x' }];
    const nobody = new Store(new Gateway({ endpoints: etcd.endpoints, ca: null, cert: null, key: null }));
    assert.match(await message(nobody.get('/cleat/v1/x')), /user name is empty; the daemon needs --etcd-user/);
    assert.match(
      await message(storeOf('cleat', 'wrong').transaction([], put)),
      /etcd refuses user cleat \(\/run\/password-cleat\): .*invalid user ID or password$/,
    );
    const small = storeOf('small', 'small');
    assert.is(await small.get('/cleat/v1/x'), null);
    const denied = /permission denied; the role of its user needs readwrite of all keys that begin with \/cleat\//;
    assert.match(await message(small.transaction([], put)), denied);
    const own = storeOf('cleat', 'secret');
    assert.match(await message(own.get('/others')), denied);
    assert.match(await message(own.transaction([], [{ put: '/others', value: '' }])), denied);
    assert.match(await message(storeOf('cleat', '').get('x')), /the password for etcd is empty/);
    const missing = storeOf('cleat', 'secret');
    rmSync('/run/password-cleat');
    assert.match(await message(missing.get('x')), /the password for etcd cannot be read: ENOENT/);
    assert.is(revision(), before);
  },
);

users('a token that has ended is replaced: for requests, many at once, and for a watch', async () => {
  const store = storeOf('cleat', 'secret');
  assert.is(await store.get('/cleat/v1/nothing'), null);
  await sleep(TOKEN_S * 3000);
  const answers = await Promise.all(Array.from({ length: 8 }, () => store.get('/cleat/v1/nothing')));
  assert.equal(answers, Array(8).fill(null));
  const seen: Change[] = [];
  const { revision } = await store.list('/cleat/v1/w/');
  const end = store.watch('/cleat/v1/w/', revision + 1, {
    began: () => {},
    changed: (changes) => seen.push(...changes),
    ended: () => {},
  });
  await sleep(TOKEN_S * 3000);
  await store.transaction([], [{ put: '/cleat/v1/w/1', value: 'x' }]);
  await until(() => seen.length === 1, 'seen');
  await store.transaction([], [{ delete: '/cleat/v1/w/1' }]);
  end();
});

users(
  'a member that was started again has forgotten all tokens: the share is held, and what others write is seen',
  async () => {
    const before = await view();
    await etcd.kill(0);
    etcd.startMember(0, 'existing');
    await isRenewed();
    const after = await view();
    assert.equal([after.state, after.shares], ['holding.leased', before.shares]);
    const peer = { host: '1'.repeat(32), address: '192.0.2.9', mac: '02:00:00:00:00:08', generation: 1, place: 'x' };
    root('put', '/cleat/v1/networks/web/subnets/10.140.251.0-24', JSON.stringify(peer));
    await until(async () => (await view()).peers.length === 1, 'a peer');
    root('del', '/cleat/v1/networks/web/subnets/10.140.251.0-24');
  },
);

users('a password that is another one is used when its file is replaced; until then it is said', async () => {
  execFileSync(
    'ip',
    [
      'netns',
      'exec',
      'etcd0',
      program('etcdctl'),
      '--user',
      'root:root',
      'user',
      'passwd',
      'cleat',
      '--interactive=false',
    ],
    {
      input: 'new\n',
      env: { ...process.env, ETCDCTL_API: '3' },
    },
  );
  // Renewals need no user. What others write is listed when the watch ends.
  await etcd.kill(0);
  etcd.startMember(0, 'existing');
  await until(async () => ((await view()).outage?.why ?? '').includes('etcd refuses user cleat'), 'refused');
  assert.match((await daemon.get('/v1/doctor')).text, /etcd refuses user cleat/);
  assert.not.match(daemon.log(), /secret/, 'no password in the log');
  writeFileSync(PASSWORD, 'new\n');
  await until(async () => {
    const { state, outage } = await view();
    return state === 'holding.leased' && outage === null;
  }, 'held again');
  await daemon.down('one');
  assert.is((await daemon.request('DELETE', '/v1/networks/web')).status, 204);
  const left = root('get', '--prefix', '--keys-only', '/cleat/')
    .split('\n')
    .filter((key) => key !== '');
  assert.equal(
    left.filter((key) => !key.includes('/rests/')),
    [],
  );
});

users.run();

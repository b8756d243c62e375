// slow: 25 s, members that are frozen are noticed after seconds, and elect a leader
/**
 * The client of etcd against a real etcd of three members: pages, transactions, leases, watches, members that freeze or lose their
 * leader, compaction, and certificates that are replaced.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Gateway } from '../../effects/etcd/gateway.ts';
import { newLease, Store, type Change } from '../../effects/etcd/store.ts';
import { FaultError } from '../../state/faults.ts';
import { Etcd } from '../harness/etcd.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();
const client = suite('etcd client');

/** Makes an authority, and with it a certificate for the members and one for clients. */
function certificates(directory: string): void {
  mkdirSync(directory, { recursive: true });
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'ignore' });
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30'];
  openssl('req', '-x509', ...ec, '-subj', '/CN=authority', '-keyout', 'ca.key', '-out', 'ca.pem');
  for (const name of ['member', 'client']) {
    openssl('req', ...ec, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
    writeFileSync(
      `${directory}/${name}.ext`,
      'subjectAltName=IP:192.0.2.201,IP:192.0.2.202,IP:192.0.2.203,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n',
    );
    const sign = ['-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '30'];
    openssl('x509', ...sign, '-extfile', `${name}.ext`, '-out', `${name}.pem`);
  }
}

certificates('/run/pki');
certificates('/run/other');
const tls = ['--cert-file', '/run/pki/member.pem', '--key-file', '/run/pki/member.key'];
const etcd = new Etcd(3, [...tls, '--trusted-ca-file', '/run/pki/ca.pem', '--client-cert-auth']);
mkdirSync('/run/mine');
const place = (from: string) => {
  for (const name of ['ca.pem', 'client.pem', 'client.key']) copyFileSync(`${from}/${name}`, `/run/mine/${name}`);
};
const PLACES = { ca: '/run/mine/ca.pem', cert: '/run/mine/client.pem', key: '/run/mine/client.key' };
place('/run/pki');
const gateway = new Gateway({ endpoints: etcd.endpoints, ...PLACES });
const store = new Store(gateway);

client.before(() => etcd.start());
client.after(async () => {
  gateway.close();
  await etcd.stop();
});

const unreachable = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(
    () => assert.unreachable('it was answered'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof FaultError, String(error));
  assert.is(error.fault.code, 'STORE_UNREACHABLE');
  return error.message;
};

client('a list is of one revision, however many pages it takes', async () => {
  const keys = Array.from({ length: 2500 }, (_, n) => `p/${String(n).padStart(5, '0')}`);
  for (let at = 0; at < keys.length; at += 100) {
    await store.transaction(
      [],
      keys.slice(at, at + 100).map((put) => ({ put, value: put })),
    );
  }
  const listing = store.list('p/');
  const { entries, revision } = await listing;
  assert.equal(
    entries.map(({ key }) => key),
    keys,
  );
  assert.is(revision, Math.max(...entries.map(({ modified }) => modified)));
  assert.is(await store.count('p/'), 2500);
});

client('a transaction compares, also that there is nothing below a prefix', async () => {
  const first = await store.transaction([{ key: 't/a', modified: 0 }], [{ put: 't/a', value: 'ä 1' }]);
  assert.ok(first !== null && first > 0);
  assert.is(await store.transaction([{ key: 't/a', modified: 0 }], [{ put: 't/a', value: '2' }]), null);
  assert.is((await store.get('t/a'))?.value, 'ä 1');
  assert.is(await store.transaction([{ key: 't/', modified: 0, prefix: true }], [{ delete: 't/a' }]), null);
  assert.ok(await store.transaction([{ key: 't/a', modified: first }], [{ delete: 't/a' }]));
  assert.is(await store.get('t/a'), null);
  assert.ok(await store.transaction([{ key: 't/', modified: 0, prefix: true }], [{ put: 'u', value: '' }]));
});

client('a lease is made twice with one id, renewed, looked at, and gone', async () => {
  const id = newLease();
  await store.grant(id, 7);
  await store.grant(id, 7);
  assert.is(await store.keepAlive(id), 7);
  assert.is((await store.remaining(id))?.granted, 7);
  await store.revoke(id);
  await store.revoke(id);
  assert.is(await store.keepAlive(id), 0);
  assert.is(await store.remaining(id), null);
});

/** A watch, and what it has said so far. */
function watching(prefix: string, from: number) {
  const seen: Change[] = [];
  let why: string | null = null;
  const close = store.watch(prefix, from, {
    began: () => {},
    changed: (changes) => seen.push(...changes),
    ended: (reason) => (why = reason),
  });
  const until = async (so: () => boolean, ms = 5000) => {
    for (const end = performance.now() + ms; !so() && performance.now() < end;) await sleep(5);
    assert.ok(so(), `seen ${JSON.stringify(seen)}, ended ${why}`);
  };
  return { seen, close, until, why: () => why };
}

client('a watch tells of writes and of ends of leases, from its revision on', async () => {
  const { revision } = await store.list('w/');
  const id = newLease();
  await store.grant(id, 60);
  await store.transaction([], [{ put: 'w/1', value: 'a', lease: id }]);
  const { seen, until, close } = watching('w/', revision + 1);
  await until(() => seen.length === 1);
  await store.revoke(id);
  await until(() => seen.length === 2);
  assert.equal(
    seen.map((change) => (change.type === 'put' ? change.entry.value : change.key)),
    ['a', 'w/1'],
  );
  close();
});

client('a watch from a revision that was compacted ends, with the reason', async () => {
  const at = await store.transaction([], [{ put: 'c/1', value: '' }]);
  await store.transaction([], [{ put: 'c/1', value: '' }]);
  etcd.ctl(0, 'compact', String((at ?? 0) + 1));
  const { until, why } = watching('c/', (at ?? 0) - 1);
  await until(() => why() !== null);
  assert.match(why() ?? '', /compacted/);
});

client(
  'a member that is frozen is left for the next one, and an idle connection that has ended costs nothing',
  async () => {
    const frozen = etcd.endpoints.indexOf(gateway.endpoint);
    etcd.signal(frozen, 'SIGSTOP');
    const began = performance.now();
    assert.ok(await store.transaction([], [{ put: 'f', value: '1' }]));
    assert.ok(performance.now() - began < 5000, `${performance.now() - began} ms`);
    assert.is.not(gateway.endpoint, etcd.endpoints[frozen]);
    const again = performance.now();
    await store.get('f');
    assert.ok(performance.now() - again < 500, 'the next request goes to the member that answers');
    etcd.signal(frozen, 'SIGCONT');
  },
);

client('requests at the same time each ask every member: one that the others have left is not left out', async () => {
  const [live = ''] = etcd.endpoints;
  const nobody = (port: number) => `https://192.0.2.201:${port}`;
  const endpoints = [nobody(1), live, nobody(2), nobody(3), nobody(4)];
  const many = new Gateway({ endpoints, ...PLACES });
  const answers = await Promise.all(Array.from({ length: 8 }, () => new Store(many).get('nothing')));
  assert.equal(answers, Array(8).fill(null));
  assert.is(many.endpoint, live);
  many.close();
});

client('without a leader, a watch ends and a request is refused in time: nobody answers from the past', async () => {
  const at = etcd.endpoints.indexOf(gateway.endpoint);
  const { until, why } = watching('l/', 0);
  await sleep(200);
  const others = [0, 1, 2].filter((n) => n !== at);
  for (const n of others) etcd.signal(n, 'SIGSTOP');
  try {
    await until(() => why() !== null, 8000);
    assert.match(why() ?? '', /leader/);
    const began = performance.now();
    assert.match(await unreachable(store.get('l/x')), /no member of etcd answers: https:.*; https:.*/);
    assert.ok(performance.now() - began < 7000);
  } finally {
    for (const n of others) etcd.signal(n, 'SIGCONT');
  }
  await etcd.healthy();
  assert.is(await store.get('l/x'), null);
});

client('certificates are checked, and those that are replaced are used without a restart', async () => {
  const fresh = () => new Store(new Gateway({ endpoints: etcd.endpoints, ...PLACES }));
  place('/run/other');
  const stranger = fresh();
  assert.match(await unreachable(stranger.get('x')), /self.signed|unable to (get|verify)|certificate/i);
  place('/run/pki');
  assert.is(await stranger.get('x'), null);
  // Half of a new certificate: the last whole one stays in use.
  writeFileSync('/run/mine/client.pem', '-----BEGIN CERTIFICATE-----\n');
  assert.is(await stranger.get('x'), null);
  assert.match(await unreachable(fresh().get('x')), /certificates for etcd cannot be used/);
  place('/run/pki');
  const nobody = new Store(new Gateway({ endpoints: etcd.endpoints, ca: PLACES.ca, cert: null, key: null }));
  assert.match(await unreachable(nobody.get('x')), /certificate|alert|closed|reset|hang up/i);
});

client.run();

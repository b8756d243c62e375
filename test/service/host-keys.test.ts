/** The private keys of this host: made once for a host id and an overlay, for root alone, and as wg(8) understands them. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HostKeys, publicOf } from '../../service/overlay/host-keys.ts';

const keys = suite('keys of a host');
const [WEB, BACK] = ['a'.repeat(64), 'b'.repeat(64)];
const [HOST, COPY] = ['1'.repeat(32), '2'.repeat(32)];
const nothing = () => {};
const open = (directory: string, ...networks: string[]) => new HostKeys(directory, nothing, new Set(networks));
const fresh = (): string => join(mkdtempSync(join(tmpdir(), 'keys-')), 'wireguard');

keys('a key is made at its first use, for its owner alone, and stays', () => {
  const directory = fresh();
  const first = open(directory);
  assert.equal(readdirSync(directory), [], 'none that nobody needs');
  const key = first.publicKey(WEB, HOST);
  assert.is(first.publicKey(WEB, HOST), key);
  assert.is.not(first.publicKey(BACK, HOST), key, 'each overlay has its own');
  assert.is(statSync(directory).mode & 0o777, 0o700);
  assert.equal(
    readdirSync(directory).map((file) => statSync(join(directory, file)).mode & 0o777),
    [0o600, 0o600],
  );
  const second = open(directory, WEB, BACK);
  assert.is(second.publicKey(WEB, HOST), key);
  assert.is(publicOf(second.privateKey(WEB)), key);
  assert.is(execFileSync('wg', ['pubkey'], { input: second.privateKey(WEB), encoding: 'utf8' }).trim(), key);
});

keys('another host id has another key, which takes the place of the first', () => {
  const directory = fresh();
  const all = open(directory);
  const original = all.publicKey(WEB, HOST);
  const copy = all.publicKey(WEB, COPY);
  assert.is.not(copy, original);
  assert.is(publicOf(all.privateKey(WEB)), copy);
  assert.is(open(directory, WEB).publicKey(WEB, COPY), copy);
  assert.equal(readdirSync(directory), [`${WEB}.json`]);
});

keys('the key of a network that is gone goes too', () => {
  const directory = fresh();
  const all = open(directory);
  all.publicKey(WEB, HOST);
  all.publicKey(BACK, HOST);
  all.forget(WEB);
  all.forget(WEB);
  assert.equal(readdirSync(directory), [`${BACK}.json`]);
  assert.throws(() => all.privateKey(WEB), /no key in overlay aaaaaaaaaaaa/);
  // A crash came between the key and the definition of its network.
  open(directory);
  assert.equal(readdirSync(directory), []);
});

keys('a file that is no key is set aside, and a new key is made', () => {
  const good = { version: 1, host: HOST, private_key: Buffer.alloc(32, 7).toString('base64') };
  const bad = [
    '',
    '{',
    'null',
    JSON.stringify({ ...good, version: 2 }),
    JSON.stringify({ ...good, private_key: 'AAAA' }),
    JSON.stringify({ ...good, private_key: `${good.private_key}\nPublicKey = x` }),
    JSON.stringify({ ...good, host: 'me' }),
    JSON.stringify({ ...good, more: 1 }),
  ];
  for (const text of [JSON.stringify(good), ...bad]) {
    const directory = fresh();
    open(directory);
    writeFileSync(join(directory, `${WEB}.json`), text);
    const all = open(directory, WEB);
    const key = all.publicKey(WEB, HOST);
    const isGood = text === JSON.stringify(good);
    assert.is(key === publicOf(good.private_key), isGood, text);
    assert.equal(all.unreadable, isGood ? [] : [join(directory, `${WEB}.json.unreadable`)], text);
    if (!isGood) assert.is(readFileSync(join(directory, `${WEB}.json.unreadable`), 'utf8'), text);
  }
});

keys.run();

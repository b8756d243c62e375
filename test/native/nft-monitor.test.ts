/** Changes by others to a table of ours, announced by the kernel: `nft` is the others, the addon is us. */
import { execFileSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside, type NftElement, type NftNotification } from '../../native/index.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const TABLE = 'watched';
const outside = openOutside();
const stops: (() => void)[] = [];
const nft = (commands: string): string => execFileSync('nft', ['-f', '-'], { input: commands, encoding: 'utf8' });
const port = (number: number, comment = ''): NftElement => ({ key: [{ byte: 6 }, { port: number }], comment });
const ports = (count: number): NftElement[] => Array.from({ length: count }, (_, i) => port(i + 1));

async function watch(): Promise<NftNotification[]> {
  const events: NftNotification[] = [];
  stops.push(await outside.nftMonitor(TABLE, (event) => events.push(event)));
  return events;
}

/** All notifications up to now: those before another program's change to the table came before its event. */
async function told(events: NftNotification[]): Promise<NftNotification[]> {
  const before = events.length;
  nft(`add chain inet ${TABLE} marker-${performance.now()}`.replace('.', '-'));
  await until('the marker', () => events.length > before);
  const all = events.splice(0);
  assert.is(all.pop()?.type, 'changed');
  return all;
}

test.before.each(async () => {
  nft('flush ruleset');
  await outside.nft([
    { op: 'table.add', table: TABLE },
    { op: 'table.add', table: 'other' },
    { op: 'set.add', table: TABLE, set: 'ports', key: ['inet_proto', 'inet_service'] },
    { op: 'chain.add', table: TABLE, chain: 'rules' },
    { op: 'rule.add', table: TABLE, chain: 'rules', expressions: [{ expr: 'counter' }] },
    { op: 'element.add', table: TABLE, set: 'ports', elements: ports(3) },
  ]);
});

test.after.each(() => {
  for (const stop of stops.splice(0)) stop();
});

test('each transaction of another program is reported once', async () => {
  const events = await watch();
  const changes = [
    `delete element inet ${TABLE} ports { tcp . 1 }`,
    `add element inet ${TABLE} ports { tcp . 4, tcp . 5, tcp . 6 }`,
    `add rule inet ${TABLE} rules drop`,
    `flush chain inet ${TABLE} rules`,
    `flush set inet ${TABLE} ports`,
    `add set inet ${TABLE} more { type mark; }`,
    `add chain inet ${TABLE} hooked { type filter hook input priority 0; policy drop; }`,
    // A dozen changes to two tables, one transaction.
    `flush table inet ${TABLE}\nadd table inet third\nadd chain inet third c\nadd rule inet ${TABLE} rules accept`,
    `delete table inet ${TABLE}`,
    `add table inet ${TABLE}`,
    'flush ruleset',
  ];
  for (const [i, change] of changes.entries()) {
    nft(change);
    await until(change, () => events.length > i);
  }
  for (const event of events) {
    assert.ok(event.type === 'changed' && event.command === 'nft', JSON.stringify(event));
    assert.ok(Number.isSafeInteger(event.pid) && Number(event.pid) > 0, JSON.stringify(event));
  }
  nft(`add table inet ${TABLE}`);
  assert.is((await told(events)).length, changes.length + 1);
});

test("other tables are their owners' affair", async () => {
  nft('add table inet other');
  const events = await watch();
  // A name that begins like it, one that it begins like, the same in another family.
  for (const table of ['inet other', `inet ${TABLE}2`, `inet ${TABLE.slice(0, -1)}`, `ip ${TABLE}`]) {
    nft(`add table ${table}\nadd chain ${table} c\nadd rule ${table} c accept`);
    nft(`add set ${table} s { type inet_service; }\nadd element ${table} s { 1, 2 }`);
    nft(`delete table ${table}`);
  }
  // Refused, so nothing happened.
  assert.throws(() => {
    execFileSync('nft', ['-f', '-'], {
      input: `flush table inet ${TABLE}\ndelete chain inet ${TABLE} absent`,
      stdio: 'pipe',
    });
  });
  nft('add table inet other');
  assert.equal(await told(events), []);
});

test('our own transactions are not reported', async () => {
  const events = await watch();
  const elements = ports(2000);
  const ourselves = [outside, openOutside()];
  for (const us of ourselves) {
    await us.nft([{ op: 'element.add', table: TABLE, set: 'ports', elements }]);
    await us.nft([{ op: 'element.del', table: TABLE, set: 'ports', elements: elements.slice(3) }]);
    await us.nft([{ op: 'chain.flush', table: TABLE, chain: 'rules' }]);
    for (let i = 0; i < 50; i++) {
      await us.nft([{ op: 'element.add', table: TABLE, set: 'ports', elements: [port(i + 10)] }]);
      await us.nft([{ op: 'element.del', table: TABLE, set: 'ports', elements: [port(i + 10)] }]);
    }
  }
  assert.equal(await told(events), []);
  // Ours directly before and after theirs: theirs is reported all the same.
  await outside.nft([{ op: 'element.add', table: TABLE, set: 'ports', elements: [port(99)] }]);
  nft(`delete element inet ${TABLE} ports { tcp . 99 }`);
  nft('add table inet other');
  await ourselves[1]?.nft([{ op: 'element.add', table: TABLE, set: 'ports', elements: [port(99)] }]);
  assert.is((await told(events)).length, 1);
  await outside.nft([{ op: 'table.del', table: TABLE }]);
  await outside.nft([{ op: 'table.add', table: TABLE }]);
  assert.equal(await told(events), []);
});

test('each listener has its own table, and its own end', async () => {
  const events = await watch();
  const others: NftNotification[] = [];
  const stop = await outside.nftMonitor('other', (event) => {
    others.push(event);
    stop();
  });
  nft('add chain inet other c');
  await until('other', () => others.length > 0);
  nft('add chain inet other d');
  assert.equal(await told(events), []);
  assert.is(others.length, 1);
  stop();
});

test('lost notifications are reported as lost', async () => {
  const events = await watch();
  // Large rules: a megabyte in, several out.
  const rule = `add rule inet ${TABLE} rules ${'tcp dport 1 '.repeat(25)}\n`;
  // Synchronous on purpose: nothing is read until everything is done.
  nft(rule.repeat(6000));
  await until('overrun', () => events.some(({ type }) => type === 'overrun'));
  events.splice(0);
  assert.equal(await told(events), []);
});

test.run();

/** The watch on answers without a kernel: when it writes the rules that lead them, and when it need not. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { byLook } from '../../effects/firewall/ruleset-turn.ts';
import { NO_REPLIES, type Replies } from '../../effects/ruleset/ruleset-replies.ts';
import type { Outside } from '../../native/index.ts';
import { ReplyWatch, type ReplyParts } from '../../service/watch/reply-watch.ts';
import { definition } from '../harness/fixtures.ts';

const watch = suite('watch on answers');
const HOST = '192.0.2.1';

/** A host whose routing can be made to go by the source, and whose table counts how often its rules were written. */
function hostWith({ raisedByUs }: { raisedByUs: boolean }) {
  const host = { bySource: false, refuses: false, written: 0, failures: 0 };
  const network = definition('web', '10.0.0.0/24', '10.0.0.1');
  let replies: Replies = NO_REPLIES;
  const native = {
    rules: () => Promise.resolve(host.bySource ? [{ action: 'table', sourcePrefix: 32, table: 254 }] : []),
    links: () => Promise.resolve([{ name: network.network_interface, index: 2, alias: '' }]),
    addresses: () => Promise.resolve([{ address: HOST, prefix: 24, link: 1, scope: 0 }]),
    wayTo: (_to: string, { source }: { source: string }) =>
      Promise.resolve(
        source === HOST ? { table: 7, link: 'up0', gateway: null } : { table: 8, link: 'up1', gateway: null },
      ),
    sysctlRead: (keys: string[]) => Promise.resolve(keys.map(() => '0')),
    sysctlWrite: () => Promise.resolve(),
    linkSwitches: (keys: string[]) => Promise.resolve(keys.map(() => '0')),
    nft: () => {
      if (host.refuses) return Promise.reject(new Error('refused'));
      host.written++;
      return Promise.resolve();
    },
  };
  const parts = {
    kernel: { instance: { name: 'main', table: 'cleat' }, outsideIfThere: () => ({ kernel: native }) },
    shared: {
      tables: () => new Set([null]),
      standingIn: () => [network],
      replies: () => replies,
      setReplies: (_outside: string | null, now: Replies) => (replies = now),
      filters: () => ({}),
      rememberFilters: () => Promise.resolve(),
      isRaised: () => true,
    },
    failed: () => host.failures++,
  };
  const replyWatch = new ReplyWatch(parts as unknown as ReplyParts);
  if (raisedByUs) replyWatch.start();
  const look = async (): Promise<number> => {
    const before = host.written;
    await replyWatch.look();
    return host.written - before;
  };
  const turn = (work: () => Promise<void>) => byLook(native as unknown as Outside, work);
  return { host, look, turn, expected: () => replies, close: () => replyWatch.close() };
}

watch('a table from before the daemon may have any rules: they are written once', async () => {
  const { look } = hostWith({ raisedByUs: false });
  assert.equal([await look(), await look()], [1, 0]);
});

watch(
  'a table that the daemon has raised has its rules: they are written when they change, and only then',
  async () => {
    const { host, look, close } = hostWith({ raisedByUs: true });
    assert.equal([await look(), await look()], [0, 0]);
    host.bySource = true;
    assert.equal([await look(), await look()], [1, 0]);
    host.bySource = false;
    assert.equal([await look(), await look()], [1, 0]);
    close();
  },
);

watch('new rules are expected of the table from the moment at which they are written, not before', async () => {
  const { host, look, turn, expected, close } = hostWith({ raisedByUs: true });
  await look();
  host.bySource = true;
  let compared = () => {};
  // Somebody compares the table, while the watch waits for its turn.
  const comparison = turn(() => new Promise((resolve) => (compared = resolve)));
  const looked = look();
  for (let step = 0; step < 50; step++) await Promise.resolve();
  assert.equal(expected(), NO_REPLIES);
  compared();
  await comparison;
  assert.is(await looked, 1);
  assert.is(expected().routes.length, 1);
  close();
});

for (const raisedByUs of [false, true]) {
  const which = raisedByUs ? 'the daemon has raised' : 'was there before';
  watch(`rules that could not be written to a table that ${which} are written by the next look`, async () => {
    const { host, look, close } = hostWith({ raisedByUs });
    host.bySource = true;
    host.refuses = true;
    assert.equal([await look(), await look()], [0, 0]);
    assert.is(host.failures, 1, 'it is said once');
    host.refuses = false;
    assert.equal([await look(), await look()], [1, 0]);
    // Nobody knows what a request that failed has done: what was there before is written again, too.
    host.refuses = true;
    host.bySource = false;
    await look();
    host.refuses = false;
    host.bySource = true;
    assert.is(await look(), 1);
    close();
  });
}

watch.run();

/** Names of host ends for engines that expect those of netavark: which are free, and for how long one is held. No daemon. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HostLinks } from '../../service/fronts/host-links.ts';

const hostLinks = suite('names of host ends');

hostLinks('a name is held while its request runs, and free when it has ended, however it has', async () => {
  const there = new Set(['veth0']);
  let fails = false;
  const names = new HostLinks({
    containers: { all: () => [] },
    exists: (name) => (fails ? Promise.reject(new Error('ENOBUFS')) : Promise.resolve(there.has(name))),
  });
  const given = (count: number) => names.having(count, (all) => Promise.resolve(all));
  await names.having(2, async (first) => {
    assert.equal(first, ['veth1', 'veth2']);
    assert.equal(await given(1), ['veth3']);
  });
  fails = true;
  const failed = await given(1).catch((error: unknown) => error);
  assert.instance(failed, Error);
  fails = false;
  there.clear();
  assert.equal(await given(2), ['veth0', 'veth1']);
});

hostLinks.run();

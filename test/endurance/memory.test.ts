// proving only: 3600
// alone
/**
 * A daemon keeps nothing of containers that are gone. The test measures its heap after a requested collection, and its
 * system resources, after many containers that came and went beside some that stay, with a daemon that is never killed.
 *
 * Limits: resident memory without a collection shows nothing: a heap grows before it is collected, by more than 5 kB a
 * cycle. Even collected it grows a little, by code that is compiled as it gets hot; so the first cycles are not
 * counted.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { on, port, TestDaemon } from '../harness/daemon.ts';
import { kept, weighable } from '../harness/heap.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';

requirePrivateNamespace();

const CYCLES = effort('memory-cycles', 800, 20_000);
const STANDING = effort('memory-containers', 5, 1000);
const PER_NETWORK = 500;
const AT_ONCE = 16;
/** Cycles until hot code is compiled. */
const WARM_UP = 700;
/**
 * Code that gets hot later: measured 0.7 MB in the first 2,500 cycles, 27 B a cycle from 7,500 on. An actor has 20 kB.
 */
const HEAP_SLACK = 768 << 10;
const HEAP_PER_CYCLE = 128;
/** Allocators return memory to the system when they choose, in pieces of megabytes. */
const RESIDENT_PER_CYCLE = 2048;
const RESIDENT_SLACK = 16 << 20;

const daemon = new TestDaemon();

test('the daemon keeps no memory of containers that are gone', async () => {
  weighable(daemon);
  await daemon.start();
  for (let n = 0; n < Math.ceil(STANDING / PER_NETWORK); n++) {
    await daemon.network({ name: `standing${n}`, subnets: [{ subnet: `10.${100 + n}.0.0/16` }] });
  }
  await daemon.network({ name: 'churn', ipv6_enabled: true });
  for (let i = 0; i < STANDING; i++) {
    await daemon.up(`s${i}`, {
      networks: on(`standing${Math.floor(i / PER_NETWORK)}`),
      port_mappings: [port(20_000 + i, 7, { protocol: 'udp' })],
    });
  }
  await churn(0, WARM_UP);
  const before = await kept(daemon);
  await churn(WARM_UP, CYCLES);
  const after = await kept(daemon);
  const heap = after.heapUsed + after.external - before.heapUsed - before.external;
  const resident = after.rss - before.rss;
  console.log(`  heap ${before.heapUsed} + ${heap} B, resident ${before.rss} + ${resident} B after ${CYCLES} cycles`);
  assert.ok(heap < HEAP_SLACK + HEAP_PER_CYCLE * CYCLES, `${Math.round(heap / CYCLES)} B of heap a cycle`);
  const may = RESIDENT_SLACK + RESIDENT_PER_CYCLE * CYCLES;
  assert.ok(resident < may, `${Math.round(resident / CYCLES)} B of memory a cycle`);
  proved('create/teardown cycles, and nothing kept', CYCLES);
});

test.after(async () => {
  await daemon.kill();
});

test.run();

/** A container with everything that a daemon might keep: ports, two families, a second network, its history. */
async function churn(first: number, cycles: number): Promise<void> {
  let next = first;
  const worker = async () => {
    for (let n = next++; n < first + cycles; n = next++) {
      const id = `c${n}`;
      const port_mappings = n % 3 === 0 ? [port(0, 80), port(0, 53, { protocol: 'udp' })] : [];
      await daemon.up(id, { networks: on('churn'), port_mappings });
      if (n % 5 === 0) await daemon.done({ type: 'connect', id, network: 'standing0' });
      await daemon.done({ type: 'teardown', id });
      await daemon.gone(id);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

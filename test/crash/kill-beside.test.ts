// timeout: 300
/**
 * kill -9 around every effect of a container's life with every kind of event in it, beside another container with a
 * transfer under way: not one of its bytes is lost, and nothing of its network is touched.
 */
import { suite } from 'uvu';
import { CrashTest } from '../harness/crash.ts';
import { on, port } from '../harness/daemon.ts';
import { comesBackTo, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { Transfer } from '../harness/transfer.ts';

requirePrivateNamespace();

const test = suite('a life beside a witness');

test('the transfer goes on, wherever the daemon dies', async () => {
  const crash = new CrashTest(
    [
      { type: 'create', id: 'life', networks: on('second'), port_mappings: [port(0, 53, { protocol: 'udp' })] },
      { type: 'configure', id: 'life' },
      { type: 'connect', id: 'life', network: 'dual' },
      { type: 'publish', id: 'life', port_mappings: [port(8082, 82)] },
      { type: 'reload', id: 'life' },
      { type: 'unpublish', id: 'life', port_mappings: [port(8082, 82)] },
      { type: 'disconnect', id: 'life', network: 'second' },
      { type: 'teardown', id: 'life' },
    ],
    /^(?!store).*:(durable|after)$/,
  );
  const { daemon } = crash;
  const empty = inspectKernel();
  await daemon.start();
  await daemon.network({ name: 'dual', ipv6_enabled: true });
  await daemon.network({ name: 'second' });
  const { netns } = await daemon.up('witness', { networks: on('dual'), port_mappings: [port(8080, 80)] });
  const transfer = await Transfer.start(netns.path ?? '', 80, '127.0.0.1', 8080);
  const { kills, failpoints } = await crash.run().catch(async (error: unknown) => {
    await Promise.allSettled([transfer.stop(), daemon.kill()]); // or the file would not end
    throw error;
  });
  const bytes = await transfer.stop();
  await daemon.down('witness');
  await daemon.stop();
  await comesBackTo(empty, () => inspectKernel());
  console.log(`  ${kills} kills at ${failpoints} failpoints survived, ${bytes} bytes transferred meanwhile`);
});

test.run();

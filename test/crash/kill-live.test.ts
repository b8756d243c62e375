// timeout: 300
/**
 * kill -9 around every effect of changes to running containers: the primary network changes, links are replaced, ports
 * change hands, a namespace outlives its owner.
 */
import { test } from 'uvu';
import { CrashTest } from '../harness/crash.ts';
import { on, port } from '../harness/daemon.ts';
import { comesBackTo, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

test('containers come to rest and nothing leaks, wherever the daemon dies', async () => {
  const crash = new CrashTest(
    [
      { type: 'create', id: 'blue', networks: on('front'), port_mappings: [port(8080, 80, { range: 2 })] },
      { type: 'configure', id: 'blue' },
      { type: 'create', id: 'green', networks: on('front') },
      { type: 'configure', id: 'green' },
      { type: 'connect', id: 'blue', network: 'back', options: { gateway_priority: 3 } },
      { type: 'reload', id: 'blue', full: true },
      { type: 'publish', id: 'green', port_mappings: [port(8080, 8000)], from: 'blue' },
      { type: 'disconnect', id: 'blue', network: 'back' },
      { type: 'unpublish', id: 'blue', port_mappings: [port(8081, 81)] },
      { type: 'create', id: 'side', netns: { mode: 'container', id: 'green' } },
      { type: 'teardown', id: 'green' },
      { type: 'teardown', id: 'blue' },
      { type: 'teardown', id: 'side' },
    ],
    /^(?!store).*:(durable|after)$/,
  );
  const { daemon } = crash;
  const empty = inspectKernel();
  await daemon.start();
  await daemon.network({ name: 'front', dns_enabled: false });
  await daemon.network({ name: 'back', ipv6_enabled: true, dns_enabled: false });
  const { kills, failpoints } = await crash.run().catch(async (error: unknown) => {
    await daemon.kill(); // or the file would not end
    throw error;
  });
  await daemon.stop();
  await comesBackTo(empty, () => inspectKernel());
  console.log(`  ${kills} kills at ${failpoints} failpoints survived`);
});

test.run();

// timeout: 300
/**
 * kill -9 at every failpoint of a container that is the first and last user of everything: its networks, the firewall and
 * the forwarding switches are raised for it and lowered after it.
 */
import { test } from 'uvu';
import { CrashTest } from '../harness/crash.ts';
import { on, port } from '../harness/daemon.ts';
import { comesBackTo, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

test('the host ends as it was found, wherever the daemon dies', async () => {
  const crash = new CrashTest([
    { type: 'create', id: 'life', networks: on('dual'), port_mappings: [port(8081, 80)] },
    { type: 'configure', id: 'life' },
    { type: 'teardown', id: 'life' },
  ]);
  const empty = inspectKernel();
  await crash.daemon.start();
  await crash.daemon.network({ name: 'dual', ipv6_enabled: true });
  const { kills, failpoints } = await crash.run().catch(async (error: unknown) => {
    await crash.daemon.kill(); // or the file would not end
    throw error;
  });
  await crash.daemon.stop();
  await comesBackTo(empty, () => inspectKernel());
  console.log(`  ${kills} kills at ${failpoints} failpoints survived`);
});

test.run();

/**
 * pasta of 2025, as far as it differs from the installed one: it closes the descriptors that it is given, truncates its
 * help in a pipe, does not know --stderr, and ends when it may not watch the directory of the namespace.
 *
 * The program that runs is the installed one, behind a script that does this.
 */
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pathOf, port } from '../harness/daemon.ts';
import { withAgents } from '../harness/inside.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { HOST, LAN, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const LATER = `#!/usr/bin/python3
import os, signal, subprocess, sys
PASTA = "/usr/bin/pasta"
words = sys.argv[1:]
if words == ["--help"]:
    said = subprocess.run([PASTA, "--help"], capture_output=True)
    lines = [line for line in (said.stdout + said.stderr).splitlines(True) if b"--stderr" not in line]
    os.write(1, b"".join(lines)[:4096])
    sys.exit(0)
os.closerange(3, 1024)
if "--stderr" in words: sys.exit("unrecognized option '--stderr'")
if "--no-netns-quit" not in words: os.listdir(os.path.dirname(words[words.index("--netns") + 1]))
signal.signal(signal.SIGPIPE, signal.SIG_DFL) # Python ignores it, pasta must not
os.execv(PASTA, [PASTA, *words, "--stderr"])
`;

const versions = suite('uplink-versions');
const ground = await wayOut(versions);

versions.before(async () => {
  const directory = mkdtempSync('/run/later-');
  chmodSync(directory, 0o755);
  const pasta = `${directory}/pasta`;
  writeFileSync(pasta, LATER, { mode: 0o755 });
  await ground.restart({ uplinks: { pasta } });
});

versions('the program starts, leads both ways, and nothing of it is left', async () => {
  const a = await ground.daemon.up('a', {
    uplink: { program: 'pasta' },
    port_mappings: [port(8080, 80, { protocol: 'udp' })],
  });
  assert.is((await ground.processOf('a')).state, 'ready');
  await withAgents([pathOf(a)], async (inside) => {
    await inside.serve('a', 'udp', 80);
    assert.is(await inside.dial('tcp', LAN, 7000, 2000), `lan ${HOST}`);
    // UDP: the installed pasta loses the first data of a TCP server that sends first (plan/uplinks/pasta.ts).
    assert.is(await ground.lan.dial('udp', HOST, 8080, 2000), `a ${LAN}`);
  });
  await ground.assertNothingLeft('a');
});

versions('an option that the truncated help does not name is not refused', async () => {
  const options = ['--dhcp-dns', '--no-map-gw'];
  await ground.daemon.up('a', { uplink: { program: 'pasta', options } });
  await ground.assertNothingLeft('a');
});

versions.run();

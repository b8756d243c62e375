/**
 * wg(8), which configures and shows links of WireGuard, those of the kernel and those of wireguard-go alike.
 *
 * Guarantees: it runs by full path, without a shell, in the namespace of the link, in time, and with an empty environment. A
 * configuration reaches it by a pipe: a command line is everybody's to read. Of what it prints only its errors get into messages; it
 * never prints a key there.
 * Limits: a link that nobody configures for us is one that wg(8) cannot reach; the message says so, and nothing waits longer.
 */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { parseDump, type WireguardSeen } from '../../plan/kernel/expected-wireguard.ts';
import { FaultError, type Fault } from '../../state/faults.ts';
import { run } from '../external/program.ts';
import { isExecutable } from '../processes/executable.ts';

/** Where Debian has it, and where it is after `make install`. */
const WG = ['/usr/bin/wg', '/usr/local/bin/wg'];
export const WIREGUARD_GO = ['/usr/bin/wireguard-go', '/usr/local/bin/wireguard-go'];
/** wg takes 3 ms. With a thousand peers 30. */
const PATIENCE_MS = 5000;

/** Returns the reason why this host can have no link of WireGuard; null if it can. */
export function missing(): Fault | null {
  const lacks = [
    ...(WG.some(isExecutable) ? [] : ['the program wg (apt install wireguard-tools)']),
    ...(kernelHasIt() || WIREGUARD_GO.some(isExecutable)
      ? []
      : ["the kernel's module wireguard, or the program wireguard-go (apt install wireguard-go)"]),
  ];
  if (lacks.length === 0) return null;
  return { code: 'DRIVER_UNSUPPORTED', message: `backend wireguard needs ${lacks.join(', and ')}` };
}

/** True if the module is loaded, or is one of the kernel that runs. */
function kernelHasIt(): boolean {
  if (existsSync('/sys/module/wireguard')) return true;
  return ['modules.builtin', 'modules.dep'].some((file) => {
    try {
      return /\/wireguard\.ko\b/.test(readFileSync(`/lib/modules/${release()}/${file}`, 'utf8'));
    } catch {
      return false;
    }
  });
}

/** Returns what the link says of itself; null if it is not there, does not answer, or is no link of WireGuard. */
export async function showLink(netns: string | null, name: string): Promise<WireguardSeen | null> {
  const { status, stdout } = await wg(netns, ['show', name, 'dump'], '');
  return status === 0 ? parseDump(stdout) : null;
}

/** Makes the link what the configuration says, and takes away what it does not say. */
export async function configure(netns: string | null, name: string, text: string, port: number): Promise<void> {
  const { problem, status, stderr } = await wg(netns, ['syncconf', name, '/dev/stdin'], text);
  if (status === 0) return;
  const said = stderr.trim().split('\n').at(-1) ?? '';
  if (/address already in use/i.test(said))
    throw new FaultError('PORT_TAKEN', `UDP port ${port} of ${name} is in use on this host`, { object: name });
  throw new FaultError('TUNNEL_FAILED', `wg syncconf ${name}: ${problem ?? said}`, { object: name });
}

const wg = (netns: string | null, args: readonly string[], stdin: string) =>
  run(
    { programs: WG, args, env: {}, stdin, doing: `wg ${args[0]}`, object: 'wg' },
    { netns, launcher: [], patienceMs: PATIENCE_MS },
  );

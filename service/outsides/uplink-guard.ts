/**
 * Gathers the facts by which the firewall limits uplinks (effects/ruleset/ruleset-uplinks.ts).
 *
 * Guarantees: reads them anew each time, because resolv.conf changes.
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { RESOLV_CONF } from '../../effects/names/etc.ts';
import type { UplinkGuard } from '../../effects/ruleset/ruleset-uplinks.ts';
import { uplinkUsers } from '../../effects/uplinks/uplink-users.ts';
import { serversOf } from '../../plan/containers/resolv-conf.ts';

export function uplinkGuard(): UplinkGuard {
  let text: string;
  try {
    text = readFileSync(RESOLV_CONF, 'utf8');
  } catch {
    text = ''; // the programs have no nameserver then
  }
  const nameservers = serversOf(text).filter((server) => isIP(server) !== 0 && /^127\.|^::1$/.test(server));
  const { plain, loopback } = uplinkUsers();
  return { users: { plain: plain.uid, loopback: loopback.uid }, nameservers: [...new Set(nameservers)] };
}

/**
 * Gathers the facts by which the firewall limits uplinks (effects/ruleset-uplinks.ts).
 *
 * Guarantees: read anew each time, for resolv.conf changes.
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { RESOLV_CONF } from '../effects/etc.ts';
import type { UplinkGuard } from '../effects/ruleset-uplinks.ts';
import { uplinkUsers } from '../effects/uplink-users.ts';
import { serversOf } from '../machines/plan/resolv-conf.ts';

export function uplinkGuard(): UplinkGuard {
  let text: string;
  try {
    text = readFileSync(RESOLV_CONF, 'utf8');
  } catch {
    text = ''; // then the programs have nobody to ask
  }
  const nameservers = serversOf(text).filter((server) => isIP(server) !== 0 && /^127\.|^::1$/.test(server));
  const { plain, loopback } = uplinkUsers();
  return { users: { plain: plain.uid, loopback: loopback.uid }, nameservers: [...new Set(nameservers)] };
}

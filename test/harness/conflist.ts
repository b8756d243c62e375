/**
 * Conflists for tests with the reference plugins, and plugins that misbehave.
 *
 * Guarantees: leases and files are in the directory of the test. A stand-in is a shell script with a name of its own.
 * Limits: needs the plugins of Debian (/usr/lib/cni) and iptables.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where Debian has the plugins. */
export const PLUGINS = '/usr/lib/cni';

/** All rules of iptables, without those of cleat, which are in a table of its own. */
export const rules = (): string[] => execFileSync('iptables-save', { encoding: 'utf8' }).split('\n');

export interface CniGround {
  /** Writes a conflist, and returns its path. */
  conflist(name: string, plugins: object[], more?: object): string;
  /** Makes a plugin of this name that is this script. */
  standIn(name: string, script: string): void;
  /** The directory of the stand-ins. */
  directory: string;
  /** The leases of host-local on a network: addresses. */
  leases(network: string): string[];
  /** host-local, with a default route. */
  ipam(subnet: string): object;
  /** A bridge with addresses from host-local. */
  bridge(subnet: string, more?: object): object;
}

export function cniGround(base: string): CniGround {
  const [files, directory, data] = ['net.d', 'plugins', 'leases'].map((name) => join(base, name)) as [
    string,
    string,
    string,
  ];
  for (const one of [files, directory, data]) mkdirSync(one, { recursive: true });
  const ipam = (subnet: string) => ({
    type: 'host-local',
    dataDir: data,
    routes: [{ dst: '0.0.0.0/0' }],
    ranges: [[{ subnet }]],
  });
  return {
    directory,
    ipam,
    conflist(name, plugins, more = {}) {
      const path = join(files, `10-${name}.conflist`);
      writeFileSync(path, JSON.stringify({ cniVersion: '1.0.0', name, plugins, ...more }));
      return path;
    },
    standIn(name, script) {
      writeFileSync(join(directory, name), `#!/bin/sh\n${script}\n`);
      chmodSync(join(directory, name), 0o755);
    },
    leases(network) {
      try {
        return readdirSync(join(data, network)).filter((name) => /^[\d.]+$|:/.test(name));
      } catch {
        return [];
      }
    },
    bridge: (subnet, more = {}) => ({
      type: 'bridge',
      bridge: 'cni0',
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: ipam(subnet),
      ...more,
    }),
  };
}

/** Writes a conflist whose leases are where host-local has them if nothing is said; ports are published by a plugin of its own. */
export const usualConflist = (ground: CniGround, name: string, subnet: string): string =>
  ground.conflist(name, [
    ground.bridge(subnet, {
      ipam: { type: 'host-local', routes: [{ dst: '0.0.0.0/0' }], ranges: [[{ subnet }]] },
    }),
    { type: 'portmap', capabilities: { portMappings: true } },
  ]);

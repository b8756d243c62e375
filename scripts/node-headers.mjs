/**
 * Finds the C headers of the Node that is running, so that the native build needs no network.
 *
 * Guarantees: the returned directory has headers of the same addon ABI as this process. Otherwise it returns the problem and
 * how to get the headers; it never guesses.
 * Limits: it looks beside the running executable only (<prefix>/bin/node, <prefix>/include/node), where the official archives,
 * NodeSource, nvm and Debian's libnode-dev put them.
 */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** @returns {{ nodedir?: string, problem?: string }} */
export function findNodeDir() {
  const nodedir = dirname(dirname(realpathSync(process.execPath)));
  const headers = join(nodedir, 'include/node');
  const how =
    `Debian: apt-get install libnode-dev when Node is Debian's nodejs package; NodeSource's nodejs package has them; ` +
    `else use the archive from https://nodejs.org/dist/v${process.versions.node}/, which has bin/ and include/.`;
  if (!existsSync(join(headers, 'node.h'))) {
    return { problem: `the C headers of Node ${process.versions.node} are not in ${headers}. ${how}` };
  }
  const version = readFileSync(join(headers, 'node_version.h'), 'utf8');
  const part = (name) => new RegExp(`define NODE_${name}_VERSION (\\d+)`).exec(version)?.[1];
  // Within one major version the addon ABI is stable; across majors an addon would not load.
  if (part('MAJOR') !== process.versions.node.split('.')[0]) {
    const found = `${part('MAJOR')}.${part('MINOR')}`;
    return { problem: `the headers in ${headers} are of Node ${found}, not of ${process.versions.node}. ${how}` };
  }
  return { nodedir };
}

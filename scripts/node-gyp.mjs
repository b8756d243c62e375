/**
 * Finds the node-gyp that comes with npm.
 *
 * Guarantees: changes nothing; returns undefined if there is none.
 * Limits: it searches beside the npm that runs the script, beside the running Node, and at the place of Debian's package.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** npm passes the path of its own node-gyp to the scripts that it runs. Without npm, it is searched beside npm. */
export function findNodeGyp() {
  const beside = (npmRoot) => join(npmRoot, 'node_modules/node-gyp/bin/node-gyp.js');
  const candidates = [process.env.npm_config_node_gyp];
  if (process.env.npm_execpath) candidates.push(beside(join(dirname(process.env.npm_execpath), '..')));
  candidates.push(beside(join(dirname(process.execPath), '../lib/node_modules/npm')));
  candidates.push('/usr/share/nodejs/node-gyp/bin/node-gyp.js');
  return candidates.find((path) => path && existsSync(path));
}

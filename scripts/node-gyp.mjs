/**
 * Finds the node-gyp that comes with npm.
 *
 * Guarantees: only looks; undefined when there is none.
 * Limits: beside the npm that runs the script, beside the running Node, and where Debian's package has it.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** npm names its own node-gyp to the scripts it runs; called by hand, it is looked for beside npm. */
export function findNodeGyp() {
  const beside = (npmRoot) => join(npmRoot, 'node_modules/node-gyp/bin/node-gyp.js');
  const candidates = [process.env.npm_config_node_gyp];
  if (process.env.npm_execpath) candidates.push(beside(join(dirname(process.env.npm_execpath), '..')));
  candidates.push(beside(join(dirname(process.execPath), '../lib/node_modules/npm')));
  candidates.push('/usr/share/nodejs/node-gyp/bin/node-gyp.js');
  return candidates.find((path) => path && existsSync(path));
}

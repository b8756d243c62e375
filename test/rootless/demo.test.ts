// slow: 40 s, a daemon and half a dozen containers, with a transfer of 256 MiB
/** `npm run demo` of an ordinary user, when everything is installed and built: every check of it succeeds, and nothing is left. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ROOT } from '../harness/sanitized.ts';
import { TestUser } from '../harness/rootless.ts';

const demo = suite('the demo of a user');
const user = new TestUser('ann', 1901);

demo('it shows what it promises, and leaves nothing', () => {
  const script = join(ROOT, 'scripts/demo.mjs');
  const { status, stdout, stderr } = user.run([process.execPath, script], { TMPDIR: user.home });
  assert.is(status, 0, `${stdout}${stderr}`);
  assert.match(stdout, /\n10\. The container stops, and nothing is left\n/);
  assert.match(stdout, /\neverything held, in /);
  assert.equal(user.processes(), []);
  assert.equal(readdirSync(user.home), []);
  assert.not.ok(existsSync(`${user.runtime}/cleat`), 'the usual place is not used');
});

demo.run();

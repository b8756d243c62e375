/**
 * Runs scripts of package.json at the same time, because some use one processor only.
 *
 *   node scripts/together.mjs NAME...
 *
 * Guarantees: each output is printed whole, when its script ends. The exit code is 0 only if that of each was.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

const ends = process.argv.slice(2).map(async (name) => {
  const child = spawn('npm', ['run', '--silent', name], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const [code] = await once(child, 'close');
  process.stdout.write(output);
  if (code !== 0) console.error(`npm run ${name} failed`);
  return code === 0;
});
if (!(await Promise.all(ends)).every(Boolean)) process.exitCode = 1;

/**
 * Formats the C and C++ sources under native/, bench/ and test/ with clang-format; --check only reports.
 *
 * Guarantees: with --check no file is written, and the exit code is 1 if a file is not formatted.
 * Limits: clang-format is Debian's; other major versions may disagree about a line or two.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';

const root = join(import.meta.dirname, '..');
const check = process.argv.includes('--check');
const files = ['native', 'bench', 'test'].flatMap((folder) => {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(cc|c|h)$/.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
});

if (files.length > 0) {
  const argv = check ? ['--dry-run', '--Werror', ...files] : ['-i', ...files];
  const result = spawnSync('clang-format', argv, { cwd: root, stdio: 'inherit' });
  if (result.error) {
    console.error(
      `clang-format: ${result.error.message}; get it: apt-get install --no-install-recommends clang-format`,
    );
    process.exit(1);
  }
  if (check && result.status !== 0) console.error('clang-format: run `npm run format`');
  process.exit(result.status ?? 1);
}

/**
 * Fetches packages of another Debian than this machine's: another processor's, or another release's.
 *
 * Guarantees: nothing is installed, and apt's lists and status of this machine stay as they are. apt verifies what it fetches by the archive's keys.
 * Limits: needs the network; dependencies are not followed. An architecture comes from the sources of this machine, a release from Debian's
 * own archive.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** Writes the packages of these names into the directory, as .deb files. */
export function fetchPackages(directory, names, { architecture, release }) {
  const apt = join(directory, '.apt');
  for (const folder of ['state/lists/partial', 'cache/archives/partial'])
    mkdirSync(join(apt, folder), { recursive: true });
  writeFileSync(join(apt, 'status'), '');
  const settings = {
    'APT::Sandbox::User': 'root',
    'Dir::State': join(apt, 'state'),
    'Dir::State::status': join(apt, 'status'),
    'Dir::Cache': join(apt, 'cache'),
  };
  if (architecture !== undefined) {
    settings['APT::Architecture'] = architecture;
    settings['APT::Architectures'] = architecture;
  }
  if (release !== undefined) {
    const list = join(apt, 'sources.list');
    writeFileSync(list, `deb [signed-by=${KEYS}] http://deb.debian.org/debian ${release} main\n`);
    settings['Dir::Etc::sourcelist'] = list;
    settings['Dir::Etc::sourceparts'] = '/nonexistent';
  }
  const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  for (const words of [['update'], ['download', ...names]])
    execFileSync('apt-get', [...options, '--quiet=2', ...words], {
      cwd: directory,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  rmSync(apt, { recursive: true });
}

/**
 * Tries the packages for arm64 on another processor: what an emulated process can do (qemu-user), the packages' own Node runs.
 *
 * Guarantees: what is wrong first ends it with an error.
 * Limits: the emulation has neither nf_tables nor the ioctls of namespaces, so no daemon serves. That it says so shows that the addon was
 * loaded and has asked the kernel.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** The offset of e_machine in the header of an ELF file, and EM_AARCH64 (elf.h). */
const E_MACHINE = 18;
const EM_AARCH64 = 183;

/** `system`: the root with the libraries of arm64. `scratch` is made anew. */
export function tryArm64(file, system, scratch) {
  rmSync(scratch, { recursive: true, force: true });
  execFileSync('dpkg-deb', ['--extract', file, scratch]);
  const home = join(scratch, 'usr/lib/cleat');
  const at = (name) => join(home, name);
  const emulated = (argv, env = {}) =>
    spawnSync('qemu-aarch64-static', ['-L', system, ...argv], { encoding: 'utf8', env: { ...process.env, ...env } });
  const cleat = (...words) => emulated([at('bin/node'), at('dist/bundle/cleat.cjs'), ...words]);
  const { version } = JSON.parse(readFileSync(at('package.json'), 'utf8'));

  const field = (name) => execFileSync('dpkg-deb', ['--field', file, name], { encoding: 'utf8' }).trim();
  assert.equal(field('Architecture'), 'arm64');
  for (const needed of ['libc6', 'libmnl0', 'libnftnl11', 'libstdc++6'])
    assert.ok(field('Depends').includes(needed), needed);
  const programs = readdirSync(home, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .flatMap((path) => machineOf(path) ?? []);
  assert.ok(programs.length >= 10);
  assert.deepEqual(
    programs.filter((machine) => machine !== EM_AARCH64),
    [],
  );

  assert.equal(cleat('--version').stdout.trim(), version);
  assert.match(cleat('network', 'create', '--help').stdout, /--driver/);
  assert.match(
    emulated([at('build/Release/cleat-netavark'), 'version']).stdout,
    new RegExp(version.replaceAll('.', '\\.')),
  );
  const { stdout } = emulated([at('build/Release/cleat-cni')], { CNI_COMMAND: 'VERSION' });
  assert.ok(JSON.parse(stdout).supportedVersions.includes('1.0.0'));
  const places = ['run', 'state', 'netns'].flatMap((name) => [`--${name}-dir`, join(scratch, 'daemon', name)]);
  const daemon = cleat('daemon', ...places);
  assert.match(daemon.stderr, /ioctl\(NS_GET_NSTYPE\) .*Function not implemented/, daemon.stderr);
}

/** Returns the processor that a file was compiled for; undefined if it is no ELF. */
function machineOf(path) {
  const header = Buffer.alloc(E_MACHINE + 2);
  const fd = openSync(path, 'r');
  readSync(fd, header);
  closeSync(fd);
  return header.subarray(0, 4).equals(Buffer.from('\x7fELF', 'latin1')) ? header.readUInt16LE(E_MACHINE) : undefined;
}

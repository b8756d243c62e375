/**
 * Writes an OCI bundle of the machine's own programs, which `demo` and the tests of the OCI hook pass to crun.
 *
 * Guarantees: the root file system is read-only and made of read-only bind mounts, so nothing is copied or downloaded;
 * the container has namespaces of its own and one capability, to listen on port 80. Its hooks are cleat's.
 * Limits: no cgroup (crun --cgroup-manager=disabled) and no rlimits: a container inside a container may not set them.
 */
import { existsSync, lstatSync, mkdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/** The directories that programs need; with a merged /usr most of them are symbolic links. */
const SHARED = ['/usr', '/bin', '/lib', '/lib32', '/lib64', '/libx32', '/sbin', '/etc'];

/**
 * @param {object} bundle
 * @param {string} bundle.directory the directory to make; the last part of its path is the host name inside
 * @param {string[]} bundle.args the program and its arguments, with the path inside
 * @param {Record<string, string>} bundle.annotations the annotations that the hook reads
 * @param {Record<string, string>} [bundle.files] path inside -> file of the machine
 * @param {string} bundle.hook the cleat-oci-hook executable
 * @param {string} bundle.socket of the daemon
 * @param {string} bundle.hookLog the file for the hook's messages; without it crun drops them (crun.1, annotations)
 */
export function writeBundle({ directory, args, annotations, files = {}, hook, socket, hookLog }) {
  const rootfs = join(directory, 'rootfs');
  for (const mountPoint of ['proc', 'dev', 'tmp', 'run']) mkdirSync(join(rootfs, mountPoint), { recursive: true });
  const mounts = [
    { destination: '/proc', type: 'proc', source: 'proc' },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=64k'] },
    { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'nodev', 'size=16m'] },
  ];
  const bind = (inside, source) => {
    mounts.push({ destination: inside, type: 'bind', source, options: ['rbind', 'ro', 'nosuid', 'nodev'] });
  };
  for (const path of SHARED.filter((candidate) => existsSync(candidate))) {
    if (lstatSync(path).isSymbolicLink()) {
      symlinkSync(readlinkSync(path), join(rootfs, path));
    } else {
      mkdirSync(join(rootfs, path));
      bind(path, path);
    }
  }
  for (const [inside, source] of Object.entries(files)) {
    mkdirSync(join(rootfs, inside, '..'), { recursive: true });
    writeFileSync(join(rootfs, inside), '');
    bind(inside, source);
  }
  const capabilities = ['CAP_NET_BIND_SERVICE'];
  const hookOf = (stage) => [{ path: hook, args: ['cleat-oci-hook', '--socket', socket, stage], timeout: 15 }];
  const config = {
    ociVersion: '1.0.2',
    process: {
      user: { uid: 0, gid: 0 },
      args,
      env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/tmp'],
      cwd: '/',
      noNewPrivileges: true,
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    },
    root: { path: 'rootfs', readonly: true },
    hostname: basename(directory),
    mounts,
    hooks: { createRuntime: hookOf('createRuntime'), poststop: hookOf('poststop') },
    annotations: { ...annotations, 'run.oci.hooks.stderr': hookLog },
    linux: { namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type })) },
  };
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config, undefined, 1));
}

/** The holder of a port has the name that people know the process by, whatever its main thread is called. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside } from '../../native/index.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const holder = suite('port-holder');
const outside = openOutside();
const scratch = mkdtempSync('/run/holder-');
const children: ChildProcess[] = [];
let nextPort = 7000;

/** Listens, and gives its main thread this name (PR_SET_NAME) unless it is ''. */
const SCRIPT = `import ctypes, os, socket, sys
if os.environ["CALLED"]: ctypes.CDLL(None).prctl(15, os.environ["CALLED"].encode())
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
sys.stdin.read()
`;

/** The name that the holder of a port gets, for a process with this command line and thread name. */
async function nameOf(file: string, args: string[], called: string, meanwhile = () => {}): Promise<string | null> {
  const port = nextPort++;
  const child = spawn(file, [...args, String(port)], { stdio: ['pipe', 'pipe', 'inherit'], env: { CALLED: called } });
  children.push(child);
  await once(child.stdout, 'data');
  meanwhile();
  const [found] = await outside.portProbe([{ protocol: 'tcp', family: 4, address: '', port }]);
  assert.is(found?.pid, child.pid);
  return found?.command ?? null;
}

holder.after(() => {
  for (const child of children) child.kill('SIGKILL');
});

holder("a port's holder is a program, by whatever name it was started", async () => {
  assert.is(await nameOf('/usr/bin/python3', ['-c', SCRIPT], ''), 'python3');
});

holder("a port's holder is found if its main thread has another name, like that of Node from 22 on", async () => {
  const name = `${scratch}/server`;
  copyFileSync('/usr/bin/python3', name);
  assert.is(await nameOf(name, ['-c', SCRIPT], 'MainThread'), 'server');
  assert.is(await nameOf(name, ['-c', SCRIPT], 'a\u202eb'), 'server');
});

holder("a port's holder is a script, not its interpreter, also with a name longer than the kernel keeps", async () => {
  for (const name of ['serve', 'a-server-with-a-long-name']) {
    const script = `${scratch}/${name}`;
    writeFileSync(script, `#!/usr/bin/python3\n${SCRIPT}`);
    chmodSync(script, 0o755);
    assert.is(await nameOf(script, [], ''), name);
  }
});

holder("a port's holder is found if its executable does not exist any more", async () => {
  const name = `${scratch}/replaced`;
  copyFileSync('/usr/bin/python3', name);
  assert.is(await nameOf(name, ['-c', SCRIPT], 'MainThread', () => rmSync(name)), 'replaced');
});

holder("a port's holder may be this very process, with any version of Node", async () => {
  const script = `require('net').createServer().listen(Number(process.argv[1]), '0.0.0.0', () => console.log('ready'));`;
  assert.is(await nameOf(process.execPath, ['-e', script], ''), 'node');
});

holder.run();

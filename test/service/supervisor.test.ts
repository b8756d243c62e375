/** What a supervisor is told, by the socket that it names: once it reads again, if it was behind, and only by the process it has asked. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sendDatagram } from '../../native/index.ts';
import { openLog } from '../../service/report/log.ts';
import { Supervisor } from '../../service/start/supervisor.ts';

const supervisor = suite('supervisor');
const log = openLog('fatal', null);

/** Binds, says so, and prints a datagram per line as soon as it may. */
const LISTENER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace("@", "\\0"))
print("bound", flush=True)
sys.stdin.readline()
while True:
    print(s.recv(4096).decode(), flush=True)
`;

async function listening(name: string, work: (read: () => Promise<string>, begin: () => void) => Promise<void>) {
  const child = spawn('python3', ['-c', LISTENER, name], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const read = async () => (await lines.next()).value as string;
  assert.is(await read(), 'bound');
  try {
    await work(read, () => child.stdin.write('\n'));
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}

for (const socket of ['/run/notify', '@cleat-notify']) {
  supervisor(`one that is behind is told when it reads: ${socket}`, async () => {
    await listening(socket, async (read, begin) => {
      let filled = 0;
      assert.throws(
        () => {
          for (; filled < 10_000; filled++) sendDatagram(socket, 'full');
        },
        (error: NodeJS.ErrnoException) => error.code === 'EAGAIN',
      );
      const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '20000', WATCHDOG_PID: String(process.pid), OTHER: 'kept' };
      const told = new Supervisor(env, log);
      assert.equal(env, { OTHER: 'kept' });
      told.ready();
      begin();
      const heard = new Set<string>();
      while (!heard.has('READY=1') || !heard.has('WATCHDOG=1')) heard.add(await read());
      told.stopping();
      while ((await read()) !== 'STOPPING=1') continue;
    });
  });
}

supervisor('a watchdog of another process is none, and a supervisor that is gone is no reason to end', async () => {
  await listening('/run/other', async (read, begin) => {
    begin();
    const env = { NOTIFY_SOCKET: '/run/other', WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' };
    const told = new Supervisor(env, log);
    told.ready();
    assert.is(await read(), 'READY=1');
    told.stopping();
    assert.is(await read(), 'STOPPING=1', 'and nothing in between');
  });
  for (const socket of ['/run/nowhere', 'relative', '', `/${'x'.repeat(200)}`])
    new Supervisor({ NOTIFY_SOCKET: socket }, log).ready();
  new Supervisor({}, log).ready();
});

supervisor.after(() => process.nextTick(() => process.exit()));
supervisor.run();

/** A server that ends while a connection waits to be accepted has read nothing: the client sees a refusal. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { requestOnce } from '../../effects/unix-request.ts';

const request = suite('one request on a Unix socket');

request('a server that closes its socket before it accepts refuses the connection', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'cleat-request-'));
  try {
    const server = createServer();
    await new Promise<void>((resolve) => void server.listen(join(directory, 'socket'), resolve));
    // connect(2) is over when requestOnce returns its promise, and the server has not had its turn to accept.
    const answer = requestOnce({ directory, socket: 'socket', text: '\n', ends: 'line', ms: 5000, most: 1000 });
    server.close();
    const { failed, code } = (await answer) as { failed?: string; code?: string };
    assert.equal({ failed, code }, { failed: 'connect', code: 'ECONNREFUSED' });
  } finally {
    rmSync(directory, { recursive: true });
  }
});

request.run();

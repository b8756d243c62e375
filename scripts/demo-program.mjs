/**
 * The program in the containers of the demo: a web server, or a client that fetches a page once.
 *
 *   demo-program.mjs serve           /: the client's address and the server's name; /long?bytes=N&rate=BYTES: a paced stream
 *   demo-program.mjs fetch URL...    prints the pages
 *   demo-program.mjs sleep
 *
 * Guarantees: the stream differs at every place (a cipher's key stream), so a byte that is lost, doubled or moved changes its
 * SHA-256, which follows it as a trailer.
 */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { hostname } from 'node:os';

const CHUNK = 256 * 1024;
const [what, ...words] = process.argv.slice(2);

// As process 1 of its namespace it gets no signal that it does not handle.
process.on('SIGTERM', () => process.exit(0));

if (what === 'serve') {
  createServer((request, response) => {
    const url = new URL(request.url, 'http://demo');
    if (url.pathname === '/long') {
      void stream(response, Number(url.searchParams.get('bytes')), Number(url.searchParams.get('rate')));
    } else {
      response.end(`hello ${request.socket.remoteAddress.replace('::ffff:', '')}, this is ${hostname()}\n`);
    }
  }).listen(80, '::', () => console.log('listening'));
} else if (what === 'fetch') {
  for (const url of words) {
    const answer = await fetch(url, { signal: AbortSignal.timeout(3000) });
    process.stdout.write(await answer.text());
  }
} else {
  setInterval(() => {}, 1 << 30);
}

async function stream(response, bytes, rate) {
  const cipher = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16));
  const zeros = Buffer.alloc(CHUNK);
  const hash = createHash('sha256');
  const started = Date.now();
  response.writeHead(200, { trailer: 'sha256' });
  for (let sent = 0; sent < bytes;) {
    const chunk = cipher.update(zeros.subarray(0, Math.min(CHUNK, bytes - sent)));
    hash.update(chunk);
    sent += chunk.length;
    if (!response.write(chunk)) await new Promise((drained) => response.once('drain', drained));
    const early = started + (sent / rate) * 1000 - Date.now();
    if (early > 5) await new Promise((later) => setTimeout(later, early));
  }
  response.addTrailers({ sha256: hash.digest('hex') });
  response.end();
}

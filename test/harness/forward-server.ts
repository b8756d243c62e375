/**
 * The servers in the containers of the forwarder's tests. One process in one namespace: `forward-server.js NAME`.
 *
 * On TCP, IPv4 and IPv6: 80 sends "NAME ADDRESS PORT" of its client on a line, then echoes, and ends when the client
 * does. 81 never reads. 82 waits for the client's end, then sends how many bytes came and their SHA-256. 83 sends as
 * many bytes as the client's first line says, then ends. 84 sends that many bytes, and resets 300 ms later. 85 writes
 * "NAME ended" to stdout when a client is gone. On UDP: 53 answers "NAME ADDRESS WHAT-CAME". 54 answers with the port
 * of its client, unless "quiet" came. 69 answers each request "data 1" from a port of its own, as TFTP does, answers
 * "ack 1" by "data 2", and is closed by "ack 2": it then writes "NAME transferred" to stdout.
 */
import { createHash } from 'node:crypto';
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Socket } from 'node:net';

export function pattern(size: number): Buffer {
  const buffer = Buffer.alloc(size);
  for (let i = 0; i + 4 <= size; i += 4) buffer.writeUInt32LE((i * 2654435761) >>> 0, i);
  return buffer;
}

const name = process.argv[2] ?? '?';
const own = (address = ''): string => address.replace('::ffff:', '');

function number(socket: Socket, then: (count: number) => void): void {
  socket.once('data', (line) => then(Number(line.toString())));
}

const SERVICES: Record<number, (socket: Socket) => void> = {
  80: (socket) => {
    socket.write(`${name} ${own(socket.remoteAddress)} ${socket.remotePort}\n`);
    socket.pipe(socket);
  },
  81: (socket) => {
    socket.pause();
  },
  82: (socket) => {
    const hash = createHash('sha256');
    let size = 0;
    socket.on('data', (chunk) => {
      size += chunk.length;
      hash.update(chunk);
    });
    socket.on('end', () => socket.end(`${size} ${hash.digest('hex')}`));
  },
  83: (socket) => number(socket, (count) => socket.end(pattern(count))),
  84: (socket) =>
    number(socket, (count) => {
      socket.write(pattern(count));
      setTimeout(() => socket.resetAndDestroy(), 300);
    }),
  85: (socket) => {
    socket.resume().on('end', () => socket.end());
    socket.on('close', () => process.stdout.write(`${name} ended\n`));
  },
};

const DATAGRAMS: Record<number, (socket: UdpSocket, text: string, from: RemoteInfo) => void> = {
  53: (socket, text, { address, port }) => socket.send(`${name} ${own(address)} ${text}`, port, address),
  54: (socket, text, { address, port }) => {
    if (text !== 'quiet') socket.send(String(port), port, address);
  },
  69: (_, text, { address, port }) => {
    if (text !== 'request') return;
    const transfer = createSocket('udp6');
    transfer.on('message', (ack) => {
      if (ack.toString() === 'ack 1') transfer.send('data 2', port, address);
      if (ack.toString() === 'ack 2') transfer.close(() => process.stdout.write(`${name} transferred\n`));
    });
    transfer.send('data 1', port, address);
  },
};

if (process.argv[1] === import.meta.filename) {
  const servers = Object.entries(SERVICES).map(([port, serve]) => {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {});
      serve(socket);
    });
    return new Promise<void>((ready) => server.listen(Number(port), '::', 4096, ready));
  });
  const datagrams = Object.entries(DATAGRAMS).map(([port, answer]) => {
    const socket = createSocket('udp6');
    socket.on('message', (text, from) => answer(socket, text.toString(), from));
    return new Promise<void>((ready) => socket.bind(Number(port), '::', ready));
  });
  servers.push(...datagrams);
  void Promise.all(servers).then(() => process.stdout.write('ready\n'));
}

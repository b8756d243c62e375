/**
 * `cleat inspector`: the page that shows the machines live, or an exported journal.
 *
 * Guarantees: ends with Ctrl-C and status 0. The address is the only line on stdout, and the only place that has the token.
 * Limits: the page and its data come from cli/page/; nothing of it is loaded before this command runs.
 */
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Command } from 'commander';
import { Session as CommandSession, subcommand } from '../command.ts';
import { Failure, usage } from '../failure.ts';
import { complain } from '../terminal.ts';

interface Flags {
  printUrl?: true;
  port?: string;
  readOnly?: true;
  stately?: true;
}

export function addInspectorCommand(program: Command): void {
  subcommand(program, 'inspector [file]', 'show the machines live in a browser, or an exported journal; until Ctrl-C', [
    'cleat inspector',
    'ssh -t -L 8090:127.0.0.1:8090 root@HOST cleat inspector --port 8090 --print-url',
    'cleat inspector web.ndjson',
    'cleat inspector --stately',
  ])
    .option('--print-url', 'print the address of the page, and open no browser')
    .option('--port <port>', 'listen on this port of 127.0.0.1 (default: any that is free)')
    .option('--read-only', 'send no events from the page')
    .option('--stately', 'instead of the page: a WebSocket that speaks the protocol of @statelyai/inspect')
    .action(async (file: string | undefined, flags: Flags, command: Command) => {
      const session = new CommandSession(command);
      const port = portOf(flags.port);
      if (flags.stately === true && file !== undefined) throw usage('--stately shows a daemon, not a file');
      if (file === undefined) await (await session.client()).call('GET /v1/version'); // fails as every command does
      const { server, url, opened } = await (flags.stately === true
        ? stately(session)
        : page(session, file, flags.readOnly === true));
      const { port: bound } = await listening(server, port);
      const address = url(bound);
      const ended = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
      session.say({ url: address }, address);
      let close = () => {};
      if (flags.printUrl !== true) {
        const { hasDisplay, openBrowser } = await import('../page/browser.ts');
        if (opened !== null && hasDisplay()) {
          close = openBrowser(address, () => complain(['No browser could be opened: open the address above.']));
          opened(close);
        }
        complain(['Ctrl-C ends the inspector.']);
      }
      await ended;
      close();
      process.exit(0);
    });
}

/** Describes what listens. `opened`: calls back when the page has been opened; null if there is none for a browser. */
interface Served {
  server: Server;
  url: (port: number) => string;
  opened: ((then: () => void) => void) | null;
}

async function page(command: CommandSession, file: string | undefined, readOnly: boolean): Promise<Served> {
  const [{ Session }, { createPageServer }, { loadPage }, { readJournal }] = await Promise.all([
    import('../page/session.ts'),
    import('../page/page-server.ts'),
    import('../page/page-files.ts'),
    import('../page/journal-file.ts'),
  ]);
  const journal = file === undefined ? null : readJournal(file);
  if (journal?.cut === true) complain(['Warning: the last line of the journal is cut off; the rest is shown']);
  const session = new Session();
  const source =
    journal === null
      ? ({ kind: 'daemon', socket: command.socket, readOnly } as const)
      : ({ kind: 'file', ...journal } as const);
  const server = createPageServer(session, source, loadPage());
  return {
    server,
    url: (port) => `http://127.0.0.1:${port}/?token=${session.token}`,
    opened: (then) => void (session.exchanged = then),
  };
}

async function stately(command: CommandSession): Promise<Served> {
  const { createStatelyServer } = await import('../page/stately-server.ts');
  return { ...createStatelyServer(command.socket), opened: null };
}

async function listening(server: Server, port: number): Promise<AddressInfo> {
  server.listen({ host: '127.0.0.1', port });
  try {
    await once(server, 'listening');
  } catch (error) {
    throw new Failure({
      code: 'CANNOT_LISTEN',
      message: `the inspector cannot listen on 127.0.0.1:${port}: ${(error as Error).message}`,
      hint: 'Without --port it takes one that is free.',
    });
  }
  return server.address() as AddressInfo;
}

function portOf(text = '0'): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65_535) return port;
  throw usage(`--port is a number up to 65535, not ${text}`);
}

/**
 * `cleat watch`: the table of `ps`, as it changes.
 *
 * Guarantees: on a terminal it is one live table, and q or Ctrl-C ends it with 0. Elsewhere, and with --format, it is a list
 * that grows, as that of `kubectl get --watch`: first a row per container, then one for each container that has changed, and a
 * last one, in state `gone`. Both go on when the daemon restarts, and say so meanwhile: in the last line of the screen, else on
 * stderr. Nothing is asked of the daemon while nothing changes.
 */
import type { Command } from 'commander';
import type { ContainerView, Gone } from '../../state/answers/container/container.ts';
import { Session, subcommand } from '../command.ts';
import { complain, printable, say } from '../terminal.ts';
import { PS_HEADINGS, psRow } from '../text.ts';
import type { Listener } from '../watch/feed.ts';

const LOST = 'the daemon does not answer; waiting for it';
const FOUND = 'the daemon answers again';

export function addWatch(program: Command): void {
  subcommand(program, 'watch', 'the containers, as they change; until q or Ctrl-C', [
    'cleat watch',
    'cleat watch | grep degraded',
    "cleat watch --format '{{.id}} {{.state}}'",
    "cleat watch --format json | jq -c '[.id, .state]'",
  ]).action(async (_flags: unknown, command: Command) => {
    const session = new Session(command);
    // Ctrl-C is the usual way to stop watching, not a failure. A terminal that sends keys one by one sends no SIGINT.
    process.once('SIGINT', () => process.exit(0));
    const { Feed } = await import('../watch/feed.ts');
    const listener = process.stdout.isTTY && session.plain ? await liveTable() : await growingList(session);
    await new Feed(await session.client(), listener).follow();
  });
}

/** Prints a row when a container has changed, at first of all containers. */
async function growingList(session: Session): Promise<Listener> {
  const { aligned, widthsOf } = await import('../table.ts');
  const shown = new Map<string, string>();
  const known = new Map<string, ContainerView>();
  let rows: string[][] = [];
  let widths: number[] | null = null;
  const put = (id: string, answer: ContainerView | Gone, row: string[]): void => {
    // An event need not change anything of what is shown.
    const text = JSON.stringify(session.plain ? row.slice(0, -1) : answer);
    if (shown.get(id) === text) return;
    if (answer.state === 'gone') shown.delete(id);
    else shown.set(id, text);
    if (session.plain) rows.push(row.map(printable));
    else session.next(answer, () => '');
  };
  return {
    changed: (id, container) => {
      if (container !== null) {
        if (!session.plain) known.set(id, container);
        return put(id, container, psRow(container, Date.now()));
      }
      const gone: Gone = { id, state: 'gone' };
      // A template may name any field of a container.
      put(id, session.json ? gone : { ...known.get(id), ...gone }, [id, '', 'gone', '', '', '', '']);
      known.delete(id);
    },
    told: () => {
      if (!session.plain) return;
      const lines = widths === null ? [PS_HEADINGS, ...rows] : rows;
      widths ??= widthsOf(lines);
      say(aligned(lines, widths));
      rows = [];
    },
    lost: () => complain([LOST]),
    found: () => complain([FOUND]),
  };
}

async function liveTable(): Promise<Listener> {
  const { LiveTable } = await import('../watch/live.ts');
  const containers = new Map<string, ContainerView>();
  const table = new LiveTable(PS_HEADINGS, () => {
    const now = Date.now();
    return [...containers.values()].map((container) => psRow(container, now));
  });
  return {
    changed: (id, container) => {
      if (container === null) containers.delete(id);
      else containers.set(id, container);
    },
    told: () => table.open(),
    lost: () => table.say(LOST),
    found: () => table.say(null),
  };
}

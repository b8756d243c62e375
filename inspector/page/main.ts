/**
 * Starts the page of the inspector: asks what it shows (a daemon or a file), then draws it and keeps it up to date.
 *
 * Limits: one page for one daemon; what it can ask for is in live/api.ts.
 */
import { html, render } from 'htm/preact';
import { charts as askCharts, source as askSource } from './live/api.ts';
import { connect } from './live/connection.ts';
import { openFile } from './live/file.ts';
import { followChosen } from './live/past.ts';
import { wordsOf } from './live/refusal.ts';
import { charts, failure, receive, route, source, standing } from './live/store.ts';
import { fragmentOf, parseRoute } from './model/routes.ts';
import { App } from './views/app.ts';

async function begin(): Promise<void> {
  // The charts come beside the rest: a list of containers needs none.
  const drawn = askCharts();
  const what = await askSource();
  if (what.kind === 'file') await openFile();
  source.value = what;
  if (what.kind === 'daemon') {
    connect({ messages: receive, standing: (now) => (standing.value = now) });
    followChosen();
  }
  charts.value = await drawn;
}

function followAddress(): void {
  const to = parseRoute(location.hash);
  if (source.value?.kind !== 'file' && fragmentOf(to) !== fragmentOf(route.value)) route.value = to;
}
addEventListener('hashchange', followAddress);
followAddress();

const body = document.getElementById('page');
if (body !== null) render(html`<${App} />`, body);
void begin().catch((error: unknown) => (failure.value = `This cannot be shown. ${wordsOf(error)}`));

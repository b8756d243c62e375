/**
 * Opens the page in the user's browser.
 *
 * Guarantees: no shell, and the token is in no process list: the browser is given a file that only the user can read, which leads
 * to the page. The file goes when the page has been opened, or with the command. A browser is never started as root. If xdg-open
 * becomes the browser, that goes on when the command ends: Ctrl-C is not for it, and nobody reads its complaints.
 * Limits: needs a display and xdg-open. Whoever cannot see a browser reads the address, which is printed in any case.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Returns true if a browser can be opened for this user. */
export function hasDisplay(env: NodeJS.ProcessEnv = process.env, uid = process.getuid?.()): boolean {
  return uid !== 0 && [env.DISPLAY, env.WAYLAND_DISPLAY].some((display) => display !== undefined && display !== '');
}

/** Opens a browser; returns what removes the file. `failed` is called if none can be opened. */
export function openBrowser(url: string, failed: () => void): () => void {
  let directory: string;
  try {
    directory = mkdtempSync(join(process.env.XDG_RUNTIME_DIR ?? tmpdir(), 'cleat-inspector-')); // 0700
  } catch {
    failed(); // it may be the directory of a session that is over
    return () => {};
  }
  const file = join(directory, 'open.html');
  const page = `<!doctype html><meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0;url=${url}">\n`;
  writeFileSync(file, page, { mode: 0o600 });
  const opener = spawn('xdg-open', [file], { stdio: 'ignore', detached: true });
  opener.on('error', failed);
  opener.on('exit', (code) => {
    if (code !== 0) failed();
  });
  return () => rmSync(directory, { recursive: true, force: true });
}

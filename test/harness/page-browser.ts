/**
 * The inspector's page in Debian's Chromium, as a person has it in front of them.
 *
 * Guarantees: nothing that the page did wrong goes unseen: an exception, an error or a warning on the console (a broken security
 * policy is one), or a request to anywhere else fails the test that calls `assertQuiet`.
 * Limits: Chromium's own sandbox is off, because tests are root; each test file starts a browser of its own.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import * as assert from 'uvu/assert';
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';
import { until } from './native.ts';

const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const DESKTOP = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };
/** How long a step may take, on a machine that has other work. */
const PATIENCE_MS = 30_000;

export class PageBrowser {
  readonly #browser: Browser;
  /** What the pages did wrong, since it was asked for last. */
  #wrong: string[] = [];

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  static async start(): Promise<PageBrowser> {
    return new PageBrowser(await chromium.launch({ executablePath: '/usr/bin/chromium', args: ARGUMENTS }));
  }

  stop(): Promise<void> {
    return this.#browser.close();
  }

  /** Opens an address; `expected` are errors that belong to the test. */
  async open(url: string, options: BrowserContextOptions = {}, expected: readonly RegExp[] = []): Promise<Page> {
    const context = await this.#browser.newContext({ viewport: DESKTOP, reducedMotion: 'reduce', ...options });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    const { origin } = new URL(url);
    const wrong = (text: string): void => {
      if (!expected.some((pattern) => pattern.test(text))) this.#wrong.push(text);
    };
    page.on('pageerror', (error) => wrong(error.stack ?? error.message));
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') wrong(message.text());
    });
    page.on('request', (request) => {
      const address = request.url();
      if (!address.startsWith('data:') && new URL(address).origin !== origin) wrong(`a request to ${address}`);
    });
    await page.goto(url);
    return page;
  }

  /** Closes every page. */
  async close(): Promise<void> {
    for (const context of this.#browser.contexts()) await context.close();
  }

  assertQuiet(): void {
    const wrong = this.#wrong;
    this.#wrong = [];
    assert.equal(wrong, []);
  }
}

interface Violation {
  id: string;
  help: string;
  nodes: { target: unknown; failureSummary?: string }[];
}

/** Asserts that axe finds no violation in what the page shows. */
export async function assertAccessible(page: Page, what: string): Promise<void> {
  // Not as a script of the page, which its security policy forbids.
  const violations = await page.evaluate<Violation[]>(`(async () => {
    const module = { exports: {} };
    (function (module, exports) { ${AXE} })(module, module.exports);
    const found = await (module.exports.run ? module.exports : window.axe).run(document, { resultTypes: ['violations'] });
    return found.violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map(({ target, failureSummary }) => ({ target, failureSummary })) }));
  })()`);
  assert.equal(
    violations.map(({ id, help, nodes }) => `${what}: ${id}: ${help}: ${JSON.stringify(nodes.slice(0, 3))}`),
    [],
  );
}

/** Leads to a place of the page, as a link does. */
export const goTo = (page: Page, fragment: string): Promise<unknown> =>
  page.evaluate(`location.hash = ${JSON.stringify(fragment)}`);

/** Resolves when an expression of the page is true. It is asked again and again, because the page's policy forbids `eval`. */
export const holds = (page: Page, expression: string): Promise<void> =>
  until(expression, async () => (await page.evaluate(expression)) === true, PATIENCE_MS);

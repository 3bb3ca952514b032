// A headless Chromium on a leash: a command a line on stdin, an answer a line on stdout, both JSON. tests/src/browser.rs
// holds the other end; what is right is decided there.
import { createInterface } from 'node:readline';

const { chromium } = await import(process.env.STOCKSTREAM_PLAYWRIGHT);
const PATIENCE = Number(process.env.STOCKSTREAM_PATIENCE_MILLISECONDS);
// As root it has no sandbox of its own; it only ever sees pages of this machine.
const browser = await chromium.launch({
  executablePath: process.env.STOCKSTREAM_CHROMIUM,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking', '--font-render-hinting=none'],
});
let page;
let home = '';
/** What must not happen: errors on the console, exceptions, requests to other places. */
const troubles = [];

const commands = {
  async open({ url, width, height, dark, scale }) {
    await page?.context().close();
    home = new URL(url).origin;
    const context = await browser.newContext({
      viewport: { width, height },
      deviceScaleFactor: scale,
      colorScheme: dark ? 'dark' : 'light',
      reducedMotion: 'reduce',
    });
    page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') troubles.push(`console: ${message.text()} (${message.location().url})`);
    });
    page.on('pageerror', (error) => troubles.push(`exception: ${error.stack ?? error}`));
    page.on('dialog', (dialog) => {
      troubles.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('request', (request) => {
      if (new URL(request.url()).origin !== home) troubles.push(`request to ${request.url()}`);
    });
    await page.goto(url);
    await page.evaluate(() => { window.loadedOnce = true; });
  },
  // Looks until the expression is true of the page, and answers it. Not waitForFunction: the page's policy forbids what that does.
  async wait({ expression }) {
    const end = Date.now() + PATIENCE;
    for (;;) {
      const value = await page.evaluate(expression);
      if (value) return value;
      if (Date.now() > end) throw new Error(`not within ${PATIENCE} ms`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  },
  evaluate: ({ expression }) => page.evaluate(expression),
  fill: ({ selector, text }) => page.fill(selector, text),
  click: ({ selector }) => page.click(selector),
  press: ({ selector, key }) => page.press(selector, key),
  dark: ({ dark }) => page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' }),
  resize: ({ width, height }) => page.setViewportSize({ width, height }),
  async screenshot({ path, full }) {
    await page.screenshot({ path, fullPage: full, animations: 'disabled' });
  },
  troubles: () => troubles.splice(0),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  let answer;
  try {
    answer = { ok: (await commands[command](options)) ?? null };
  } catch (error) {
    answer = { error: String(error.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();

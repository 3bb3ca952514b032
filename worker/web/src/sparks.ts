// Past minutes for the sparklines in sight: a small history for each ticker that stays there, once.

import type { History } from './model';

/** Minutes of a sparkline. */
const ROWS = 40;
/** A ticker must be in sight for so long, in milliseconds: who scrolls by asks for nothing. */
const REST = 400;
/** Histories that are asked for at the same time; the server reads four. */
const AT_ONCE = 2;

export class Sparks {
  private readonly asked = new Set<string>();
  private wanted: string[] = [];
  private running = 0;
  private timer = 0;

  constructor(private readonly arrived: (history: History) => void) {}

  /** These are in sight now. */
  want(tickers: readonly string[]): void {
    const missing = tickers.filter((ticker) => !this.asked.has(ticker));
    if (missing.join('\n') === this.wanted.join('\n')) return;
    this.wanted = missing;
    clearTimeout(this.timer);
    if (missing.length > 0) this.timer = window.setTimeout(() => this.next(), REST);
  }

  /** What is known may have holes. */
  forget(): void {
    this.asked.clear();
  }

  private next(): void {
    while (this.running < AT_ONCE) {
      const ticker = this.wanted.shift();
      if (ticker === undefined) return;
      this.asked.add(ticker);
      this.running += 1;
      void this.fetch(ticker).finally(() => {
        this.running -= 1;
        this.next();
      });
    }
  }

  private async fetch(ticker: string): Promise<void> {
    try {
      const answer = await fetch(`./api/history?ticker=${encodeURIComponent(ticker)}&rows=${ROWS}`);
      if (answer.ok) this.arrived((await answer.json()) as History);
    } catch {
      // The stream tells that the server is away; the sparkline grows from what comes.
    }
  }
}

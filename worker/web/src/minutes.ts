// One ticker's minutes: the server's history, and what the stream of changes adds to it.

import { millis } from './format';
import type { Figures, History, Row, Ticker } from './model';

/** Most rows kept. */
const LONGEST = 1_500;
/** The history isn't asked for more often, in milliseconds. */
const ASK_EVERY = 2_000;

const rank = { open: 0, closed: 1, published: 2 } as const;

export class Minutes {
  private rows = new Map<number, Row>();
  private ticker = '';
  private closedThrough = -Infinity;
  private asked = 0;
  private timer = 0;
  notes: string[] = [];

  constructor(private readonly arrived: (history: History) => void) {}

  /** Begins with another ticker. */
  choose(ticker: string): void {
    this.ticker = ticker;
    this.rows = new Map();
    this.closedThrough = -Infinity;
    this.notes = [];
    this.asked = 0;
    this.ask();
  }

  /** Asks for the history again: after the stream was interrupted, or when a window was missed. */
  ask(): void {
    clearTimeout(this.timer);
    const wait = this.asked + ASK_EVERY - Date.now();
    if (wait > 0) this.timer = window.setTimeout(() => void this.fetch(), wait);
    else void this.fetch();
  }

  private async fetch(): Promise<void> {
    this.asked = Date.now();
    const ticker = this.ticker;
    try {
      const answer = await fetch(`./api/history?ticker=${encodeURIComponent(ticker)}`);
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      const history = (await answer.json()) as History;
      if (ticker !== this.ticker) return;
      this.notes = history.notes;
      for (const row of history.rows) this.put(row);
      this.arrived(history);
    } catch (error) {
      if (ticker !== this.ticker) return;
      this.notes = [`The history can't be read at the moment (${error instanceof Error ? error.message : String(error)}).`];
      this.ask();
    }
  }

  /** Takes in what the stream says of the ticker. */
  live(ticker: Ticker): void {
    const through = ticker.publishedThrough === null ? -Infinity : millis(ticker.publishedThrough);
    const before = this.newestFinal();
    for (const figures of [ticker.closed, ticker.open]) {
      if (figures) this.put(of(figures, through));
    }
    for (const row of this.rows.values()) {
      if (row.state === 'closed' && millis(row.windowEnd) <= through) row.state = 'published';
    }
    if (ticker.closed) this.closedThrough = Math.max(this.closedThrough, millis(ticker.closed.windowEnd));
    const stale = [...this.rows.values()].some((row) => this.isAwaited(row));
    const closed = ticker.closed ? millis(ticker.closed.windowStart) : null;
    const length = ticker.closed ? millis(ticker.closed.windowEnd) - millis(ticker.closed.windowStart) : 0;
    const skipped = before !== null && closed !== null && closed - before > length;
    if (stale || skipped) this.ask();
  }

  /** Oldest first; without those that are awaited: they are no longer provisional, and their final figures unknown. */
  all(): Row[] {
    return [...this.rows.values()]
      .filter((row) => !this.isAwaited(row))
      .sort((a, b) => millis(a.windowStart) - millis(b.windowStart));
  }

  /**
   * Several windows are open at a time, and close in order: one that ends before a closed one was closed, too, and the word
   * of it missed. The history has it.
   */
  private isAwaited(row: Row): boolean {
    return row.state === 'open' && millis(row.windowEnd) <= this.closedThrough;
  }

  private newestFinal(): number | null {
    let newest: number | null = null;
    for (const [start, row] of this.rows) {
      if (row.state !== 'open' && (newest === null || start > newest)) newest = start;
    }
    return newest;
  }

  private put(row: Row): void {
    const start = millis(row.windowStart);
    const known = this.rows.get(start);
    if (known && rank[known.state] > rank[row.state]) {
      known.ticks ??= row.ticks;
      return;
    }
    this.rows.set(start, { ...row, ticks: row.ticks ?? known?.ticks });
    if (this.rows.size > LONGEST) this.rows.delete(Math.min(...this.rows.keys()));
  }
}

function of(figures: Figures, through: number): Row {
  const final = millis(figures.windowEnd) <= through ? 'published' : 'closed';
  return { ...figures, state: figures.provisional ? 'open' : final };
}

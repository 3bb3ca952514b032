// The last values of every ticker, for sparklines and changes: gathered while the page is open, and from histories.

import { millis } from './format';
import type { Figures, History, Ticker } from './model';

/** Values of a sparkline. */
const LONGEST = 40;

export class Trails {
  /** The aggregate that is shown. */
  field = '';
  /** The aggregate that is the last close of a minute, when there is one. */
  close = '';
  /** Counts changes of colours, so that sparklines are drawn again. */
  theme = 0;
  private readonly closed = new Map<string, Map<number, Record<string, number | null>>>();

  /** Takes note of a ticker's newest closed window. */
  note(ticker: Ticker): void {
    if (ticker.closed) this.add(ticker.ticker, ticker.closed);
  }

  history(history: History): void {
    for (const row of history.rows) {
      if (row.state !== 'open') this.add(history.ticker, row);
    }
  }

  forget(): void {
    this.closed.clear();
  }

  /** The closed windows' values, oldest first, and the open one's at the end. */
  of(ticker: Ticker): number[] {
    const values: number[] = [];
    for (const figures of this.closed.get(ticker.ticker)?.values() ?? []) {
      const value = figures[this.field];
      if (value != null) values.push(value);
    }
    const open = ticker.open?.values[this.field];
    if (open != null) values.push(open);
    return values;
  }

  /** The latest close against the last close of the newest final minute, in percent. */
  change(ticker: Ticker): number | null {
    const values = ticker.closed?.values;
    const before = values?.[this.close] ?? values?.[this.field];
    if (ticker.latestClose === null || before == null || before === 0) return null;
    return ((ticker.latestClose - before) / Math.abs(before)) * 100;
  }

  private add(name: string, figures: Pick<Figures, 'windowStart' | 'values'>): void {
    let known = this.closed.get(name);
    if (!known) this.closed.set(name, (known = new Map()));
    const start = millis(figures.windowStart);
    if (known.has(start)) return;
    const newest = [...known.keys()].at(-1);
    known.set(start, figures.values);
    if (newest !== undefined && start < newest) {
      known = new Map([...known].sort(([a], [b]) => a - b));
      this.closed.set(name, known);
    }
    while (known.size > LONGEST) known.delete(known.keys().next().value as number);
  }
}

// The list of tickers: search, keyboard, sparklines. Only the rows in sight are in the document, however many there are.

import { element, setClass, setText } from './dom';
import { change, figure } from './format';
import { draw } from './sparkline';
import type { Ticker } from './model';
import type { Trails } from './trails';

/** Height of a row in pixels, as in the style sheet. */
const ROW = 46;
/** Rows drawn beyond those in sight. */
const MARGIN = 4;

interface Parts {
  name: HTMLElement;
  spark: HTMLCanvasElement;
  close: HTMLElement;
  change: HTMLElement;
  drawn: string;
}

export class List {
  selected: string | null = null;
  private names: string[] = [];
  private shown: string[] = [];
  private wanted = '';
  private readonly rows = new Map<string, { row: HTMLElement; parts: Parts }>();
  private readonly space = element('div', 'space');

  constructor(
    private readonly box: HTMLElement,
    private readonly empty: HTMLElement,
    private readonly tickers: Map<string, Ticker>,
    private readonly trails: Trails,
    private readonly on: { choose(ticker: string): void; inSight(tickers: readonly string[]): void },
  ) {
    box.append(this.space);
    box.addEventListener('scroll', () => this.draw(), { passive: true });
    box.addEventListener('keydown', (event) => this.key(event));
    // Not within the observer's own round: what is drawn may change sizes again.
    new ResizeObserver(() => requestAnimationFrame(() => this.draw())).observe(box);
  }

  search(text: string): void {
    this.wanted = text.trim().toLowerCase();
    this.box.scrollTop = 0;
    this.filter();
  }

  /** The tickers that match, in order. */
  matches(): readonly string[] {
    return this.shown;
  }

  update(): void {
    if (this.names.length !== this.tickers.size || this.names.some((name) => !this.tickers.has(name))) {
      this.names = [...this.tickers.keys()].sort();
    }
    this.filter();
  }

  select(ticker: string): void {
    this.selected = ticker;
    this.draw();
  }

  private filter(): void {
    this.shown = this.wanted ? this.names.filter((name) => name.toLowerCase().includes(this.wanted)) : this.names;
    this.space.style.height = `${this.shown.length * ROW}px`;
    this.box.style.setProperty('--rows', String(this.shown.length));
    this.empty.hidden = this.shown.length > 0;
    this.box.hidden = this.shown.length === 0;
    setText(this.empty, this.names.length > 0 ? 'No ticker matches.' : 'No ticks yet. A ticker appears with its first one.');
    this.draw();
  }

  private draw(): void {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - MARGIN);
    const last = Math.min(this.shown.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + MARGIN);
    const inSight = new Set(this.shown.slice(first, last));
    for (const [name, { row }] of this.rows) {
      if (!inSight.has(name)) {
        row.remove();
        this.rows.delete(name);
      }
    }
    for (let index = first; index < last; index += 1) {
      const name = this.shown[index];
      if (name !== undefined) this.place(name, index);
    }
    this.on.inSight(this.shown.slice(first, last));
    const at = this.selected === null ? undefined : this.rows.get(this.selected);
    if (at) this.box.setAttribute('aria-activedescendant', at.row.id);
    else this.box.removeAttribute('aria-activedescendant');
  }

  private place(name: string, index: number): void {
    const ticker = this.tickers.get(name);
    if (!ticker) return;
    let known = this.rows.get(name);
    if (!known) {
      known = this.make(name);
      this.rows.set(name, known);
      this.space.append(known.row);
    }
    const { row, parts } = known;
    row.id = `ticker-${index}`;
    row.style.transform = `translateY(${index * ROW}px)`;
    row.setAttribute('aria-setsize', String(this.shown.length));
    row.setAttribute('aria-posinset', String(index + 1));
    const selected = name === this.selected;
    row.setAttribute('aria-selected', String(selected));
    setClass(row, selected ? 'row selected' : 'row');
    setText(parts.close, figure(ticker.latestClose));
    const moved = this.trails.change(ticker);
    setText(parts.change, moved === null ? '' : change(moved));
    setClass(parts.change, moved === null || moved === 0 ? 'change' : moved > 0 ? 'change up' : 'change down');
    const trail = this.trails.of(ticker);
    const state = `${trail.length}:${trail.at(-1) ?? ''}:${trail.at(-2) ?? ''}:${this.trails.theme}`;
    if (state !== parts.drawn) {
      parts.drawn = state;
      draw(parts.spark, trail, moved ?? 0);
    }
  }

  private make(name: string): { row: HTMLElement; parts: Parts } {
    const row = element('div', 'row');
    row.setAttribute('role', 'option');
    const label = element('span', 'symbol clip', name);
    const spark = document.createElement('canvas');
    spark.className = 'spark';
    spark.setAttribute('aria-hidden', 'true');
    const close = element('span', 'last');
    const moved = element('span', 'change');
    row.append(label, spark, close, moved);
    row.addEventListener('click', () => this.on.choose(name));
    return { row, parts: { name: label, spark, close, change: moved, drawn: '' } };
  }

  private key(event: KeyboardEvent): void {
    const at = this.selected === null ? -1 : this.shown.indexOf(this.selected);
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW) - 1);
    const steps = new Map([
      ['ArrowDown', at + 1],
      ['ArrowUp', at - 1],
      ['PageDown', at + page],
      ['PageUp', at - page],
      ['Home', 0],
      ['End', this.shown.length - 1],
    ]);
    const to = steps.get(event.key);
    if (to === undefined) return;
    event.preventDefault();
    const name = this.shown[Math.min(this.shown.length - 1, Math.max(0, to))];
    if (name === undefined) return;
    this.on.choose(name);
    this.reveal(name);
  }

  reveal(name: string): void {
    const index = this.shown.indexOf(name);
    if (index < 0) return;
    const top = index * ROW;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + ROW > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + ROW - this.box.clientHeight;
    this.draw();
  }
}

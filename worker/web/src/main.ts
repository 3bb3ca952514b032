// The page: puts the parts together and decides what is drawn when.

import { Chart } from './chart';
import { byId, fillTable, setClass, setText } from './dom';
import { change, count, figure, millis, time } from './format';
import { List } from './list';
import { Sparks } from './sparks';
import { Minutes } from './minutes';
import { Model } from './model';
import * as panels from './panels';
import { Stream, type Connection } from './stream';
import { Trails } from './trails';
import './style.css';

/** Rows in the table of minutes. */
const MINUTES = 12;
/** Ticks a second are a mean over so many milliseconds. */
const RATE_OVER = 5_000;
const STATES = { open: 'provisional', closed: 'final', published: 'final, in a file' } as const;

const model = new Model();
const trails = new Trails();
const chart = new Chart(byId('chart'));
const minutes = new Minutes((history) => {
  trails.history(history);
  drawTicker(fresh);
  fresh = false;
});
const spark = new Sparks((history) => {
  trails.history(history);
  list.update();
});
const list = new List(byId('tickers'), byId('tickers-empty'), model.tickers, trails, {
  choose: (ticker) => choose(ticker, true),
  inSight: (tickers) => spark.want(tickers),
});
const stream = new Stream(model, { changed, connection });
const picker = byId<HTMLSelectElement>('figure');
const handoversOnly = byId<HTMLInputElement>('handovers-only');
const counted: { at: number; ticks: number }[] = [];
let lastWord = 0;
let interrupted = false;
/** The chosen ticker's history is awaited. */
let fresh = false;

function changed(full: boolean): void {
  const head = model.head;
  if (!head) return;
  lastWord = Date.now();
  for (const ticker of model.tickers.values()) trails.note(ticker);
  figures(head.aggregates);
  panels.header(head, rate(millis(head.at), head.totals.ticks));
  panels.workers(head.workers, head.at);
  panels.shards(model.shards, head.at);
  panels.events(head.events, handoversOnly.checked);
  panels.conditions(head.conditions, head.at);
  const omitted = head.tickersOmitted > 0 ? ` of ${count(model.tickers.size + head.tickersOmitted)}` : '';
  setText(byId('ticker-count'), model.tickers.size > 0 ? `${count(model.tickers.size)}${omitted}` : '');
  list.update();
  if (list.selected === null) {
    const asked = decode(location.hash);
    const first = asked !== null && model.tickers.has(asked) ? asked : list.matches()[0];
    if (first !== undefined) choose(first, false);
  } else if (full && interrupted) {
    spark.forget();
    // What happened meanwhile is in the history.
    minutes.ask();
  }
  interrupted = false;
  drawTicker();
}

/** `null` for a hash that is no ticker. */
function decode(hash: string): string | null {
  try {
    return hash.length > 1 ? decodeURIComponent(hash.slice(1)) : null;
  } catch {
    return null;
  }
}

function choose(ticker: string, byHand: boolean): void {
  if (ticker === list.selected) return;
  list.select(ticker);
  if (byHand) history.replaceState(null, '', `#${encodeURIComponent(ticker)}`);
  fresh = true;
  minutes.choose(ticker);
  drawTicker();
}

function figures(names: readonly string[]): void {
  const known = [...picker.options].map((option) => option.value);
  if (known.join('\n') === names.join('\n')) return;
  picker.replaceChildren(...names.map((name) => new Option(name, name)));
  // The average is what the page is about, whatever it is called.
  trails.field = names.find((name) => name === 'avg_close') ?? names.find((name) => name.startsWith('avg')) ?? names[0] ?? '';
  trails.close = names.find((name) => name === 'last_close') ?? names.find((name) => name.startsWith('last')) ?? '';
  picker.value = trails.field;
}

function rate(at: number, ticks: number): number | null {
  const newest = counted.at(-1);
  if (newest && (at < newest.at || ticks < newest.ticks)) counted.length = 0;
  if (!newest || at > newest.at) counted.push({ at, ticks });
  while (counted.length > 2 && at - (counted[1]?.at ?? at) >= RATE_OVER) counted.shift();
  const first = counted[0];
  const last = counted.at(-1);
  if (!first || !last || last.at === first.at) return null;
  return ((last.ticks - first.ticks) * 1_000) / (last.at - first.at);
}

function drawTicker(anew = false): void {
  const name = list.selected;
  const ticker = name === null ? undefined : model.tickers.get(name);
  if (name === null) return;
  setText(byId('ticker-name'), name);
  if (ticker) {
    minutes.live(ticker);
    const moved = trails.change(ticker);
    const close = byId('ticker-close');
    setText(close, `${figure(ticker.latestClose)}${moved === null ? '' : `  ${change(moved)}`}`);
    setClass(close, `close ${moved === null || moved === 0 ? '' : moved > 0 ? 'up' : 'down'}`);
    close.title = `latest close, at ${time(ticker.latestEventTime)} UTC; change since the newest final minute`;
  }
  const rows = minutes.all();
  chart.show(name, trails.field, rows, anew);
  const aggregates = model.head?.aggregates ?? [];
  fillTable(byId<HTMLTableElement>('minutes'), ['Minute', 'Figures are', ...aggregates, 'Ticks'], rows.slice(-MINUTES).reverse(), (row) => row.windowStart, (row) => [
    { text: time(row.windowStart), kind: 'key' },
    { text: STATES[row.state], kind: `state ${row.state === 'open' ? 'provisional' : 'final'}` },
    ...aggregates.map((aggregate) => ({ text: figure(row.values[aggregate]), kind: 'number' })),
    { text: row.ticks === undefined ? '–' : count(row.ticks), kind: 'number' },
  ]);
  const newest = rows.at(-1);
  const spoken = newest ? `${figure(newest.values[trails.field])} in the minute of ${time(newest.windowStart)}, ${STATES[newest.state]}` : 'no minute yet';
  byId('chart').setAttribute('aria-label', `Chart of ${trails.field} of ${name.slice(0, 64)}: ${spoken}`);
  const note = byId('chart-note');
  note.hidden = minutes.notes.length === 0;
  setText(note, minutes.notes.join(' '));
}

function connection(state: Connection, detail: string): void {
  const chip = byId('connection');
  const old = state === 'lost' || state === 'ended';
  document.body.classList.toggle('old', old && model.head !== null);
  chip.hidden = state === 'live' || (state === 'connecting' && model.head === null);
  interrupted ||= old;
  if (state === 'live') return;
  const since = lastWord > 0 ? `; the figures are those of ${new Date(lastWord).toISOString().slice(11, 19)} UTC` : '';
  setText(chip, `${detail ? `${detail}; ` : ''}reconnecting…${since}`);
  setClass(chip, 'chip warn');
}

picker.addEventListener('change', () => {
  trails.field = picker.value;
  list.update();
  drawTicker();
});
handoversOnly.addEventListener('change', () => panels.events(model.head?.events ?? [], handoversOnly.checked));
const search = byId<HTMLInputElement>('search');
search.addEventListener('input', () => list.search(search.value));
search.addEventListener('keydown', (event) => {
  const [first] = list.matches();
  if (event.key === 'Enter' && first !== undefined) choose(first, true);
  if (event.key === 'Escape') {
    search.value = '';
    list.search('');
  }
});
document.addEventListener('keydown', (event) => {
  const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    search.focus();
  }
});
window.addEventListener('hashchange', () => {
  const asked = decode(location.hash);
  if (asked !== null && model.tickers.has(asked)) choose(asked, false);
});
window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  trails.theme += 1;
  chart.colours();
  list.update();
});
stream.start();

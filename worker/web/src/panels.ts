// Everything but tickers: the header, workers, shards, events, conditions.

import { byId, element, fillTable, reconcile, setClass, setText } from './dom';
import { ago, clock, count, duration, lag, millis, perSecond, time } from './format';
import type { Condition, Event, Head, Shard, Worker } from './model';

/** Most events listed. */
const MAX_EVENTS = 80;
/** Most shards in the table; more are counted. */
const MAX_SHARDS = 500;

const HEALTH: Record<string, [string, string]> = {
  starting: ['starting', 'wait'],
  running: ['running', 'good'],
  needsAttention: ['needs attention', 'warn'],
  stopping: ['stopping', 'wait'],
  finished: ['finished', 'done'],
  failed: ['failed', 'bad'],
  noWorkers: ['no worker lives', 'bad'],
};

const HANDOVERS = new Set(['shard_taken', 'fenced', 'shard_ended', 'stopping', 'stopped', 'pipeline_started', 'failed']);

export function header(head: Head, ticksPerSecond: number | null): void {
  const { namespace, name } = head.pipeline;
  setText(byId('pipeline'), namespace === 'default' ? name : `${namespace}/${name}`);
  setText(byId('source'), `from ${head.stream}`);
  const title = `${name} · Stockstream`;
  if (document.title !== title) document.title = title;
  const [label, kind] = HEALTH[head.health] ?? [head.health, 'wait'];
  const health = byId('health');
  setText(health, label);
  setClass(health, `chip ${kind}`);
  const dead = Object.values(head.totals.deadLetters).reduce((sum, value) => sum + value, 0);
  const reasons = Object.entries(head.totals.deadLetters).map(([reason, value]) => `${reason}: ${count(value)}`);
  const figures: [string, string, string, string][] = [
    ['Watermark', time(head.watermark), '', 'Every window that ends before it is closed (UTC)'],
    ['Lag', lag(head.lagMillis), (head.lagMillis ?? 0) > 60_000 ? 'warn' : '', 'How far reading is behind the newest record'],
    ['Ticks/s', ticksPerSecond === null ? '–' : perSecond(ticksPerSecond), '', ''],
    ['Ticks', count(head.totals.ticks), '', ''],
    ['Rows', count(head.totals.rowsPublished), '', `${count(head.totals.rowsClosed)} closed, ${count(head.totals.rowsPublished)} in ${count(head.totals.filesPublished)} files`],
    ['Late', count(head.totals.late), head.totals.late > 0 ? 'warn' : '', 'Ticks whose window was closed'],
    ['Dead letters', count(dead), dead > 0 ? 'warn' : '', reasons.join(', ')],
  ];
  reconcile(byId('figures'), figures, ([key]) => key, make, (child, [key, value, mark, hint]) => {
    const [term, number] = child.children;
    if (!term || !number) return;
    setText(term, key);
    setText(number, value);
    setClass(number, mark);
    if (child.title !== hint) child.title = hint;
  });
  const attention = byId('attention');
  attention.hidden = head.attention.length === 0 && head.health !== 'noWorkers';
  setClass(attention, head.health === 'failed' || head.health === 'noWorkers' ? 'attention bad' : 'attention');
  const told = head.health === 'noWorkers' ? ['No worker lives: this is what the checkpoints say.', ...head.attention] : head.attention;
  reconcile(attention, told, (text) => text, () => element('p'), (child, text) => setWhole(child, text));
  setText(byId('served'), served(head));
  const places: [string, string][] = [['Rows', head.outputPath], ['Rejects', head.rejectsPath], ['State', head.statePath]];
  reconcile(byId('places'), places, ([key]) => key, make, (child, [key, value]) => {
    const [term, place] = child.children;
    if (term) setText(term, key);
    if (place) setWhole(place, value);
  });
}

function make(): HTMLElement {
  const pair = element('div');
  pair.append(element('dt'), element('dd'));
  return pair;
}

function setWhole(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

function served(head: Head): string {
  const { kind, memberId, version } = head.servedBy;
  return `Served by ${kind === 'worker' ? `worker ${memberId ?? ''}` : 'a dashboard'}, version ${version}, at ${time(head.at)} UTC`;
}

export function workers(all: readonly Worker[], at: string): void {
  const now = millis(at);
  reconcile(byId('workers'), all, (worker) => worker.memberId, () => {
    const card = element('li');
    card.append(element('strong', 'clip'), element('span'), element('span', 'faint'), element('span', 'trouble'));
    return card;
  }, (card, worker) => {
    const [name, state, about, trouble] = card.children;
    if (!name || !state || !about || !trouble) return;
    setClass(card, `worker ${worker.state}`);
    setText(name, worker.memberId);
    setText(state, worker.state);
    setClass(state, `chip ${{ live: 'good', leaving: 'wait', unreachable: 'warn', dead: 'bad' }[worker.state]}`);
    const shards = `${count(worker.shards)} ${worker.shards === 1 ? 'shard' : 'shards'}`;
    setText(about, [shards, worker.address ?? 'no address', `up ${duration(now - millis(worker.since))}`, worker.version].join(' · '));
    setText(trouble, worker.trouble ?? '');
  });
}

const SHARD_HEAD = ['Shard', 'Owner', 'State', 'Epoch', 'Since', 'Lag', 'Watermark', 'Open', 'Ticks', 'Rows', 'Late', 'Dead', 'Committed'];

export function shards(all: Map<string, Shard>, at: string): void {
  const now = millis(at);
  const sorted = [...all.values()].sort((a, b) => (a.shard < b.shard ? -1 : 1)).slice(0, MAX_SHARDS);
  const table = byId<HTMLTableElement>('shards');
  fillTable(table, SHARD_HEAD, sorted, (shard) => shard.shard, (shard) => {
    const phase = shard.phase ?? 'unknown';
    const kind = { Reading: 'good', Ended: 'done', Failed: 'bad', Fenced: 'bad', BackPressure: 'warn', unknown: 'warn' }[phase] ?? 'wait';
    return [
      { text: shard.shard, kind: 'key' },
      { text: shard.owner ?? '–', kind: 'key' },
      { text: spaced(phase) + (shard.fresh ? '' : ' (old)'), kind: `state ${kind}`, title: shard.reason ?? '' },
      { text: String(shard.epoch), kind: 'number' },
      { text: ago(shard.since, now), kind: 'number' },
      { text: lag(shard.lagMillis), kind: 'number' },
      { text: time(shard.watermark), kind: 'number' },
      { text: count(shard.openWindows), kind: 'number' },
      { text: count(shard.ticks), kind: 'number' },
      { text: count(shard.rowsPublished), kind: 'number' },
      { text: count(shard.late), kind: shard.late > 0 ? 'number warn' : 'number' },
      { text: count(shard.deadLetters), kind: shard.deadLetters > 0 ? 'number warn' : 'number' },
      { text: ago(shard.committedAt, now), kind: 'number' },
    ];
  });
}

/** `BackPressure` as `back pressure`. */
function spaced(phase: string): string {
  return phase.replace(/(?<=[a-z])([A-Z])/g, ' $1').toLowerCase();
}

export function events(all: readonly Event[], handoversOnly: boolean): void {
  const wanted = all.filter((event) => !handoversOnly || HANDOVERS.has(event.event)).slice(-MAX_EVENTS).reverse();
  byId('events-empty').hidden = wanted.length > 0;
  const key = (event: Event): string => [event.at, event.worker, event.event, event.shard, event.message].join('\n');
  reconcile(byId('events'), wanted, key, () => {
    const line = element('li');
    line.append(element('time'), element('span', 'what'), element('span', 'faint who'));
    return line;
  }, (line, event) => {
    const [at, what, who] = line.children;
    if (!at || !what || !who || line.dataset.filled) return;
    line.dataset.filled = 'yes';
    setClass(line, `${event.level}${HANDOVERS.has(event.event) ? ' handover' : ''}`);
    setText(at, clock(event.at));
    at.setAttribute('datetime', event.at);
    setWhole(what, event.shard ? `${event.shard}: ${event.message}` : event.message);
    setText(who, event.worker);
  });
}

export function conditions(all: readonly Condition[], at: string): void {
  const now = millis(at);
  reconcile(byId('conditions'), all, (condition) => condition.type, () => {
    const line = element('li');
    line.append(element('span'), element('strong'), element('span', 'faint'), element('p'));
    return line;
  }, (line, condition) => {
    const [status, type, about, message] = line.children;
    if (!status || !type || !about || !message) return;
    setText(status, condition.status);
    setClass(status, `chip ${{ True: 'good', False: 'bad', Unknown: 'wait' }[condition.status]}`);
    setText(type, condition.type);
    setText(about, `${condition.reason}, ${ago(condition.lastTransition, now)}`);
    setWhole(message, condition.message);
  });
}

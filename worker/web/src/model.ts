// What the server sends: see docs/page.md and worker/src/page/view.rs. Names of tickers are untrusted text.

export interface Figures {
  windowStart: string;
  windowEnd: string;
  tradeDate: string;
  ticks: number;
  values: Record<string, number | null>;
  provisional: boolean;
}

export interface Ticker {
  ticker: string;
  shard: string;
  latestClose: number | null;
  latestEventTime: string | null;
  open: Figures | null;
  closed: Figures | null;
  publishedThrough: string | null;
  ticks: number;
  late: number;
}

export interface Shard {
  shard: string;
  owner: string | null;
  epoch: number;
  since: string | null;
  fresh: boolean;
  phase: string | null;
  reason: string | null;
  lagMillis: number | null;
  watermark: string | null;
  checkpointVersion: number;
  committedAt: string | null;
  openWindows: number;
  unpublishedBytes: number;
  ticks: number;
  late: number;
  deadLetters: number;
  rowsPublished: number;
}

export interface Worker {
  memberId: string;
  name: string;
  address: string | null;
  version: string;
  since: string;
  state: 'live' | 'leaving' | 'unreachable' | 'dead';
  trouble: string | null;
  phase: string | null;
  shards: number;
}

export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  reason: string;
  message: string;
  lastTransition: string;
  worker: string;
}

export interface Event {
  at: string;
  level: string;
  event: string;
  shard: string | null;
  message: string;
  worker: string;
}

export interface Head {
  pipeline: { namespace: string; name: string };
  stream: string;
  outputPath: string;
  rejectsPath: string;
  statePath: string;
  aggregates: string[];
  servedBy: { kind: string; memberId: string | null; version: string };
  at: string;
  health: string;
  attention: string[];
  watermark: string | null;
  lagMillis: number | null;
  totals: {
    ticks: number;
    late: number;
    deadLetters: Record<string, number>;
    rowsClosed: number;
    rowsPublished: number;
    filesPublished: number;
  };
  workers: Worker[];
  conditions: Condition[];
  events: Event[];
  tickersOmitted: number;
}

export type View = Head & { tickers: Ticker[]; shards: Shard[] };

export type Change = Partial<Head> & {
  tickers?: (Partial<Ticker> & { ticker: string })[];
  shards?: (Partial<Shard> & { shard: string })[];
  gone?: { tickers?: string[]; shards?: string[] };
};

export interface Row {
  windowStart: string;
  windowEnd: string;
  values: Record<string, number | null>;
  ticks?: number;
  state: 'open' | 'closed' | 'published';
}

export interface History {
  ticker: string;
  aggregates: string[];
  rows: Row[];
  truncated: boolean;
  notes: string[];
}

/** The newest view, kept by applying changes. Maps, so that no name is special. */
export class Model {
  head: Head | null = null;
  readonly tickers = new Map<string, Ticker>();
  readonly shards = new Map<string, Shard>();

  full(view: View): void {
    const { tickers, shards, ...head } = view;
    this.head = head;
    this.tickers.clear();
    this.shards.clear();
    for (const ticker of tickers) this.tickers.set(ticker.ticker, ticker);
    for (const shard of shards) this.shards.set(shard.shard, shard);
  }

  change(change: Change): void {
    const { tickers, shards, gone, ...head } = change;
    if (this.head) Object.assign(this.head, head);
    for (const name of gone?.tickers ?? []) this.tickers.delete(name);
    for (const name of gone?.shards ?? []) this.shards.delete(name);
    for (const fields of tickers ?? []) {
      this.tickers.set(fields.ticker, { ...this.tickers.get(fields.ticker), ...fields } as Ticker);
    }
    for (const fields of shards ?? []) {
      this.shards.set(fields.shard, { ...this.shards.get(fields.shard), ...fields } as Shard);
    }
  }
}

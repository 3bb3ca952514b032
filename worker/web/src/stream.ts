// The stream of changes: connects, notices silence, connects again.

import type { Change, Model, View } from './model';

/** Without a word for so long, what is shown counts as old. The server sends about one a second. */
const SILENCE = 6_000;
/** Between two attempts, when the browser has given up on its own. */
const AGAIN = 2_000;

export type Connection = 'connecting' | 'live' | 'lost' | 'ended';

export interface Listener {
  changed(full: boolean): void;
  connection(state: Connection, detail: string): void;
}

export class Stream {
  private source: EventSource | null = null;
  private silence = 0;
  private again = 0;
  private ended = '';

  constructor(
    private readonly model: Model,
    private readonly listener: Listener,
  ) {}

  start(): void {
    this.listener.connection('connecting', '');
    this.connect();
  }

  private connect(): void {
    this.source?.close();
    const source = new EventSource('./api/events');
    this.source = source;
    source.addEventListener('full', (event) => {
      this.model.full(JSON.parse((event as MessageEvent<string>).data) as View);
      this.heard(true);
    });
    source.addEventListener('change', (event) => {
      this.model.change(JSON.parse((event as MessageEvent<string>).data) as Change);
      this.heard(false);
    });
    source.addEventListener('end', (event) => {
      const end = JSON.parse((event as MessageEvent<string>).data) as { phase: string | null; reason: string | null };
      this.ended = end.phase === 'finished' ? 'the worker has ended' : (end.reason ?? 'the server has stopped');
      this.listener.connection('ended', this.ended);
    });
    source.onerror = () => {
      this.listener.connection('lost', this.ended);
      // Only after an answer that isn't a stream; otherwise the browser tries again by itself.
      if (source.readyState === EventSource.CLOSED) this.later();
    };
    this.watchSilence();
  }

  private heard(full: boolean): void {
    this.ended = '';
    this.listener.connection('live', '');
    this.listener.changed(full);
    this.watchSilence();
  }

  private watchSilence(): void {
    clearTimeout(this.silence);
    this.silence = window.setTimeout(() => {
      this.listener.connection('lost', this.ended);
      this.later();
    }, SILENCE);
  }

  private later(): void {
    clearTimeout(this.again);
    this.again = window.setTimeout(() => this.connect(), AGAIN);
  }
}

// Numbers and times for people. Times are UTC: they are the pipeline's, not the reader's.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const digits = [2, 3, 5].map((places) => new Intl.NumberFormat('en', { minimumFractionDigits: places, maximumFractionDigits: places }));
const percent = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: 'exceptZero' });
const rate = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

export const count = (value: number): string => whole.format(value);
/** A figure with as many digits as its size needs, so that those of one ticker stand below each other. */
export function figure(value: number | null | undefined): string {
  if (value == null) return '–';
  const size = Math.abs(value);
  return digits[size >= 1_000 ? 0 : size >= 1 ? 1 : 2]?.format(value) ?? '–';
}
export const change = (value: number): string => `${percent.format(value)} %`;
export const perSecond = (value: number): string => rate.format(value);

/** Milliseconds since 1970. */
export const millis = (time: string): number => Date.parse(time);

/** `2017-11-10 14:03`, with seconds where they aren't 0. */
export function time(at: string | null | undefined): string {
  if (!at) return '–';
  const text = new Date(at).toISOString();
  const seconds = text.slice(17, 19);
  return `${text.slice(0, 10)} ${text.slice(11, 16)}${seconds === '00' ? '' : `:${seconds}`}`;
}

/** `14:03:07`. */
export const clock = (at: string): string => new Date(at).toISOString().slice(11, 19);

export function lag(value: number | null | undefined): string {
  if (value == null) return '–';
  if (value < 1_000) return `${value} ms`;
  return duration(value);
}

/** `3 s`, `4 min`, `2 h 5 min`, `3 d`. */
export function duration(value: number): string {
  const seconds = Math.max(0, Math.round(value / 1_000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}

export const ago = (at: string | null, now: number): string => (at ? `${duration(now - millis(at))} ago` : '–');

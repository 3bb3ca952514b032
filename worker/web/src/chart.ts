// The big chart: final minutes as one line, the open window as another colour at its end.

import {
  ColorType,
  LineSeries,
  LineStyle,
  createChart,
  type IChartApi,
  type ISeriesApi,
  type LineData,
  type UTCTimestamp,
} from 'lightweight-charts';
import { millis } from './format';
import type { Row } from './model';

type Line = ISeriesApi<'Line'>;

export class Chart {
  private readonly chart: IChartApi;
  private readonly final: Line;
  private readonly provisional: Line;
  private shown = '';

  constructor(private readonly box: HTMLElement) {
    this.chart = createChart(box, {
      autoSize: true,
      // The link stands below the chart: the library's own would need an inline style sheet, which the policy refuses.
      layout: { attributionLogo: false, fontFamily: 'inherit', background: { type: ColorType.Solid, color: 'transparent' } },
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 3, borderVisible: false },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.12, bottom: 0.1 } },
      handleScroll: { vertTouchDrag: false },
    });
    this.final = this.chart.addSeries(LineSeries, { lineWidth: 2, priceLineVisible: false, lastValueVisible: true });
    this.provisional = this.chart.addSeries(LineSeries, {
      lineWidth: 2,
      lineStyle: LineStyle.Dashed,
      priceLineVisible: false,
      lastValueVisible: true,
      pointMarkersVisible: true,
      pointMarkersRadius: 4,
    });
    this.colours();
  }

  /** Takes the colours from the style sheet; again after they changed. */
  colours(): void {
    const style = getComputedStyle(this.box);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    this.chart.applyOptions({
      layout: { textColor: colour('--faint') },
      grid: { vertLines: { color: colour('--grid') }, horzLines: { color: colour('--grid') } },
      crosshair: { vertLine: { labelBackgroundColor: colour('--accent') }, horzLine: { labelBackgroundColor: colour('--accent') } },
    });
    this.final.applyOptions({ color: colour('--accent') });
    this.provisional.applyOptions({ color: colour('--provisional') });
  }

  /** Shows a ticker's rows, oldest first. What is in sight stays, unless the ticker or the figure is another one or `anew`. */
  show(ticker: string, field: string, rows: readonly Row[], anew: boolean): void {
    const final: LineData[] = [];
    const open: LineData[] = [];
    for (const row of rows) {
      const value = row.values[field];
      const time = Math.floor(millis(row.windowStart) / 1_000) as UTCTimestamp;
      if (value == null) continue;
      if (row.state === 'open') open.push({ time, value });
      else final.push({ time, value });
    }
    const bridge = final.at(-1);
    // What is called open and lies before a final minute was closed, and its figures are on their way.
    while (bridge && open[0] && open[0].time <= bridge.time) open.shift();
    // From the last final minute, so that the line goes on.
    if (bridge && open.length > 0) open.unshift(bridge);
    this.final.setData(final);
    this.provisional.setData(open);
    const shown = `${field}\n${ticker}`;
    if (anew || shown !== this.shown) {
      this.shown = shown;
      const points = final.length + open.length;
      this.chart.timeScale().setVisibleLogicalRange({ from: points - Math.min(Math.max(points, 20), 120) - 1, to: points + 1 });
    }
  }
}

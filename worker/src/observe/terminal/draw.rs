//! The live table as a pure function of a report: same report, same screen.
//!
//! Owns the layout. Must never read a clock or the terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};

use super::text::{bytes, clock, count, date_and_clock, duration, figure, lag, visible};
use crate::observe::state::{
    ConditionStatus, PipelinePhase, PipelineReport, ShardPhase, TickerReport, WindowFigures,
};

/// From this width on all columns are shown.
const WIDE: u16 = 100;
/// Most shards shown; the rest is counted.
const MAX_SHARDS: usize = 6;
/// Most lines of events and conditions.
const MAX_EVENT_LINES: usize = 5;
/// Lines of the header.
const HEADER_LINES: u16 = 4;
/// Fewest lines of the tickers' table, with its border and heading.
const MIN_TICKER_LINES: u16 = 4;

/// What the screen depends on besides the report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ViewState {
    /// Now, in microseconds since 1970 UTC.
    pub now: i64,
    /// Ticks per second, once it could be measured.
    pub tick_rate: Option<f64>,
    /// The first ticker to show; more than there are shows the last page.
    pub scroll: usize,
    /// Whether to use colours.
    pub colour: bool,
}

/// The heights of the screen's parts.
struct Parts {
    header: Rect,
    tickers: Rect,
    shards: Rect,
    totals: Rect,
    events: Rect,
    footer: Rect,
}

impl Parts {
    fn of(area: Rect, report: &PipelineReport) -> Self {
        // On a low screen the events go first, then the shards: tickers stay.
        let spare = area
            .height
            .saturating_sub(HEADER_LINES + MIN_TICKER_LINES + 2);
        let shards = lines(report.shards.len().min(MAX_SHARDS)) + 2;
        let shards = if shards <= spare { shards } else { 0 };
        let events = (lines(event_count(report)) + 1).min(spare - shards);
        let events = if events < 2 { 0 } else { events };
        let [header, tickers, shards, totals, events, footer] = Layout::vertical([
            Constraint::Length(HEADER_LINES),
            Constraint::Min(MIN_TICKER_LINES),
            Constraint::Length(shards),
            Constraint::Length(1),
            Constraint::Length(events),
            Constraint::Length(1),
        ])
        .areas(area);
        Self {
            header,
            tickers,
            shards,
            totals,
            events,
            footer,
        }
    }
}

fn lines(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// How many tickers fit on a screen of this size.
#[must_use]
pub fn tickers_per_page(area: Rect, report: &PipelineReport) -> usize {
    usize::from(Parts::of(area, report).tickers.height.saturating_sub(2))
}

/// The largest useful [`ViewState::scroll`] on a screen of this size.
#[must_use]
pub fn max_scroll(area: Rect, report: &PipelineReport) -> usize {
    report
        .tickers
        .len()
        .saturating_sub(tickers_per_page(area, report))
}

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, report: &PipelineReport, view: &ViewState) {
    let parts = Parts::of(frame.area(), report);
    let paint = Paint {
        colour: view.colour,
    };
    frame.render_widget(
        Paragraph::new(header(report, view, parts.header.width, paint)),
        parts.header,
    );
    frame.render_widget(tickers(report, view, parts.tickers, paint), parts.tickers);
    if parts.shards.height > 0 {
        frame.render_widget(shards(report, parts.shards.width, paint), parts.shards);
    }
    frame.render_widget(
        Paragraph::new(totals(report, parts.totals.width)),
        parts.totals,
    );
    frame.render_widget(
        Paragraph::new(events(report, parts.events, paint)),
        parts.events,
    );
    frame.render_widget(
        Paragraph::new(footer(parts.footer.width, paint)),
        parts.footer,
    );
}

/// Styles, plain without colours.
#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn of(self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

fn header(
    report: &PipelineReport,
    view: &ViewState,
    width: u16,
    paint: Paint,
) -> Vec<Line<'static>> {
    let (wide, width) = (width >= WIDE, usize::from(width));
    let phase_style = match report.phase {
        PipelinePhase::Running | PipelinePhase::Finished => paint.of(Color::Green),
        PipelinePhase::Starting | PipelinePhase::Stopping => paint.of(Color::Yellow),
        PipelinePhase::Failed => paint.of(Color::Red),
    };
    let name = visible(
        &format!("{}/{}", report.pipeline.namespace, report.pipeline.name),
        width.saturating_sub(40),
    );
    let phase = format!("{:?}", report.phase);
    let up = duration(
        view.now
            .saturating_sub(report.worker.started_at)
            .max(0)
            .unsigned_abs()
            / 1_000_000,
    );
    let rate = view
        .tick_rate
        .map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    let reason = report.reason.as_deref().unwrap_or_default();
    let first = Line::from(vec![
        Span::styled("Stockstream ", paint.strong()),
        Span::raw(name),
        Span::raw("  "),
        Span::styled(phase, phase_style.add_modifier(Modifier::BOLD)),
        Span::raw(if wide {
            format!("  up {up}  {rate} ticks/s")
        } else {
            format!("  {rate} ticks/s")
        }),
        Span::styled(
            if reason.is_empty() {
                String::new()
            } else {
                format!("  {}", visible(reason, width))
            },
            phase_style,
        ),
    ]);
    let labelled = |label: &'static str, text: String| {
        let room = width.saturating_sub(label.len());
        Line::from(vec![
            Span::styled(label, paint.faint()),
            Span::raw(visible(&text, room)),
        ])
    };
    let stream = match &report.worker.endpoint {
        Some(endpoint) => format!("{} at {endpoint}", report.stream),
        None => report.stream.clone(),
    };
    let listen = report
        .worker
        .listen
        .as_ref()
        .map_or_else(|| "-".to_owned(), |url| format!("{url}/metrics"));
    vec![
        first,
        labelled("stream  ", stream),
        labelled("metrics ", listen),
        labelled("output  ", report.output_path.clone()),
    ]
}

/// One column of the tickers' table.
struct Column {
    title: String,
    width: Constraint,
    text: fn(&TickerReport, aggregate: &str, room: usize) -> String,
    aggregate: String,
    provisional: bool,
}

fn value(figures: Option<&WindowFigures>, aggregate: &str) -> String {
    figures.map_or_else(
        || "-".to_owned(),
        |figures| figure(figures.values.get(aggregate).copied().flatten()),
    )
}

fn open_value(ticker: &TickerReport, aggregate: &str, _room: usize) -> String {
    let text = value(ticker.open.as_ref(), aggregate);
    if text == "-" {
        text
    } else {
        format!("~{text}")
    }
}

fn columns(report: &PipelineReport, wide: bool) -> Vec<Column> {
    let plain = |title: &str, width: u16, text: fn(&TickerReport, &str, usize) -> String| Column {
        title: title.to_owned(),
        width: Constraint::Length(width),
        text,
        aggregate: String::new(),
        provisional: false,
    };
    let mut columns = vec![
        Column {
            width: Constraint::Fill(1),
            ..plain("Ticker", 0, |ticker, _, room| visible(&ticker.ticker, room))
        },
        plain(
            if wide { "Latest close" } else { "Latest" },
            if wide { 12 } else { 10 },
            |t, _, _| figure(t.latest_close),
        ),
    ];
    for name in report.aggregates.iter().take(if wide { 2 } else { 1 }) {
        let figure_width = if wide { 14 } else { 11 };
        let figures = |text, provisional| Column {
            title: visible(
                &format!("{}{name}", if provisional { "~" } else { "" }),
                usize::from(figure_width),
            ),
            width: Constraint::Length(figure_width),
            text,
            aggregate: name.clone(),
            provisional,
        };
        columns.push(figures(open_value, true));
        columns.push(figures(
            |ticker, aggregate, _| value(ticker.closed.as_ref(), aggregate),
            false,
        ));
    }
    if wide {
        columns.push(plain("Closed at", 9, |t, _, _| {
            clock(t.closed.as_ref().map(|closed| closed.window_end))
        }));
    }
    columns.push(plain("Ticks", if wide { 10 } else { 8 }, |t, _, _| {
        count(t.ticks)
    }));
    columns.push(plain("Late", if wide { 7 } else { 4 }, |t, _, _| {
        count(t.late)
    }));
    columns
}

fn tickers(report: &PipelineReport, view: &ViewState, area: Rect, paint: Paint) -> Table<'static> {
    let columns = columns(report, area.width >= WIDE);
    let page = usize::from(area.height.saturating_sub(2));
    let first = view.scroll.min(report.tickers.len().saturating_sub(page));
    let shown = report.tickers.iter().skip(first).take(page);
    let known = report.tickers.len() as u64 + report.tickers_omitted;
    let title = if report.tickers.is_empty() {
        " Tickers: none yet ".to_owned()
    } else {
        let last = first + shown.len();
        format!(
            " Tickers {}-{} of {}  (~ provisional: the window is open) ",
            first + 1,
            last,
            count(known)
        )
    };
    let fixed: u16 = columns
        .iter()
        .map(|column| {
            if let Constraint::Length(width) = column.width {
                width + 1
            } else {
                0
            }
        })
        .sum();
    let room = usize::from(area.width.saturating_sub(fixed));
    let rows: Vec<Row<'static>> = shown
        .map(|ticker| {
            Row::new(columns.iter().enumerate().map(|(place, column)| {
                let text = (column.text)(ticker, &column.aggregate, room);
                let style = if column.provisional {
                    paint.of(Color::Yellow)
                } else {
                    Style::new()
                };
                cell(text, place > 0, style)
            }))
        })
        .collect();
    let heading = Row::new(
        columns
            .iter()
            .enumerate()
            .map(|(place, column)| cell(column.title.clone(), place > 0, paint.strong())),
    );
    Table::new(rows, columns.iter().map(|column| column.width))
        .header(heading)
        .block(
            Block::new()
                .borders(Borders::TOP)
                .title(visible(&title, usize::from(area.width))),
        )
}

fn cell(text: String, right: bool, style: Style) -> Cell<'static> {
    let line = Line::from(Span::styled(text, style));
    Cell::from(if right { line.right_aligned() } else { line })
}

fn shards(report: &PipelineReport, width: u16, paint: Paint) -> Table<'static> {
    let wide = width >= WIDE;
    let name_width = if wide { 22 } else { 12 };
    let mut widths = vec![
        Constraint::Length(name_width),
        Constraint::Length(12),
        Constraint::Length(7),
        Constraint::Length(if wide { 19 } else { 9 }),
        Constraint::Length(5),
        Constraint::Length(if wide { 12 } else { 4 }),
        Constraint::Length(if wide { 7 } else { 3 }),
    ];
    let mut titles = if wide {
        vec![
            "Shard",
            "Phase",
            "Lag",
            "Watermark",
            "Epoch",
            "Open windows",
            "Outbox",
        ]
    } else {
        vec!["Shard", "Phase", "Lag", "Watermark", "Epoch", "Open", "Out"]
    };
    if wide {
        titles.push("");
        widths.push(Constraint::Fill(1));
    }
    let rows = report.shards.iter().take(MAX_SHARDS).map(|shard| {
        let style = match shard.phase {
            ShardPhase::Reading | ShardPhase::Ended => paint.of(Color::Green),
            ShardPhase::Fenced | ShardPhase::Failed => paint.of(Color::Red),
            _ => paint.of(Color::Yellow),
        };
        // The end of a shard's name is what tells it from the others.
        let name = if wide {
            shard.shard.as_str()
        } else {
            shard.shard.trim_start_matches("shardId-")
        };
        let watermark = if wide {
            date_and_clock(shard.watermark)
        } else {
            clock(shard.watermark)
        };
        let mut cells = vec![
            cell(visible(name, usize::from(name_width)), false, Style::new()),
            cell(format!("{:?}", shard.phase), false, style),
            cell(lag(shard.millis_behind_latest), true, Style::new()),
            cell(watermark, true, Style::new()),
            cell(shard.epoch.to_string(), true, Style::new()),
            cell(count(shard.open_windows), true, Style::new()),
            cell(count(shard.outbox_batches), true, Style::new()),
        ];
        if wide {
            cells.push(cell(
                visible(
                    shard.reason.as_deref().unwrap_or_default(),
                    usize::from(width),
                ),
                false,
                style,
            ));
        }
        Row::new(cells)
    });
    let more = report.shards.len().saturating_sub(MAX_SHARDS);
    let title = if more > 0 {
        format!(" Shards (and {more} more) ")
    } else {
        " Shards ".to_owned()
    };
    let heading = Row::new(
        titles
            .into_iter()
            .enumerate()
            .map(|(place, title)| cell(title.to_owned(), place > 1, paint.strong())),
    );
    Table::new(rows, widths)
        .header(heading)
        .block(Block::new().borders(Borders::TOP).title(title))
}

fn totals(report: &PipelineReport, width: u16) -> String {
    let totals = &report.totals;
    let (published, closed) = (count(totals.rows_published), count(totals.rows_closed));
    let mut dead = count(totals.dead_letters_total());
    let rows = if width >= WIDE {
        let reasons: Vec<String> = totals
            .dead_letters
            .iter()
            .map(|(reason, number)| format!("{reason} {}", count(*number)))
            .collect();
        if !reasons.is_empty() {
            dead = format!("{dead} ({})", reasons.join(", "));
        }
        let size = bytes(totals.bytes_published);
        format!(
            "rows {published} of {closed} published  files {} ({size})",
            count(totals.files_published)
        )
    } else {
        format!(
            "rows {published}/{closed}  files {}",
            count(totals.files_published)
        )
    };
    let text = format!(
        "ticks {}  late {}  dead letters {dead}  {rows}",
        count(totals.ticks),
        count(totals.late)
    );
    visible(&text, usize::from(width))
}

fn event_count(report: &PipelineReport) -> usize {
    (report.events.len() + troubled(report).count()).min(MAX_EVENT_LINES)
}

fn troubled(report: &PipelineReport) -> impl Iterator<Item = &crate::observe::state::Condition> {
    report
        .conditions
        .iter()
        .filter(|condition| condition.status == ConditionStatus::False)
}

/// Conditions that don't hold, then the newest events that fit, oldest first, under a heading.
fn events(report: &PipelineReport, area: Rect, paint: Paint) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    let room = usize::from(area.height.saturating_sub(1));
    if room == 0 {
        return Vec::new();
    }
    let mut lines = vec![Line::from(Span::styled("Last events", paint.strong()))];
    for condition in troubled(report).take(room) {
        let text = format!(
            "{} does not hold ({}): {}",
            condition.kind, condition.reason, condition.message
        );
        lines.push(Line::from(Span::styled(
            visible(&text, width),
            paint.of(Color::Red),
        )));
    }
    let left = room - (lines.len() - 1);
    for event in report
        .events
        .iter()
        .skip(report.events.len().saturating_sub(left))
    {
        let style = match event.level.as_str() {
            "error" => paint.of(Color::Red),
            "warn" => paint.of(Color::Yellow),
            _ => Style::new(),
        };
        let shard = event
            .shard
            .as_ref()
            .map_or_else(String::new, |shard| format!("{shard} "));
        let text = format!("{}  {shard}{}", clock(Some(event.at)), event.message);
        lines.push(Line::from(Span::styled(visible(&text, width), style)));
    }
    lines
}

fn footer(width: u16, paint: Paint) -> Line<'static> {
    let text = if width >= WIDE {
        "q or Ctrl-C ends   arrows, PgUp, PgDn, Home, End scroll   times are UTC"
    } else {
        "q ends   arrows, PgUp, PgDn scroll   times are UTC"
    };
    Line::from(Span::styled(
        visible(text, usize::from(width)),
        paint.faint(),
    ))
}

//! The live table of `dev` on a terminal.
//!
//! Owns the terminal while it is shown, and gives it back on every way out, panics included. Must never slow the
//! pipeline down: it only looks at reports, a few times a second, on a thread of its own.

mod draw;
pub mod text;

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{
    self, Event as TerminalEvent, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
};
use ratatui::crossterm::execute;
use ratatui::layout::Rect;

pub use draw::{ViewState, draw, max_scroll, tickers_per_page};

use super::observer::Observer;
use super::state::PipelineReport;

/// The longest a keystroke waits, and how often the screen is drawn.
const FRAME: Duration = Duration::from_millis(200);
/// The span over which the tick rate is measured, in microseconds.
const RATE_SPAN: i64 = 5_000_000;

/// Why the table was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The user asked to end.
    Asked,
    /// The program asked, through [`StopTable`] or by dropping it.
    Told,
}

/// The terminal refused.
#[derive(Debug, thiserror::Error)]
#[error("the live table can't use this terminal (pipe the output through `cat` to go without it)")]
pub struct TerminalError(#[from] io::Error);

/// Whether a live table can be shown: both ends are a terminal.
#[must_use]
pub fn is_possible() -> bool {
    io::stdout().is_terminal() && io::stdin().is_terminal()
}

/// Asks a running table to leave; dropping it does the same.
#[derive(Debug)]
pub struct StopTable(Arc<AtomicBool>);

impl StopTable {
    /// Asks the table to leave; it does so within a fifth of a second.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for StopTable {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A live table that isn't shown yet, and the handle that ends it.
#[must_use]
pub fn table(observer: Observer, colour: bool) -> (LiveTable, StopTable) {
    let told = Arc::new(AtomicBool::new(false));
    (
        LiveTable {
            observer,
            colour,
            told: Arc::clone(&told),
        },
        StopTable(told),
    )
}

/// The live table.
#[derive(Debug)]
pub struct LiveTable {
    observer: Observer,
    colour: bool,
    told: Arc<AtomicBool>,
}

impl LiveTable {
    /// Shows the table until it is left. Blocks: run it with `tokio::task::spawn_blocking`. Hold the log meanwhile.
    ///
    /// # Errors
    /// [`TerminalError`] when the terminal can't be set up, drawn to or read from; it is restored before.
    pub fn show(self) -> Result<Left, TerminalError> {
        // `try_init` also sets a panic hook that restores the terminal before the message is printed.
        let mut terminal = ratatui::try_init()?;
        leave_on_panic(Arc::clone(&self.told));
        let restore = Restore;
        let left = self.run(&mut terminal);
        drop(restore);
        Ok(left?)
    }

    fn run(&self, terminal: &mut DefaultTerminal) -> io::Result<Left> {
        let mut rate = RateMeter::default();
        let mut scroll = 0;
        while !self.told.load(Ordering::Relaxed) {
            let report = self.observer.report();
            let now = jiff::Timestamp::now().as_microsecond();
            let view = ViewState {
                now,
                tick_rate: rate.sample(now, report.totals.ticks),
                scroll,
                colour: self.colour,
            };
            let area = terminal.draw(|frame| draw(frame, &report, &view))?.area;
            if !event::poll(FRAME)? {
                continue;
            }
            match key(&event::read()?, scroll, area, &report) {
                Key::End => return Ok(Left::Asked),
                Key::Scroll(to) => scroll = to,
            }
        }
        Ok(Left::Told)
    }
}

/// A panic on another thread must also end the drawing, else the next frame would hide the cursor again.
fn leave_on_panic(told: Arc<AtomicBool>) {
    let restore = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told.store(true, Ordering::Relaxed);
        restore(panic);
        // Nothing more can be done for a terminal that refuses.
        let _ = execute!(io::stdout(), Show);
    }));
}

/// Gives the terminal back when it is dropped.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        // Nothing more can be done for a terminal that refuses.
        let _ = ratatui::try_restore();
    }
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    End,
    /// Show from this ticker on.
    Scroll(usize),
}

fn key(event: &TerminalEvent, scroll: usize, area: Rect, report: &PipelineReport) -> Key {
    let TerminalEvent::Key(KeyEvent {
        code,
        modifiers,
        kind: KeyEventKind::Press | KeyEventKind::Repeat,
        ..
    }) = event
    else {
        return Key::Scroll(scroll);
    };
    let last = max_scroll(area, report);
    let page = tickers_per_page(area, report).max(1);
    // The table may have shrunk since the last key.
    let scroll = scroll.min(last);
    let to = match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return Key::End,
        KeyCode::Char('q') => return Key::End,
        KeyCode::Up | KeyCode::Char('k') => scroll.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => scroll + 1,
        KeyCode::PageUp => scroll.saturating_sub(page),
        KeyCode::PageDown | KeyCode::Char(' ') => scroll + page,
        KeyCode::Home => 0,
        KeyCode::End => last,
        _ => scroll,
    };
    Key::Scroll(to.min(last))
}

/// Ticks per second over the last few seconds.
#[derive(Debug, Default)]
struct RateMeter {
    samples: VecDeque<(i64, u64)>,
}

impl RateMeter {
    /// Takes a count at a time in microseconds; the rate once a second has been seen.
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    fn sample(&mut self, now: i64, ticks: u64) -> Option<f64> {
        self.samples.push_back((now, ticks));
        while self
            .samples
            .get(1)
            .is_some_and(|(time, _)| now.saturating_sub(*time) >= RATE_SPAN)
        {
            self.samples.pop_front();
        }
        let (since, before) = *self.samples.front()?;
        let elapsed = now.saturating_sub(since);
        (elapsed >= 1_000_000)
            .then(|| ticks.saturating_sub(before) as f64 * 1_000_000.0 / elapsed as f64)
    }
}

#[cfg(test)]
mod tests;

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use ratatui::Terminal;
use ratatui::backend::{CrosstermBackend, TestBackend};
use ratatui::{TerminalOptions, Viewport};

use super::*;
use crate::observe::event::Event;
use crate::observe::fixtures::{NOW, busy_observer, observer, ticker_report};
use crate::observe::state::{ConditionStatus, ShardReport};

const WIDE: (u16, u16) = (120, 24);
const NARROW: (u16, u16) = (60, 20);

fn view(scroll: usize) -> ViewState {
    ViewState {
        now: NOW,
        tick_rate: Some(171.25),
        scroll,
        colour: false,
    }
}

fn screen(report: &PipelineReport, (width, height): (u16, u16), scroll: usize) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(frame, report, &view(scroll)))
        .unwrap();
    terminal.backend().to_string()
}

#[test]
fn a_wide_screen_shows_provisional_and_final_figures() {
    insta::assert_snapshot!(screen(&busy_observer(5).report(), WIDE, 0));
}

#[test]
fn a_narrow_screen_shows_the_first_aggregate() {
    insta::assert_snapshot!(screen(&busy_observer(5).report(), NARROW, 0));
}

#[test]
fn without_tickers_the_screen_says_so() {
    insta::assert_snapshot!("no_tickers_wide", screen(&observer().report(), WIDE, 0));
    insta::assert_snapshot!("no_tickers_narrow", screen(&observer().report(), NARROW, 0));
}

#[test]
fn five_hundred_tickers_scroll_and_stop_at_the_last_page() {
    let report = busy_observer(500).report();
    insta::assert_snapshot!("many_tickers_wide", screen(&report, WIDE, 250));
    insta::assert_snapshot!("many_tickers_narrow", screen(&report, NARROW, 0));
    let last_page = screen(&report, WIDE, usize::MAX);
    assert!(
        last_page.contains("T0499") && last_page.contains("-500 of 500"),
        "{last_page}"
    );
}

#[test]
fn a_failed_pipeline_and_a_condition_that_does_not_hold_are_shown() {
    let observer = busy_observer(2);
    observer.set_phase(
        super::super::PipelinePhase::Failed,
        Some("the bucket is gone".into()),
    );
    observer.set_condition(
        "KeyedByTicker",
        ConditionStatus::False,
        "WrongShard",
        "3 ticks\nof AAPL",
        NOW,
    );
    observer.emit(
        &Event::DeadLetters {
            shard: "shardId-0".into(),
            reason: "wrong_shard".into(),
            count: 3,
        },
        NOW,
    );
    let screen = screen(&observer.report(), WIDE, 0);
    assert!(
        screen.contains("Failed") && screen.contains("the bucket is gone"),
        "{screen}"
    );
    assert!(
        screen.contains(r"KeyedByTicker does not hold (WrongShard): 3 ticks\u{a}of AAPL"),
        "{screen}"
    );
    assert!(screen.contains("3 dead letters: wrong_shard"), "{screen}");
}

#[test]
fn any_size_of_terminal_can_be_drawn() {
    let report = busy_observer(50).report();
    for size in [(1, 1), (3, 5), (20, 10), (59, 12), (99, 9), (300, 100)] {
        let text = screen(&report, size, 7);
        assert_eq!(text.lines().count(), usize::from(size.1), "{size:?}");
    }
}

/// What a terminal would get.
fn bytes_drawn(report: &PipelineReport, colour: bool) -> String {
    let mut bytes = Vec::new();
    let area = Rect::new(0, 0, 120, 30);
    let options = TerminalOptions {
        viewport: Viewport::Fixed(area),
    };
    let mut terminal = Terminal::with_options(CrosstermBackend::new(&mut bytes), options).unwrap();
    terminal
        .draw(|frame| draw(frame, report, &ViewState { colour, ..view(0) }))
        .unwrap();
    drop(terminal);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn hostile_names_never_reach_the_terminal_as_they_are() {
    let hostile = [
        "\u{1b}]0;owned\u{7}",
        "\u{1b}[2J\u{1b}[31mRED",
        "\u{9b}31m",
        "new\nline\r\ttab",
        "\u{202e}LPAA",
        "\u{2066}x\u{2069}",
        "שלום",
        "مرحبا",
        "\u{200b}\u{200d}\u{feff}",
        "Z\u{335}\u{336}\u{337}\u{338}",
        "東京証券取引所東京証券取引所東京証券取引所東京証券取引所東京証券取引所",
        &"X".repeat(10_000),
    ];
    let observer = observer();
    let tickers = hostile
        .iter()
        .map(|name| ticker_report(name, "s"))
        .collect();
    let mut shard = ShardReport::new("s\u{1b}[5m");
    shard.reason = Some("\u{1b}[5mreason".into());
    observer.update_shard(shard, tickers);
    observer.emit(
        &Event::Stopping {
            reason: "\u{1b}]52;c;AAAA\u{7}".into(),
        },
        NOW,
    );
    observer.set_condition(
        "\u{1b}[5m",
        ConditionStatus::False,
        "\u{1b}[5m",
        "\u{1b}[5m",
        NOW,
    );
    let report = observer.report();

    let drawn = bytes_drawn(&report, false);
    for forbidden in [
        "\u{1b}]",
        "\u{1b}[31m",
        "\u{1b}[2J",
        "\u{1b}[5m",
        "\u{7}",
        "\u{9b}",
        "\u{202e}",
        "\u{2066}",
    ] {
        assert!(
            !drawn.contains(forbidden),
            "{forbidden:?} reached the terminal"
        );
    }
    for forbidden in [
        '\n', '\r', '\t', 'ש', 'م', '\u{200b}', '\u{200d}', '\u{335}',
    ] {
        assert!(
            !drawn.contains(forbidden),
            "{forbidden:?} reached the terminal"
        );
    }
    insta::assert_snapshot!("hostile_tickers", screen(&report, (120, 30), 0));
}

#[test]
fn colours_are_used_only_when_asked_for() {
    let report = busy_observer(5).report();
    // Crossterm writes foreground colours as 38;5;N and resets them with 39.
    assert!(bytes_drawn(&report, true).contains("\u{1b}[38;5;"));
    assert!(!bytes_drawn(&report, false).contains("\u{1b}[38;5;"));
}

fn press(code: KeyCode, modifiers: KeyModifiers) -> TerminalEvent {
    TerminalEvent::Key(KeyEvent::new(code, modifiers))
}

#[test]
fn keys_scroll_within_the_table_and_q_or_control_c_end() {
    let report = busy_observer(500).report();
    let area = Rect::new(0, 0, 120, 24);
    let page = tickers_per_page(area, &report);
    let last = 500 - page;
    let at = |code, scroll| key(&press(code, KeyModifiers::NONE), scroll, area, &report);
    assert_eq!(at(KeyCode::Up, 0), Key::Scroll(0));
    assert_eq!(at(KeyCode::Down, 0), Key::Scroll(1));
    assert_eq!(at(KeyCode::PageDown, 0), Key::Scroll(page));
    assert_eq!(at(KeyCode::PageUp, page + 3), Key::Scroll(3));
    assert_eq!(at(KeyCode::Down, last), Key::Scroll(last));
    assert_eq!(at(KeyCode::End, 0), Key::Scroll(last));
    assert_eq!(at(KeyCode::Home, 90), Key::Scroll(0));
    assert_eq!(at(KeyCode::Up, usize::MAX), Key::Scroll(last - 1));
    assert_eq!(at(KeyCode::Char('q'), 0), Key::End);
    assert_eq!(at(KeyCode::Char('c'), 4), Key::Scroll(4));
    assert_eq!(
        key(
            &press(KeyCode::Char('c'), KeyModifiers::CONTROL),
            0,
            area,
            &report
        ),
        Key::End
    );
    assert_eq!(
        key(&TerminalEvent::Resize(10, 10), 5, area, &report),
        Key::Scroll(5)
    );
}

#[test]
fn the_tick_rate_is_that_of_the_last_seconds() {
    let mut meter = RateMeter::default();
    assert_eq!(meter.sample(0, 0), None);
    assert_eq!(meter.sample(500_000, 50), None);
    assert_eq!(meter.sample(1_000_000, 100), Some(100.0));
    for second in 2..=20 {
        meter.sample(second * 1_000_000, 100);
    }
    assert_eq!(
        meter.sample(21_000_000, 100),
        Some(0.0),
        "old ticks are forgotten"
    );
    assert!(meter.samples.len() <= 7);
}

#[test]
fn dropping_the_handle_tells_the_table_to_leave() {
    let (table, stop) = table(observer(), false);
    assert!(!table.told.load(Ordering::Relaxed));
    drop(stop);
    assert!(table.told.load(Ordering::Relaxed));
}
